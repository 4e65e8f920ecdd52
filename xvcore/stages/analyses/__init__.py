"""The analyses, one module each; a module registers its analysis when it is imported."""
