"""Models as operator traces: shapes, types, operand patterns, dependencies; no machine."""
