"""The tour of the README: its blocks, as a notebook."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
TITLE = "Ten minutes in a notebook"
QUICK = {"steps=150": "steps=2", "max_images=12": "max_images=3", "images=40": "images=8"}
"""What makes the tour short, where it is to be seen that it runs and not what it finds."""


def blocks(text: str) -> list[str]:
    """Return the blocks of Python in a text."""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def section(title: str) -> str:
    """Return a section of the README."""
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## )", README.read_text(), re.DOTALL | re.MULTILINE)
    return found


TOUR = blocks(section(TITLE))


def notebook(folder: Path, *, is_quick: bool) -> Any:
    """Return the tour as a notebook whose cells were run in a folder."""
    import nbclient
    import nbformat

    cells = list(TOUR)
    for words, short in QUICK.items() if is_quick else ():
        assert any(words in cell for cell in cells), words
        cells = [cell.replace(words, short) for cell in cells]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells])
    return nbclient.NotebookClient(made, timeout=900, resources={"metadata": {"path": str(folder)}}).execute()
