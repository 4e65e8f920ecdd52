"""The verbs: each reads tables of a class and writes one."""
