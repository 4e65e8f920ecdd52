"""The tables, one module a family; each module declares its tables when it is imported."""
