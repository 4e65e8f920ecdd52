"""Figures drawn by matplotlib: the same pictures, maps, lines and bars as in a cell, for a paper or a talk."""

import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from xvcore.errors import XvError
from xvcore.notebook.colours import BENEATH, line
from xvcore.notebook.figure import Bars, Figure, Panel
from xvcore.report.pictures import AGAINST, FOR
from xvcore.runs.thumbnails import FINE_PX

COLUMNS = 4
INCHES = 2.6
"""Side of a picture."""


def plot(figure: Figure) -> list[Any]:
    """Draw the pictures and bars of a figure and its parts, and return their axes in that order.

    Raises
    ------
    XvError
        matplotlib is not installed, or there is neither a picture nor a bar to draw.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise XvError("plots need matplotlib, which is not installed: pip install 'xv[notebook]'") from error
    drawn = list(_drawn(figure))
    if not drawn:
        raise XvError(f"{figure.title}: there is neither a picture nor a bar to plot; display the result instead")
    columns = min(COLUMNS, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    canvas, grid = pyplot.subplots(
        rows, columns, figsize=(INCHES * columns, 1.25 * INCHES * rows), squeeze=False, layout="constrained"
    )
    canvas.suptitle(figure.title)
    axes = list(grid.flat)
    for axis, each in zip(axes, drawn, strict=False):
        (_bars if isinstance(each[1], Bars) else _panel)(axis, *each)
    for axis in axes[len(drawn) :]:
        axis.remove()
    return axes[: len(drawn)]


def _drawn(figure: Figure) -> Iterator[tuple[str, Any]]:
    for panel in figure.panels:
        yield panel.title, panel
    if figure.bars:
        yield figure.title, figure.bars
    for part in figure.parts:
        yield from _drawn(part)


def _panel(axis: Any, title: str, panel: Panel) -> None:
    height, width = panel.size
    smooth = "nearest" if max(panel.size) <= FINE_PX else "antialiased"
    axis.imshow(panel.pixels, extent=(0, width, height, 0), interpolation=smooth)
    for over in panel.over:
        x, y, w, h = over.box
        with Image.open(io.BytesIO(over.data)) as image:
            values = np.array(image.convert("RGBA"))
        how = "bilinear" if over.is_smooth else "nearest"
        axis.imshow(values, extent=(x, x + w, y + h, y), interpolation=how)
    for outline in panel.outlines:
        corners = np.array([*outline.corners, outline.corners[0]])
        axis.plot(*corners.T, color=BENEATH, linewidth=4, alpha=0.6)
        axis.plot(*corners.T, color=line(outline.colour), linewidth=2)
    axis.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(panel.caption, fontsize=8, wrap=True)


def _bars(axis: Any, title: str, bars: Bars) -> None:
    labels, values = zip(*bars.rows, strict=True)
    colours = [tuple(each / 255 for each in (FOR if value >= 0 else AGAINST)) for value in values]
    axis.barh(range(len(values)), values, color=colours)
    axis.set_yticks(range(len(values)), labels, fontsize=8)
    axis.invert_yaxis()
    axis.axvline(0, color="grey", linewidth=0.8)
    axis.set_xlabel(bars.unit, fontsize=8)
    axis.set_title(title, fontsize=9)
