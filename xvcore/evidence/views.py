"""Evidence as a notebook shows it."""

from functools import partial
from typing import Any

import numpy as np

from xvcore.evidence.method.bagnet_evidence import Evidence
from xvcore.evidence.method.top_patches import ORIGINS, PatchSummary
from xvcore.evidence.pages.class_data import (
    ClassEvidence,
    EvidenceImage,
    EvidenceMap,
    Grid,
    ImagePages,
    Patch,
    read_evidence,
)
from xvcore.evidence.settings import PatchEvidence
from xvcore.notebook.figure import FIRST, Figure, Outline, Over, Panel, grounds, muted, opened
from xvcore.notebook.seen import ClassView, Layer, Layers, Seen, class_views, rows_shown
from xvcore.report.pictures import signed
from xvcore.report.wording import NONE, decimal, plural
from xvcore.shown import view
from xvcore.store.encode import encoded

WORDS = {"class": "images of the class", "others": "images of other classes"}


@view(Evidence)
def figure_of_evidence(evidence: Evidence, images: Any = None, *, first: int = FIRST) -> Figure:
    """Return the maps of the first images over them, all on one scale."""
    number, size = min(first, len(evidence.values)), evidence.input_px
    values = evidence.values[:number].detach().cpu().float().numpy()
    limit = float(np.abs(values).max(initial=0.0))
    grid = grid_of(evidence)
    panels = []
    for index, pixels in enumerate(grounds(evidence.images if images is None else images, number, size)):
        for target, of_target in enumerate(values[index]):
            name = f", target {target}" if values.shape[1] > 1 else ""
            strongest = f"strongest {decimal(float(of_target.max()))}, weakest {decimal(float(of_target.min()))}"
            panels.append(
                Panel(
                    muted(pixels),
                    f"image {index}{name}",
                    f"logit {decimal(float(evidence.logits[index, target]))}; {strongest}",
                    (Over(signed(of_target, limit), grid.area),),
                )
            )
    place = (
        f"Patches of {grid.w:.0f} × {grid.h:.0f} px, of which the network saw nothing else"
        if grid.is_local
        else f"Cells of {grid.w:.0f} × {grid.h:.0f} px, nominal: the network saw more than each"
    )
    of_logit = "their mean is the logit" if evidence.sums_to_logit else "their mean is not the logit"
    return Figure(
        f"Evidence in {plural(number, 'image')} of {len(evidence.values)}",
        f"{place}; {of_logit}.",
        tuple(panels),
        limit,
    )


@view(PatchSummary)
def figure_of_patches(summary: PatchSummary, images: Any = None, *, boxes: Any = None, first: int = FIRST) -> Figure:
    """Return the mean maps, and the strongest patches of each target.

    Parameters
    ----------
    images : all that were seen, by their number
    boxes : of the patches, as the evidence gives them; with ``images`` the patches are outlined in them
    first : patches of each target and origin
    """
    panels = []
    means = summary.mean_maps.numpy()
    limit = float(np.nanmax(np.abs(means), initial=0.0))
    for target, origin in np.ndindex(*means.shape[:2]):
        n_images = int(summary.n_images[target, origin])
        if n_images:
            values = means[target, origin]
            ground = np.full((*values.shape, 3), 255, np.uint8)
            whole = (0.0, 0.0, float(values.shape[1]), float(values.shape[0]))
            words = f"mean of {plural(n_images, 'image')}: {decimal(float(values.mean()))} logits"
            title = f"target {target}, {WORDS[ORIGINS[origin]]}"
            panels.append(Panel(ground, title, words, (Over(signed(values, limit), whole),)))
    rows, found = [], []
    for target, origin, place in np.ndindex(*summary.evidence.shape[:2], min(first, summary.evidence.shape[2])):
        value, image = float(summary.evidence[target, origin, place]), int(summary.images[target, origin, place])
        if not np.isfinite(value):
            continue
        row, column = int(summary.rows_of[target, origin, place]), int(summary.columns_of[target, origin, place])
        rows.append((str(target), WORDS[ORIGINS[origin]], str(image), f"{row}, {column}", decimal(value)))
        if images is not None and boxes is not None:
            (pixels,) = grounds(images[image : image + 1], 1, tuple(images.shape[-2:]))
            title, line = f"target {target}, image {image}", Outline.of_box(boxes[row, column].tolist(), target)
            found.append(Panel(pixels, title, f"{decimal(value)} logits", outlines=(line,)))
    header = ("target", "from", "image", "row, column", "evidence in logits")
    patches = Figure("Strongest patches", panels=tuple(found), header=header, rows=tuple(rows))
    return Figure("Mean evidence", panels=tuple(panels), limit=limit, parts=(patches,))


