"""Line charts and scatter charts as SVG text, to be put into a page as they are.

Text and axes take the page's text colour (``currentColor``), so that a chart is readable on a light and on a dark
page; a curve takes the page's colour ``--n0`` … ``--n7`` where there is one. Curves differ by marker too, not by
colour alone. A chart is as wide as its place allows and never needs a script.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from jaxtyping import Num

from xvcore.errors import ParameterError

Values = Num[np.ndarray, " points"]
Point = tuple[float, float]

WIDTH, HEIGHT = 720, 440
MOST_MARKERS = 40
"""On a curve; of more points only some are marked."""
LEFT, RIGHT, BOTTOM = 72, 20, 62
FONT_PX = 14
NAME_PX = 12
"""Size of the names beside points."""
MOST_NAMES = 4
"""Names that are written for points on one spot; of more, their number."""
LETTER_PX = {**dict.fromkeys("ijlt.,:;'|! ()[]fr1", 5.2), **dict.fromkeys("mwMW%@×", 12.5)}
"""Width of narrow and wide letters in a common font, for placing what follows a name."""
OTHER_LETTER_PX = 8.9
COLOURS = ("#2b7de0", "#d9711c", "#2f9e62", "#9b6cf0", "#d1499b", "#a88414", "#1f9cb3", "#7d8794")
"""Readable on white and on black."""
MARKERS = ("circle", "square", "triangle", "diamond", "cross", "hollow circle", "hollow square", "hollow triangle")
SHAPES = {
    "square": "M-4,-4H4V4H-4Z",
    "triangle": "M0,-5L5,4H-5Z",
    "diamond": "M0,-5.5L5.5,0L0,5.5L-5.5,0Z",
    "cross": "M-4,-4L4,4M-4,4L4,-4",
}


@dataclass(frozen=True, slots=True)
class Series:
    """Points that belong together; points without a number are left out.

    Parameters
    ----------
    name : in the legend; empty is not shown there
    x, y : the points, in the order in which a line joins them
    low, high : ends of each point's error bar
    labels : what each point is, shown where the mouse rests on it
    is_named : whether the labels stand beside their points too, as far as there is room
    is_reference : whether it is the bar for the others: dashed, in the colour of the text
    """

    name: str
    x: Values
    y: Values
    low: Values | None = None
    high: Values | None = None
    labels: Sequence[str] = ()
    is_named: bool = False
    is_reference: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: numbers to pixels, and where it is marked."""

    label: str
    low: float
    high: float
    start_px: float
    end_px: float
    marks: Sequence[tuple[float, str]] = field(default=())

    def __call__(self, value: float) -> float:
        """Return the pixel of a number."""
        return self.start_px + (value - self.low) / (self.high - self.low) * (self.end_px - self.start_px)


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the points of a chart.

    Parameters
    ----------
    title : above the chart, also what a screen reader says
    x_label, y_label : what the axes show, with the unit
    x_names : names of the places 0, 1, 2, … of the x axis, which then is no scale
    x_range, y_range : ends of the axes; None takes what holds all points
    has_diagonal : whether to draw the line on which x equals y
    """

    title: str
    x_label: str
    y_label: str
    x_names: Sequence[str] = ()
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    has_diagonal: bool = False


def line_chart(series: Sequence[Series], frame: Frame) -> str:
    """Return a chart of curves with error bars, grid and legend.

    Raises
    ------
    ParameterError
        No point at all.
    """
    return _chart(series, frame, is_joined=True)


def scatter_chart(series: Sequence[Series], frame: Frame) -> str:
    """Return a chart of points that no line joins; otherwise as :func:`line_chart`."""
    return _chart(series, frame, is_joined=False)


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Return the multiples of 1, 2 or 5 times a power of ten within a range, ``most`` at most."""
    raw = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    steps = (factor * power for factor in (1, 2, 5, 10, 20))
    for step in steps:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [number * step for number in range(first, last + 1)]
    return [low, high]


