"""The verbs: each reads tables of a class, or of all classes, and writes some."""
