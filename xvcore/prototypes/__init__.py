"""Prototypes: the channels of a network, turned so that each stands for one thing, and what each adds to a decision."""