def _chart(series: Sequence[Series], frame: Frame, *, is_joined: bool) -> str:
    legend, top = _legend(series)
    names = frame.x_names
    x_range = (-0.3, len(names) - 0.7) if names else frame.x_range or _range([each.x for each in series], "x")
    bars = [values for each in series for values in (each.y, each.low, each.high) if values is not None]
    y_range = frame.y_range or _range(bars, "y")
    x_marks = list(enumerate(names)) if names else _marks(*x_range)
    x = Axis(frame.x_label, *x_range, LEFT, WIDTH - RIGHT, x_marks)
    y = Axis(frame.y_label, *y_range, HEIGHT - BOTTOM, top, _marks(*y_range))
    drop = _drop(names)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + drop}" role="img" width="{WIDTH}" '
        f'style="max-width:100%;height:auto" font-family="system-ui, sans-serif" font-size="{FONT_PX}" '
        'fill="currentColor">',
        f"<title>{escape(frame.title)}</title>",
        f'<text x="{LEFT}" y="22" font-size="{FONT_PX + 2}" font-weight="600">{escape(frame.title)}</text>',
        *legend,
        *_axes(x, y, drop),
        *([_diagonal(x, y)] if frame.has_diagonal else []),
        *(line for index, each in enumerate(series) for line in _curve(index, each, x, y, is_joined=is_joined)),
        *_names([each for each in series if each.is_named], x, y),
        "</svg>",
    ]
    return "\n".join(parts)


def _legend(series: Sequence[Series]) -> tuple[list[str], float]:
    """Return the legend's lines and where the plot begins below them."""
    parts, x, y = [], float(LEFT), 48.0
    for index, each in enumerate(series):
        if not each.name:
            continue
        width = 40 + _width(each.name)
        if x > LEFT and x + width > WIDTH:
            x, y = float(LEFT), y + 22
        parts.append(_marker(index, (x + 8, y - 5), _colour(index, each)))
        parts.append(f'<text x="{x + 20:.1f}" y="{y:.1f}">{escape(each.name)}</text>')
        x += width
    return parts, y + 20 if parts else 44.0


def _range(arrays: Sequence[Num[np.ndarray, " _points"]], axis: str) -> tuple[float, float]:
    values = np.concatenate([np.asarray(each, float) for each in arrays]) if arrays else np.zeros(0)
    values = values[np.isfinite(values)]
    if not len(values):
        raise ParameterError(f"a chart of nothing: no point has a number on the {axis} axis")
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def _marks(low: float, high: float) -> list[tuple[float, str]]:
    found = ticks(low, high)
    step = found[1] - found[0] if len(found) > 1 else 1.0
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [(value, f"{value + 0.0:.{digits}f}".replace("-", "−")) for value in found]


def _drop(names: Sequence[str]) -> int:
    """Return how much lower the chart ends for names that have no room side by side and are slanted; else 0."""
    widths = [_width(name) + 12 for name in names]
    return round(0.6 * max(widths)) if sum(widths) > WIDTH - LEFT - RIGHT else 0


def _width(text: str) -> float:
    return sum(LETTER_PX.get(letter, OTHER_LETTER_PX) for letter in text)


def _axes(x: Axis, y: Axis, drop: int) -> list[str]:
    parts = []
    for value, text in y.marks:
        parts.append(_line((x.start_px, y(value)), (x.end_px, y(value)), opacity=0.15))
        parts.append(f'<text x="{x.start_px - 8:.1f}" y="{y(value) + 5:.1f}" text-anchor="end">{escape(text)}</text>')
    for value, text in x.marks:
        parts.append(_line((x(value), y.start_px), (x(value), y.start_px + 5), opacity=0.6))
        place = f'x="{x(value):.1f}" y="{y.start_px + (15 if drop else 21):.1f}"'
        turned = f' transform="rotate(-35 {x(value):.1f} {y.start_px + 15:.1f})"' if drop else ""
        parts.append(f'<text {place} text-anchor="{"end" if drop else "middle"}"{turned}>{escape(text)}</text>')
    parts.append(_line((x.start_px, y.start_px), (x.end_px, y.start_px), opacity=0.6))
    middle_x, middle_y = (x.start_px + x.end_px) / 2, (y.start_px + y.end_px) / 2
    parts.append(f'<text x="{middle_x:.1f}" y="{HEIGHT - 14 + drop}" text-anchor="middle">{escape(x.label)}</text>')
    turned = f'transform="translate(20 {middle_y:.1f}) rotate(-90)"'
    parts.append(f'<text {turned} text-anchor="middle">{escape(y.label)}</text>')
    return parts


def _diagonal(x: Axis, y: Axis) -> str:
    low, high = max(x.low, y.low), min(x.high, y.high)
    return _line((x(low), y(low)), (x(high), y(high)), opacity=0.5, dashes="5 5")


