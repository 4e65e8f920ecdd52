"""Fixtures of the family: a small classifier."""

from small_classifier import make_classifier, make_images

__all__ = ["make_classifier", "make_images"]
