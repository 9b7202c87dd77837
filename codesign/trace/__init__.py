"""Models as operator traces: shapes, data types, operand patterns and dependencies, without a machine."""
