"""Accuracy of sparse models: measured here on small tasks, or published with a citation."""

from codesign.accuracy.lookup import AccuracyPoint, accuracy_of, why_none

__all__ = ["AccuracyPoint", "accuracy_of", "why_none"]
