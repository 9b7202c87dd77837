"""Accuracy of sparse models: measured here on small tasks, or published with a citation."""
