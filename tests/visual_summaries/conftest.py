"""Fixtures of the family: a small classifier, and a store of summaries."""

from small_classifier import make_classifier, make_images
from summary_store import half_published, in_parts, own_store, published, store

__all__ = ["half_published", "in_parts", "make_classifier", "make_images", "own_store", "published", "store"]
