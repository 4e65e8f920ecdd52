"""Units and their projections as a notebook shows them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from xvcore.errors import unknown_name
from xvcore.notebook.figure import FIRST, Figure, Outline, Panel, grounds, opened, pixels_of
from xvcore.notebook.seen import ClassView, Seen, class_views, rows_shown
from xvcore.report.wording import decimal, percent, plural
from xvcore.shown import view
from xvcore.store.encode import encoded
from xvcore.units.method.deconvnet import Projections, cut
from xvcore.units.method.top_activations import UnitTops
from xvcore.units.pages.unit_data import read_layers, read_top
from xvcore.units.settings import TopUnits

CONTRAST = 0.995
"""Share of a projection's values that keep their contrast."""


@view(Projections)
def figure_of_projections(
    projections: Projections, images: Any = None, *, first: int = 2 * FIRST, contrast: float = CONTRAST
) -> Figure:
    """Return the first projections, each by its own contrast; with their images what was projected from stands beside.

    Parameters
    ----------
    images : one a projection
    contrast : share of the values that keep their contrast, in (0, 1]
    """
    number = min(first, len(projections.pictures))
    shown, scales = projections.shown(contrast), projections.scales_at(contrast)
    panels = []
    for index in range(number):
        x, y, w, h = projections.boxes[index].tolist()
        said = f"activation {decimal(float(projections.activations[index]))}; white is {float(scales[index]):.2g}"
        panels.append(Panel(pixels_of(shown[index]), f"projection {index}", said))
        if images is not None:
            (seen,) = cut(images[index : index + 1].cpu(), projections.boxes[index : index + 1].cpu())
            panels.append(Panel(pixels_of(seen), "what the unit saw", f"{w} × {h} px at {x}, {y}"))
    words = "Grey is 0; a projection is in units of activation per unit of the pixels' 0 to 1, each on its own scale."
    total = len(projections.pictures)
    return Figure(f"{plural(number, 'projection')} of {total}", words, tuple(panels))


@view(UnitTops)
def figure_of_units(  # noqa: PLR0913  one for each choice
    tops: UnitTops,
    images: Any = None,
    *,
    layer: str | None = None,
    units: Sequence[int] | None = None,
    first: int = FIRST,
    kept: int = 3,
) -> Figure:
    """Return the layers, and the strongest activations of some units of one of them.

    Parameters
    ----------
    images : all that were seen, by their number
    layer : name of a layer; None: the last one
    units : numbers of units in it; None: the ``first`` whose strongest activations are largest
    first, kept : units, and activations of each, that are shown
    """
    names = [each.name for each in tops.layers]
    chosen = names[-1] if layer is None else layer
    if chosen not in names:
        raise unknown_name("layer", chosen, names)
    start = sum(each.n_units for each in tops.layers[: names.index(chosen)])
    of_layer = tops.layers[names.index(chosen)]
    rankings = next(columns for each, columns in tops.rankings(first=kept) if each.name == chosen)
    strongest = tops.values[start : start + of_layer.n_units, 0].cpu()
    alive = (strongest > 0).nonzero()[:, 0]
    order = alive[strongest[alive].argsort(descending=True, stable=True)].tolist()
    shown = order[:first] if units is None else list(units)
    panels, rows = [], []
    for unit in shown:
        places = np.flatnonzero(rankings["unit"] == unit)
        of_unit = [{name: values[place].item() for name, values in rankings.items()} for place in places]
        said = ", ".join(f"{decimal(row['activation'])} in image {row['image']}" for row in of_unit)
        rows.append((str(unit), said or "never active"))
        for row in of_unit if images is not None else ():
            image = row["image"]
            (pixels,) = grounds(images[image : image + 1], 1, tuple(images.shape[-2:]))
            box = Outline.of_box([row[each] for each in "xywh"])
            title, caption = f"unit {unit}", f"{decimal(row['activation'])} in image {image}"
            panels.append(Panel(pixels, title, caption, outlines=(box,)))
    counts = [
        (each.name, str(each.n_units), str(int(dead.sum())), " × ".join(map(str, each.size)))
        for each, dead in zip(
            tops.layers, tops.is_dead.cpu().split([each.n_units for each in tops.layers]), strict=True
        )
    ]
    header = ("layer", "units", "never active", "map, rows × columns")
    return Figure(
        f"Strongest activations in {chosen}",
        f"Over {plural(tops.n_images, 'image')}; of each unit the {kept} images in which it responds most.",
        tuple(panels),
        header=("unit", "strongest"),
        rows=tuple(rows),
        parts=(Figure(plural(len(counts), "layer"), header=header, rows=tuple(counts)),),
    )


def figure_of_class(seen: Seen) -> Figure | None:
    """Return the units whose strongest images are of a class before all, layer by layer, with their projections."""
    parts = []
    n_units = 0
    for layer in read_layers(seen.store, seen.entry.network):
        own = [row for row in layer.units if row["top_class_id"] == seen.entry.class_id]
        n_units += len(own)
        own.sort(key=lambda row: (-float(row["top_class_share"]), -float(row["act_max"]), int(row["unit"])))
        top = read_top(seen.store, seen.entry.network, layer) if own else {}
        panels = []
        for row in own[: seen.first]:
            unit = int(row["unit"])
            said = f"{percent(row['top_class_share'])} of its strongest images; at most {decimal(row['act_max'])}"
            for place in top.get(unit, ())[:1]:
                panels.append(Panel(_opened(place["crop"]), f"unit {unit}", said))
                if encoded(place["projection"]) is not None:
                    panels.append(Panel(_opened(place["projection"]), f"unit {unit}: projection", "grey is 0"))
        if own:
            rows = tuple(
                (str(row["unit"]), percent(row["top_class_share"]), decimal(row["act_max"]), decimal(row["act_mean"]))
                for row in own[: seen.first]
            )
            header = ("unit", "strongest images of the class", "largest activation", "mean over all images")
            title = f"{layer.name}: {plural(len(own), 'unit')} of {len(layer.units)}{rows_shown(own, seen.first)}"
            parts.append(Figure(title, panels=tuple(panels), header=header, rows=rows))
    if not parts:
        return None
    words = "Units whose strongest images are of this class more often than of any other; what they saw, and of what."
    return Figure(f"{plural(n_units, 'unit')}, {seen.entry.network.title}", words, parts=tuple(parts))


def _opened(cell: Any) -> Any:
    return opened(encoded(cell) or b"")


class_views.register(TopUnits.method)(ClassView(figure_of_class))
