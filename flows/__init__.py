"""Prefect flows and the ``xv`` command line: they schedule what ``xvcore`` computes and add no numbers."""

from flows.logs import heed

heed()
