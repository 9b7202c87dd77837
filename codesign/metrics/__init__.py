"""Energy, area and the rows of numbers that a simulation ends in."""
