"""Searching the space of designs: sweeps from YAML, their store, their executors, their fronts."""
