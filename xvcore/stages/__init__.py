"""Stages: one verb each; a stage reads tables, computes with the library and writes one table."""
