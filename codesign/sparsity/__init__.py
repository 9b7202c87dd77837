"""What is zero in a tensor, where, and how many bytes it takes to say so."""
