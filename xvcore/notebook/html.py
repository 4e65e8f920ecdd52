"""Figures as HTML for a cell: sizes in px, pictures inside, no address, text in the colour of the page around it."""

import base64
import functools
import io
from html import escape
from importlib.resources import files

from xvcore.notebook.colours import BENEATH, line
from xvcore.notebook.figure import Bars, Box, Figure, Outline, Over, Panel, fitted
from xvcore.report.wording import decimal
from xvcore.runs.thumbnails import FINE_PX, Thumbnail

WIDTH_PX = 220
"""Of a picture in a cell."""


def page_part(figure: Figure) -> str:
    """Return a figure and its parts as HTML, style included."""
    return f'<div class="xv"><style>{style()}</style>{_inside(figure)}</div>'


@functools.cache
def style() -> str:
    """Return the style of a figure."""
    return files("xvcore.notebook").joinpath("static", "figure.css").read_text()


def data_url(data: bytes) -> str:
    """Return an encoded picture as an address that holds it."""
    return f"data:{Thumbnail('', data).media_type};base64,{base64.b64encode(data).decode()}"


def stage(panel: Panel, width_px: int = WIDTH_PX) -> str:
    """Return a picture with what lies over it, so many pixels wide."""
    height, width = panel.size
    side = width_px / width
    label = escape(panel.title or panel.caption, quote=True)
    inside = [_image(_ground(panel), (0.0, 0.0, width, height), side, is_fine=max(panel.size) <= FINE_PX, alt=label)]
    inside += [_layer(each, side) for each in panel.over]
    if panel.outlines:
        lines = "".join(map(_line, panel.outlines))
        inside.append(
            f'<svg style="left:0;top:0;width:{width_px}px;height:{height * side:.0f}px" '
            f'viewBox="0 0 {width} {height}" aria-hidden="true">{lines}</svg>'
        )
    return f'<span class="stage" style="width:{width_px}px;height:{height * side:.0f}px">{"".join(inside)}</span>'


def _inside(figure: Figure) -> str:
    found = [f"<h3>{escape(figure.title)}</h3>"]
    if figure.words:
        found.append(f"<p>{escape(figure.words)}</p>")
    row = [*map(_panel, figure.panels), *([_bars(figure.bars)] if figure.bars else [])]
    if row:
        found.append(f'<div class="row">{"".join(row)}</div>')
    if figure.limit is not None:
        found.append(_scale(figure.limit))
    if figure.rows:
        found.append(_table(figure))
    found += [f"<section>{_inside(part)}</section>" for part in figure.parts]
    return "".join(found)


def _panel(panel: Panel) -> str:
    title = f"<b>{escape(panel.title)}</b>" if panel.title else ""
    caption = f"<figcaption>{escape(panel.caption)}</figcaption>" if panel.caption else ""
    return f"<figure>{title}{stage(panel)}{caption}</figure>"


def _ground(panel: Panel) -> bytes:
    buffer = io.BytesIO()
    is_fine = max(panel.size) <= FINE_PX
    fitted(panel.pixels).save(buffer, "PNG" if is_fine else "JPEG", **({} if is_fine else {"quality": 85}))
    return buffer.getvalue()


def _image(data: bytes, box: Box, side: float, *, is_fine: bool, alt: str = "") -> str:
    x, y, w, h = (each * side for each in box)
    fine = ' class="fine"' if is_fine else ""
    place = f"left:{x:.1f}px;top:{y:.1f}px;width:{w:.1f}px;height:{h:.1f}px"
    return f'<img{fine} src="{data_url(data)}" alt="{alt}" style="{place}">'


def _layer(over: Over, side: float) -> str:
    return _image(over.data, over.box, side, is_fine=not over.is_smooth)


def _line(outline: Outline) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in outline.corners)
    shared = f'<polygon points="{points}" fill="none" vector-effect="non-scaling-stroke"'
    return (
        f'{shared} stroke="{BENEATH}" stroke-opacity=".6" stroke-width="5"/>'
        f'{shared} stroke="{line(outline.colour)}" stroke-width="2.5"/>'
    )


def _scale(limit: float) -> str:
    ends = f"<span><b>{decimal(-limit)}</b><b>0</b><b>{decimal(limit)} logits</b></span>"
    return f'<div class="scale"><i></i>{ends}<span><span>against</span><span></span><span>for</span></span></div>'


def _bars(bars: Bars) -> str:
    low = min([0.0, *(value for _, value in bars.rows)])
    span = (max([0.0, *(value for _, value in bars.rows)]) - low) or 1.0
    found = []
    for label, value in bars.rows:
        left, width = 100 * (min(value, 0.0) - low) / span, 100 * abs(value) / span
        side = ' class="against"' if value < 0 else ""
        bar = f'<i{side} style="left:{left:.1f}%;width:{width:.1f}%"></i>'
        number = f"{decimal(value)} {bars.unit}"
        found.append(f"<span>{escape(label)}</span><i>{bar}</i><span>{escape(number)}</span>")
    return f'<div class="bars">{"".join(found)}</div>'


def _table(figure: Figure) -> str:
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in figure.header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in figure.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
