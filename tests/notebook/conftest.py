"""Fixtures: a small classifier and its images."""

from small_classifier import make_classifier, make_images

__all__ = ["make_classifier", "make_images"]
