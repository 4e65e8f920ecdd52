"""Tensor mathematics: no files, no networks, no settings of the project."""
