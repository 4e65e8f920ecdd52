"""A store of summaries in parts, published, and half published."""

from summary_store import half_published, in_parts, own_store, published, store

__all__ = ["half_published", "in_parts", "own_store", "published", "store"]
