"""Colours of lines over pictures: to be told apart, and seen on light and dark for the dark line beneath."""

LINES = ("#ffb000", "#4cc9f0", "#f15bb5", "#9be564", "#ff6b35", "#b8b8ff", "#ffe66d", "#00f5d4", "#ff99c8", "#e0e0e0")
"""One a summary, in their order; then from the first again."""
BENEATH = "#000000"


def line(index: int) -> str:
    """Return the colour of a line."""
    return LINES[index % len(LINES)]
