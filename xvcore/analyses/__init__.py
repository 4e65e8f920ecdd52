"""Analyses: a published question, answered as a table."""