def grid_of(evidence: Evidence) -> Grid:
    """Return where the elements of the maps are."""
    rows, columns = evidence.values.shape[2:]
    boxes = evidence.boxes.tolist()
    left, top, w, h = boxes[0][0]
    step_x = boxes[0][1][0] - left if columns > 1 else w
    step_y = boxes[1][0][1] - top if rows > 1 else h
    return Grid(rows, columns, left, top, step_x, step_y, w, h, evidence.is_local)


def figure_of_class(seen: Seen) -> Figure | None:
    """Return the strongest patches for a class, its mean maps, and the maps of its first images."""
    data = _read(seen)
    if not data.images:
        return None
    parts = []
    for origin, words in WORDS.items():
        found = [patch for patch in (data.patches or {}).get(origin, ()) if encoded(patch.row["crop"]) is not None]
        panels = [_patch(patch) for patch in found[: seen.first]]
        if panels:
            parts.append(Figure(f"Strongest patches, {words}{rows_shown(found, seen.first)}", panels=tuple(panels)))
    means = [
        Panel(
            np.full((*mean.values.shape, 3), 255, np.uint8),
            WORDS[mean.origin],
            f"mean of {plural(mean.n_images, 'image')}: {decimal(mean.mean)} logits",
            (Over(signed(mean.values, data.limit), (0.0, 0.0, mean.values.shape[1], mean.values.shape[0])),),
        )
        for mean in data.means
        if mean.values is not None
    ]
    if means:
        parts.append(Figure("Mean evidence", panels=tuple(means), limit=data.limit))
    mapped = [image for image in data.images if image.own is not None]
    limit = max((each.limit for image in mapped[: seen.first] if (each := image.own)), default=0.0)
    drawn = [_mapped(seen, image, data.size, limit) for image in mapped[: seen.first]]
    if drawn:
        title = f"{plural(len(mapped), 'map')}{rows_shown(mapped, seen.first)}"
        parts.append(Figure(title, panels=tuple(drawn), limit=limit))
    where = ""
    if data.grid:
        local = "of which the network saw nothing else" if data.grid.is_local else "nominal: the network saw more"
        where = f" Patches of {data.grid.w:.0f} × {data.grid.h:.0f} px, {local}."
    logit = decimal(float(np.mean(data.logits))) if data.logits else NONE
    words = f"Red speaks for the class, blue against; mean logit {logit} over {plural(len(mapped), 'image')}.{where}"
    return Figure(f"Evidence, {seen.entry.network.title}", words, parts=tuple(parts))


def layers_of_class(seen: Seen) -> dict[str, Layers]:
    """Return the map over each image, each on its own scale."""
    maps = {image.image_id: partial(_layer, image.own) for image in _read(seen).images if image.own is not None}
    return {"evidence": maps} if maps else {}


def _read(seen: Seen) -> ClassEvidence:
    return read_evidence(seen.store, seen.entry, ImagePages(seen.store, seen.section), seen.chapter.class_names)


def _patch(patch: Patch) -> Panel:
    of = "" if patch.row["origin"] == "class" else f" {patch.class_name}"
    title = str(patch.row["image_id"]).rsplit("/", 1)[-1]
    return Panel(opened(encoded(patch.row["crop"]) or b""), title, f"{decimal(patch.row['evidence'])} logits{of}")


def _layer(of: EvidenceMap, limit: float | None = None) -> Layer:
    ends = of.limit if limit is None else limit
    row = of.row
    most, least = decimal(row["evidence_max"]), decimal(row["evidence_min"])
    words = f"logit {decimal(row['logit'])}; strongest {most}, weakest {least}"
    if limit is None:
        words += f"; full red is {decimal(ends)} logits"
    return Layer(words, (Over(signed(of.values, ends), of.grid.area),), is_on_grey=True)


def _mapped(seen: Seen, image: EvidenceImage, size: tuple[int, int], limit: float) -> Panel:
    layer = _layer(image.own, limit) if image.own else Layer("no evidence")
    return Panel(muted(seen.ground(image.image_id, size)), image.title, layer.words, layer.over)


class_views.register(PatchEvidence.method)(ClassView(figure_of_class, layers_of_class))
