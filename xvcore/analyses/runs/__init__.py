"""The questions as runs over whole classes, one module each; each registers itself when it is imported."""
