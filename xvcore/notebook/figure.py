"""What a result looks like, whoever draws it: pictures with maps and lines over them, bars, a table, and words."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from xvcore.errors import XvError

FIRST = 6
"""Images that are shown unless more are asked for: a figure is some hundreds of kB at most."""
MOST_PX = 320
"""Longest side of a picture in a cell."""
Box = tuple[float, float, float, float]
"""x, y, w, h in pixels of the picture."""
GROUND = 128
"""Grey of what there is no picture of."""


@dataclass(frozen=True, slots=True)
class Over:
    """A map over a picture: a PNG with its opacity, and the box that it covers.

    Parameters
    ----------
    data : encoded
    box : x, y, w, h in pixels of the picture
    is_smooth : whether it is smoothed when it is enlarged; else its elements can be told apart

    Examples
    --------
    >>> import numpy as np
    >>> from xvcore.notebook import Over
    >>> from xvcore.report.pictures import signed
    >>> Over(signed(np.array([[1.0, -2.0]]), limit=2.0), (0, 0, 16, 8)).is_smooth
    False
    """

    data: bytes
    box: Box
    is_smooth: bool = False


@dataclass(frozen=True, slots=True)
class Outline:
    """A closed line: its corners in pixels, and one of :data:`xvcore.notebook.colours.LINES`, counted on and on.

    Parameters
    ----------
    corners : x, y in pixels of the picture
    colour : number of the colour

    Examples
    --------
    >>> from xvcore.notebook import Outline
    >>> Outline.of_box((1, 2, 3, 4)).corners[2]
    (4.0, 6.0)
    """

    corners: Sequence[tuple[float, float]]
    colour: int = 0

    @classmethod
    def of_box(cls, box: Sequence[float], colour: int = 0) -> "Outline":
        """Return the line around a box."""
        x, y, w, h = map(float, box)
        return cls(((x, y), (x + w, y), (x + w, y + h), (x, y + h)), colour)


@dataclass(frozen=True, slots=True)
class Panel:
    """A picture and what lies over it.

    Parameters
    ----------
    pixels : (h, w, 3), 0 … 255
    title, caption : above and below it
    over, outlines : in the order in which they are drawn

    Examples
    --------
    >>> import numpy as np
    >>> from xvcore.notebook import Outline, Panel
    >>> Panel(np.zeros((8, 16, 3), np.uint8), "robin.jpg", outlines=(Outline.of_box((1, 1, 4, 4)),)).size
    (8, 16)
    """

    pixels: np.ndarray
    title: str = ""
    caption: str = ""
    over: tuple[Over, ...] = ()
    outlines: tuple[Outline, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.pixels.shape[:2]
        return int(height), int(width)


@dataclass(frozen=True, slots=True)
class Bars:
    """Numbers of either sign beside each other: labels, values, and their unit.

    Parameters
    ----------
    rows : labels and values
    unit : of the values

    Examples
    --------
    >>> from xvcore.notebook import Bars, Figure
    >>> Figure("Image 0", bars=Bars((("bias", -0.5), ("prototype 3", 2.0)), "logits")).html.count("logits")
    2
    """

    rows: tuple[tuple[str, float], ...]
    unit: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A result as a notebook shows it: ``display(figure)``, :attr:`html`, or :meth:`plot`.

    Parameters
    ----------
    title : what is shown
    words : what the numbers mean, in sentences
    panels : pictures
    limit : evidence at full opacity, in logits, where maps of evidence are shown; the ends of their scale
    bars : numbers with their signs
    header, rows : a table
    parts : figures below this one

    Examples
    --------
    >>> import numpy as np
    >>> from xvcore.notebook import Figure, Panel
    >>> Figure("A grey square", panels=(Panel(np.full((8, 8, 3), 128, np.uint8)),)).html.count("<img")
    1
    """

    title: str
    words: str = ""
    panels: tuple[Panel, ...] = ()
    limit: float | None = None
    bars: Bars | None = None
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    parts: tuple["Figure", ...] = ()

    @property
    def html(self) -> str:
        """The figure as HTML that asks for nothing outside; colours of text are those of the page around it."""
        from xvcore.notebook.html import page_part

        return page_part(self)

    def _repr_html_(self) -> str:
        return self.html

    def plot(self) -> list[Any]:
        """Draw pictures and bars with matplotlib and return their axes, those of its parts too.

        Raises
        ------
        XvError
            matplotlib is not installed, or there is neither a picture nor a bar to draw.
        """
        from xvcore.notebook.plots import plot

        return plot(self)


def pixels_of(image: Any) -> np.ndarray:
    """Return an image (3, h, w) in [0, 1] as (h, w, 3), 0 … 255."""
    array = image.detach().cpu().float().numpy() if isinstance(image, Tensor) else np.asarray(image, dtype=np.float32)
    if array.ndim != 3 or array.shape[0] != 3:
        raise XvError(f"an image to draw over is 3 × height × width, not {' × '.join(map(str, array.shape))}")
    return np.ascontiguousarray((array.transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8))


def grounds(images: Any, number: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Return what so many maps are drawn over: their images, or grey of a height and width where there are none.

    Raises
    ------
    XvError
        Fewer images than maps, or images of another size.
    """
    if images is None:
        return [np.full((*size, 3), GROUND, np.uint8)] * number
    if len(images) < number or tuple(images.shape[-2:]) != tuple(size):
        seen = " × ".join(map(str, images.shape))
        raise XvError(f"images of {seen} to draw over: {number} × 3 × {size[0]} × {size[1]} are needed")
    return [pixels_of(image) for image in images[:number]]


def muted(pixels: np.ndarray) -> np.ndarray:
    """Return a picture in light grey, on which red and blue can be told."""
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    light = (0.6 * grey + 82).clip(0, 255).round().astype(np.uint8)
    return np.ascontiguousarray(np.repeat(light[..., None], 3, axis=2))


def fitted(pixels: np.ndarray, most_px: int = MOST_PX) -> Image.Image:
    """Return a picture, made smaller where a side is longer than so many pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((most_px, most_px), Image.Resampling.LANCZOS)
    return image


def opened(data: bytes) -> np.ndarray:
    """Return an encoded picture as (h, w, 3), 0 … 255."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))
