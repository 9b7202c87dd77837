"""Bounds that no mapping can beat."""
