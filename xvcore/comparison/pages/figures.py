"""Figures of a comparison as SVG text: number of parts against accuracy, and how much the masks cover."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from xvcore.analyses.questions.figures import COLOURS, FONT_PX, Frame, Series, scatter_chart
from xvcore.report.wording import percent

Row = Mapping[str, Any]

WIDTH, LEFT = 720, 12
BAR, GAP, HEAD = 16, 6, 30
"""Heights in px: of a bar, between bars, and of the line with a class's name."""
TOP = 34
LETTER_PX, MOST_LETTERS = 7.5, 32
"""Room for the names beside the bars; longer ones are cut, and whole where the mouse rests."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A share beside what chance gives.

    Parameters
    ----------
    name : whose
    colour : which of the networks' colours, 0 … 7
    share, chance : 0 … 1; None is not known
    """

    name: str
    colour: int
    share: float | None
    chance: float | None


def count_chart(rows: Sequence[Row], colours: Mapping[str, int]) -> str | None:
    """Return the mean number of parts of each network, with its interval, over its accuracy; None where none is known.

    Parameters
    ----------
    rows : of ``comparison_networks``
    colours : of the networks, 0 … 7
    """
    known = [row for row in rows if row["accuracy"] is not None and row["mean_parts"] is not None]
    if not known:
        return None
    frame = Frame("Distinct parts of a class against accuracy, a point a network", "accuracy (mean over the classes)",
                  "parts of a class (mean)")  # fmt: skip
    return scatter_chart(_in_colours([(colours.get(str(row["model"]), 0), _point(row)) for row in known]), frame)


def _point(row: Row) -> Series:
    ends = [float("nan") if row[name] is None else row[name] for name in ("mean_parts_low", "mean_parts_high")]
    return Series(
        str(row["model"]),
        np.array([row["accuracy"]], float),
        np.array([row["mean_parts"]], float),
        np.array(ends[:1], float),
        np.array(ends[1:], float),
    )


def _in_colours(points: Sequence[tuple[int, Series]]) -> list[Series]:
    """Return the series so that each has the colour that its network has elsewhere: by place, empty ones between."""
    nothing = np.zeros(0)
    placed: dict[int, Series] = {}
    for colour, series in points:
        place = colour
        while place in placed:
            place += len(COLOURS)
        placed[place] = series
    return [placed.get(place, Series("", nothing, nothing)) for place in range(max(placed) + 1)]


def coverage_chart(title: str, groups: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """Return bars of each network for each class, with a line where chance would be.

    Parameters
    ----------
    title : above, also what a screen reader says
    groups : name of a class, and its bars
    """
    longest = max((len(bar.name) for _, bars in groups for bar in bars), default=0)
    end = WIDTH - min(MOST_LETTERS, longest) * LETTER_PX - 64
    parts, y = [], float(TOP)
    for name, bars in groups:
        parts.append(f'<text x="{LEFT}" y="{y + 19:.0f}" font-weight="600">{escape(name)}</text>')
        y += HEAD
        for bar in bars:
            parts += _bar(bar, y, end)
            y += BAR + GAP
    height = y + 26
    axis = [
        f'<line x1="{_place(mark, end):.1f}" y1="{TOP}" x2="{_place(mark, end):.1f}" y2="{y:.0f}" '
        'stroke="currentColor" stroke-opacity="0.15"/>'
        f'<text x="{_place(mark, end):.1f}" y="{y + 18:.0f}" text-anchor="middle">{percent(mark)}</text>'
        for mark in (0, 0.25, 0.5, 0.75, 1)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" width="{WIDTH}" '
            f'style="max-width:100%;height:auto" font-family="system-ui, sans-serif" font-size="{FONT_PX - 1}" '
            'fill="currentColor">',
            f"<title>{escape(title)}</title>",
            f'<text x="{LEFT}" y="20" font-size="{FONT_PX + 1}" font-weight="600">{escape(title)}</text>',
            *axis,
            *parts,
            "</svg>",
        ]
    )


def _place(share: float, end: float) -> float:
    return LEFT + share * (end - LEFT)


def _bar(bar: Bar, y: float, end: float) -> list[str]:
    if bar.share is None or not math.isfinite(bar.share):
        return [f'<text x="{LEFT}" y="{y + 12:.0f}" fill-opacity="0.7">{escape(bar.name)}: not known</text>']
    colour = f"var(--n{bar.colour}, {COLOURS[bar.colour % len(COLOURS)]})"
    by_chance = "" if bar.chance is None else f", {percent(bar.chance)} by chance"
    said = f"{bar.name}: {percent(bar.share)}{by_chance}"
    parts = [
        f'<g><title>{escape(said)}</title><rect x="{LEFT}" y="{y:.0f}" height="{BAR}" '
        f'width="{max(1.0, _place(bar.share, end) - LEFT):.1f}" style="fill:{colour}" rx="2"/>'
    ]
    if bar.chance is not None:
        x = _place(bar.chance, end)
        parts.append(
            f'<line x1="{x:.1f}" y1="{y - 3:.0f}" x2="{x:.1f}" y2="{y + BAR + 3:.0f}" stroke="currentColor" '
            'stroke-width="2"/>'
        )
    parts.append(f'<text x="{end + 10:.1f}" y="{y + 13:.0f}">{percent(bar.share)} {escape(_cut(bar.name))}</text></g>')
    return parts


def _cut(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"
