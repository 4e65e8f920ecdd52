"""Results in a notebook: what they look like, a class of a store in a cell, and a widget to leaf through its images."""

from xvcore.notebook.figure import Bars, Figure, Outline, Over, Panel

__all__ = ["Bars", "Figure", "Outline", "Over", "Panel"]
