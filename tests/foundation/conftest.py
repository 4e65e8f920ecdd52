"""A small classifier for the laws that every method obeys."""

from small_classifier import make_classifier, make_images

__all__ = ["make_classifier", "make_images"]
