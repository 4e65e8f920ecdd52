"""Comparison of networks: which parts does one use and another miss, what could it tell of them, and against what."""
