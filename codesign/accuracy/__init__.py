"""Accuracy of sparse models: measured here on small tasks, or published with a citation."""

from codesign.accuracy.lookup import accuracy_of, why_none
from codesign.accuracy.point import AccuracyPoint

__all__ = ["AccuracyPoint", "accuracy_of", "why_none"]
