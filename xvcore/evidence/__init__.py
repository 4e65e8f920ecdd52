"""Evidence: what every patch of an image says for a class (Brendel & Bethge)."""
