"""Visual summaries: the regions that a network needs, again and again, in a class's images (Godi, Carletti et al.)."""
