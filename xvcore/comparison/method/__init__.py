"""Measures and tests that compare two networks, on arrays and images; none reads or writes a table."""
