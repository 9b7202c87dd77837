"""How operators are laid on a machine: bounds, searches, what is fused, kept and placed where."""
