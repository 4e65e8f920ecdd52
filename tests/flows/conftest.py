"""Prefect is imported before any test: its log handlers keep the terminal that they find, and a test's goes away."""

import prefect.main

__all__ = ["prefect"]
