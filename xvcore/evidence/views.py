"""Evidence as a notebook shows it."""

from typing import Any

import numpy as np

from xvcore.evidence.method.bagnet_evidence import Evidence
from xvcore.evidence.method.top_patches import ORIGINS, PatchSummary
from xvcore.evidence.pages.class_data import Grid
from xvcore.notebook.figure import FIRST, Figure, Outline, Over, Panel, grounds, muted
from xvcore.report.pictures import signed
from xvcore.report.wording import decimal, plural
from xvcore.shown import view

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