def _curve(index: int, series: Series, x: Axis, y: Axis, *, is_joined: bool) -> list[str]:
    places = np.flatnonzero(np.isfinite(np.asarray(series.x, float)) & np.isfinite(np.asarray(series.y, float)))
    points = [(x(float(series.x[place])), y(float(series.y[place]))) for place in places]
    colour = _colour(index, series)
    parts = []
    if is_joined and points:
        dashed = ' stroke-dasharray="6 4"' if series.is_reference else ""
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        parts.append(f'<polyline points="{path}" fill="none" style="stroke:{colour}" stroke-width="2"{dashed}/>')
    every = math.ceil(len(points) / MOST_MARKERS) if is_joined else 1
    for place, (px, py) in list(zip(places.tolist(), points, strict=True))[::every]:
        parts += _error_bar(series, place, (px, y), colour)
        said = series.labels[place] if len(series.labels) else series.name
        words = f"{said}: {float(series.x[place]):.4g}, {float(series.y[place]):.4g}"
        parts.append(f"<g>{_marker(index, (px, py), colour)}<title>{escape(words)}</title></g>")
    return parts


def _names(series: Sequence[Series], x: Axis, y: Axis) -> list[str]:
    """Return the labels of points beside them, one for all that lie on one spot; none where there is no room."""
    spots: dict[tuple[int, int], list[str]] = {}
    for each in series:
        for label, across, up in zip(each.labels, each.x, each.y, strict=True):
            if math.isfinite(across) and math.isfinite(up):
                spots.setdefault((round(x(float(across))), round(y(float(up)))), []).append(label)
    parts: list[str] = []
    taken = np.array([(px - 5, py - 5, px + 5, py + 5) for px, py in spots], float).reshape(-1, 4)
    for spot, labels in spots.items():
        for text, box in _places(spot, labels):
            is_inside = x.start_px <= box[0] and box[2] <= WIDTH and y.end_px - 8 <= box[1] and box[3] <= y.start_px
            meets = (taken[:, :2] < box[2:]).all(axis=1) & (taken[:, 2:] > box[:2]).all(axis=1)
            if is_inside and not meets.any():
                taken = np.vstack([taken, box])
                place = f'x="{box[0]:.1f}" y="{box[3] - 2:.1f}"'
                parts.append(f'<text {place} font-size="{NAME_PX}">{escape(text)}</text>')
                break
    return parts


def _places(spot: tuple[int, int], labels: list[str]) -> Iterator[tuple[str, Num[np.ndarray, "4"]]]:
    """Yield what may be written around a spot and its box (left, top, right, bottom), the best first."""
    px, py = spot
    for shown in range(min(len(labels), MOST_NAMES), 0, -1):
        text = ", ".join(labels[:shown]) + (f" + {len(labels) - shown}" if len(labels) > shown else "")
        width = NAME_PX / FONT_PX * _width(text)
        right, left, centre = px + 8, px - 8 - width, px - width / 2
        for corner, middle in (
            *((right, py), (left, py), (centre, py - 14), (centre, py + 14)),
            *((right, py - 12), (right, py + 12), (left, py - 12), (left, py + 12)),
        ):
            yield text, np.array([corner, middle - NAME_PX / 2, corner + width, middle + NAME_PX / 2])


def _error_bar(series: Series, place: int, at: tuple[float, Axis], colour: str) -> list[str]:
    if series.low is None or series.high is None:
        return []
    ends = [float(series.low[place]), float(series.high[place])]
    if not all(map(math.isfinite, ends)):
        return []
    px, y = at
    bottom, top = (y(min(max(end, y.low), y.high)) for end in ends)
    style = f'style="stroke:{colour}" stroke-opacity="0.55" stroke-width="1.5"'
    return [f'<line x1="{px:.1f}" y1="{bottom:.1f}" x2="{px:.1f}" y2="{top:.1f}" {style}/>']


def _marker(index: int, at: Point, colour: str) -> str:
    kind, (x, y) = MARKERS[index % len(MARKERS)], at
    hollow = kind.startswith("hollow") or kind == "cross"
    style = f'style="fill:{"none" if hollow else colour};stroke:{colour}" stroke-width="2"'
    name = kind.removeprefix("hollow ")
    if name == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {style}/>'
    return f'<path transform="translate({x:.1f} {y:.1f})" d="{SHAPES[name]}" {style}/>'


def _colour(index: int, series: Series) -> str:
    place = index % len(COLOURS)
    return "currentColor" if series.is_reference else f"var(--n{place}, {COLOURS[place]})"


def _line(start: Point, end: Point, *, opacity: float, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    place = f'x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
    return f'<line {place} stroke="currentColor" stroke-opacity="{opacity}"{dashed}/>'
