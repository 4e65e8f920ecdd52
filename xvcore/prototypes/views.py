"""Prototypes and what they add to decisions, as a notebook shows them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from xvcore.notebook.figure import FIRST, Bars, Figure, Outline, Panel, grounds, opened
from xvcore.notebook.seen import ClassView, Seen, class_views, rows_shown
from xvcore.prototypes.method.head import Decision
from xvcore.prototypes.method.strongest_patches import NOBODY, SIDES, StrongestPatches
from xvcore.prototypes.pages.class_data import read_prototypes
from xvcore.prototypes.pages.class_tests import RunPrototypes
from xvcore.prototypes.settings import Prototypes
from xvcore.query import table
from xvcore.report.wording import decimal, plural, records
from xvcore.shown import view
from xvcore.store.encode import encoded

UNIT = "logits"


@view(Decision)
def figure_of_decision(
    decision: Decision, images: Any = None, *, targets: Any = None, first: int = FIRST, prototypes: int = 8
) -> Figure:
    """Return what the strongest prototypes add to a logit of each of the first images; all bars sum to it.

    Parameters
    ----------
    images : RGB in [0, 1], beside which the bars stand
    targets : the output of each image; None: the one with the largest logit
    prototypes : that have a bar of their own
    """
    logits, biases = decision.logits.detach(), decision.bias.detach()
    chosen = logits.argmax(dim=1) if targets is None else torch.as_tensor(targets, device=logits.device)
    contributions = decision.contributions(chosen).detach().cpu().float()
    number = min(first, len(contributions))
    drawn = [] if images is None else grounds(images, number, tuple(images.shape[-2:]))
    parts = []
    for index in range(number):
        target, row = int(chosen[index]), contributions[index]
        logit, bias = float(logits[index, target]), float(biases[target])
        order = row.abs().argsort(descending=True, stable=True)[:prototypes].tolist()
        bars = [(f"prototype {each}", float(row[each])) for each in order if float(row[each])]
        if bias:
            bars.insert(0, ("bias", bias))
        if len(bars) < int((row != 0).sum()) + (bias != 0):
            bars.append(("all others", logit - sum(value for _, value in bars)))
        title = f"Image {index}: output {target}, logit {decimal(logit)}"
        panels = (Panel(drawn[index]),) if drawn else ()
        parts.append(Figure(title, panels=panels, bars=Bars(tuple(bars), UNIT)))
    words = "A logit is the sum of its bars: what each prototype says of the image, times its weight for the output."
    return Figure(f"{plural(number, 'decision')} of {len(contributions)}", words, parts=tuple(parts))


@view(StrongestPatches)
def figure_of_strongest(
    found: StrongestPatches, images: Any = None, *, map_size: tuple[int, int] | None = None, first: int = FIRST
) -> Figure:
    """Return where the prototypes that are strongest speak loudest.

    Parameters
    ----------
    images : all that were seen, by their number
    map_size : rows and columns of the map of features; with ``images`` the nominal cells of the patches are outlined
    first : prototypes that are shown
    """
    strongest = found.values.amax(dim=(1, 2))
    order = [each for each in strongest.argsort(descending=True, stable=True).tolist() if strongest[each] > 0][:first]
    rows, panels = [], []
    for prototype in order:
        cells = [str(prototype)]
        for side, name in enumerate(SIDES):
            each_of = (found.images[prototype, side], found.values[prototype, side], found.places[prototype, side])
            patches = [
                (int(image), float(value), int(place))
                for image, value, place in zip(*each_of, strict=True)
                if int(image) != NOBODY
            ]
            cells.append(", ".join(f"{decimal(value)} in image {image}" for image, value, _ in patches))
            if images is not None and patches:
                image, value, place = patches[0]
                size = tuple(images.shape[-2:])
                (pixels,) = grounds(images[image : image + 1], 1, size)
                lines = (_cell(place, map_size, size),) if map_size else ()
                title, caption = f"prototype {prototype}, {name}", f"{decimal(value)} in image {image}"
                panels.append(Panel(pixels, title, caption, outlines=lines))
        rows.append(tuple(cells))
    return Figure(
        f"The {plural(len(order), 'strongest prototype')} of {len(strongest)}",
        "The images in which each speaks loudest, to both sides, with its value there.",
        panels=tuple(panels),
        header=("prototype", *(f"{side}, value" for side in SIDES)),
        rows=tuple(rows),
    )


def _cell(place: int, map_size: tuple[int, int], size: tuple[int, int]) -> Outline:
    (rows, columns), (height, width) = map_size, size
    row, column = divmod(place, columns)
    return Outline.of_box((column * width / columns, row * height / rows, width / columns, height / rows))


def figure_of_class(seen: Seen) -> Figure | None:
    """Return the prototypes that add most to a class, their strongest patches, and the first decisions taken apart."""
    network = seen.entry.network
    data = read_prototypes(seen.store, seen.entry, {network.run_id: RunPrototypes()})
    if not data.images:
        return None
    used = data.weights[: seen.first]
    patches = table(seen.store, "prototypes", run_id=network.run_id)
    patches = patches[patches["prototype"].isin([row["prototype"] for row in used]) & patches["crop"].notna()]
    panels = [_strongest_of(row, records(patches)) for row in used]
    weights = Figure(
        f"{plural(len(data.weights), 'prototype')} with a weight{rows_shown(data.weights, seen.first)}",
        panels=tuple(panel for panel in panels if panel is not None),
        header=("prototype", "adds on the average, in logits", "weight", "images to which it contributes"),
        rows=tuple(
            (
                str(row["prototype"]),
                decimal(row["mean_contribution"]),
                decimal(row["weight"]),
                str(row["n_images"]),
            )
            for row in used
        ),
    )
    decided = [(image, image.decisions[0]) for image in data.images if image.decisions]
    parts = []
    for image, taken in decided[: seen.first]:
        bars = Bars(tuple((step.name, step.change) for step in taken.steps), UNIT)
        title = f"{image.title}: logit {decimal(taken.row['logit'])}"
        parts.append(Figure(title, panels=(Panel(seen.ground(image.image_id, data.size)),), bars=bars))
    decisions = Figure(f"{plural(len(decided), 'decision')}{rows_shown(decided, seen.first)}", parts=tuple(parts))
    words = f"A decision is the sum of what prototypes add; {decimal(data.active, 1)} are active in one on the average."
    return Figure(f"Prototypes, {network.title}", words, parts=(weights, decisions))


def _strongest_of(weight: Mapping[str, Any], patches: Sequence[Mapping[str, Any]]) -> Panel | None:
    of_it = [row for row in patches if row["prototype"] == weight["prototype"]]
    of_it.sort(key=lambda row: (row["side"] != "positive", int(row["position"])))
    if not of_it:
        return None
    row = of_it[0]
    title, said = f"prototype {row['prototype']}", f"its strongest patch, {row['side']}: {decimal(row['value'])}"
    return Panel(opened(encoded(row["crop"]) or b""), title, said)


class_views.register(Prototypes.method)(ClassView(figure_of_class))
