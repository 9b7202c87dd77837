"""Does sparsity pay: speed-up over dense by tokens or batch, where it turns, and its error."""
