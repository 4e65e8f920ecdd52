"""Summaries: from many images of a class to what they have in common."""
