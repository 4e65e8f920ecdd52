"""The pipelines, one module a method; each registers itself when it is imported."""
