"""Colours: the mean colour of every image of a class, and of the class; a family that nobody needs."""
