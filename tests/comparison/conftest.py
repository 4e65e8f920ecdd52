"""Fixtures of the tests of comparisons."""

from compared_networks import compared, summaries

__all__ = ["compared", "summaries"]
