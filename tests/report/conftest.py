"""Fixtures of the report: a small store and the pages made from it."""

from report_fixtures import drawn_store, new_site, new_store, originals, site

__all__ = ["drawn_store", "new_site", "new_store", "originals", "site"]
