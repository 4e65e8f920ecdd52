"""Fixtures of the family: a small classifier, and a store of summaries beside which evidence is shown."""

from report_fixtures import drawn_store, new_site, new_store, originals, site
from small_classifier import make_classifier, make_images

__all__ = ["drawn_store", "make_classifier", "make_images", "new_site", "new_store", "originals", "site"]
