"""Simulations held against published, measured and peer-simulated numbers."""
