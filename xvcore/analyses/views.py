"""What analyses found in a class, as a notebook shows it: findings in sentences, maps over their images."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from xvcore.analyses.analysis import MapOver, analyses
from xvcore.analyses.pages.owner_page import owners_of
from xvcore.notebook.figure import Figure, Over, Panel, muted
from xvcore.notebook.seen import ClassView, Layer, Layers, Seen, class_views, rows_shown
from xvcore.query import table
from xvcore.report.pictures import signed
from xvcore.report.rows import class_rows
from xvcore.report.wording import NONE, decimal, records

HEADER = ("finding", "what is measured", "value, 95 % interval", "if there were nothing", "over")


def figure_of_class(seen: Seen) -> Figure | None:
    """Return the findings of an analysis that hold, and its maps over the first images of the class."""
    network = seen.entry.network
    owners = [each for each in owners_of(seen.store, seen.section) if network in each.networks]
    found = records(table(seen.store, "findings", run_id=[each.run_id for each in owners]))
    holding = [row for row in found if row["holds"]]
    kinds: dict[str, list[MapOver]] = {}
    for each in _maps(seen):
        kinds.setdefault(each.title, []).append(each)
    parts = []
    for title, maps in kinds.items():
        limit = _limit(maps)
        panels = [
            Panel(muted(seen.ground(each.image_id, network.input_size)), _short(each.image_id), layer.words, layer.over)
            for each in maps[: seen.first]
            for layer in [_layer(each, limit)]
        ]
        parts.append(Figure(f"{title}{rows_shown(maps, seen.first)}", f"Full red is {decimal(limit)}.", tuple(panels)))
    if not found and not parts:
        return None
    n_classes = len(
        {each.class_id for topic in seen.section.topics for each in topic.entries if each.network is network}
    )
    words = f"{analyses[seen.section.method].summary} Findings are over all {n_classes} classes of the run."
    if found and not holding:
        words += f" Of {len(found)} that were tested or measured none holds beyond chance."
    name = seen.section.method.replace("_", " ").capitalize()
    rows = tuple(map(_row, holding))
    return Figure(f"{name}, {network.title}", words, header=HEADER if rows else (), rows=rows, parts=tuple(parts))


def layers_of_class(seen: Seen) -> dict[str, Layers]:
    """Return each kind of map over each image, on one scale a kind."""
    kinds: dict[str, dict[str, MapOver]] = {}
    for each in _maps(seen):
        kinds.setdefault(each.title, {})[each.image_id] = each
    found: dict[str, Mapping[str, Callable[[], Layer]]] = {}
    for title, maps in kinds.items():
        limit = _limit(list(maps.values()))
        found[title] = {image_id: partial(_layer, each, limit) for image_id, each in maps.items()}
    return found


def _maps(seen: Seen) -> list[MapOver]:
    analysis = analyses[seen.section.method]
    name = analysis.stages[-1].table if analysis.stages else None
    if analysis.maps is None or name is None or seen.entry.status != "complete":
        return []
    return list(analysis.maps(class_rows(seen.store, seen.entry, name)))


def _limit(maps: Sequence[MapOver]) -> float:
    return max((float(np.abs(each.values).max()) for each in maps), default=0.0)


def _layer(of: MapOver, limit: float) -> Layer:
    return Layer(
        of.words or f"full red is {decimal(limit)}", (Over(signed(of.values, limit), of.box),), is_on_grey=True
    )


def _short(image_id: str) -> str:
    return image_id.rsplit("/", 1)[-1]


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    interval = "" if row["low"] is None else f" ({decimal(row['low'])} to {decimal(row['high'])})"
    tested = decimal(row["null_value"]) if row["null_value"] is not None else NONE
    chance = "" if row["p_value"] is None else f", p = {row['p_value']:.3g}"
    return row["sentence"], row["measure"], decimal(row["value"]) + interval, tested + chance, str(row["n"])


for _name in analyses:
    class_views.register(_name)(ClassView(figure_of_class, layers_of_class))
