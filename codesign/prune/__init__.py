"""Sparsifiers that attach to a module: one interface (base.py), one file per family."""
