"""Masks and visual summaries as a notebook shows them."""

from collections.abc import Sequence
from typing import Any

from xvcore.notebook.figure import FIRST, Figure, Outline, Over, Panel, grounds
from xvcore.report.pictures import heat, veil
from xvcore.report.wording import decimal, percent, plural
from xvcore.shown import view
from xvcore.visual_summaries.method.coherence import Summary
from xvcore.visual_summaries.method.judged_masks import JudgedMasks
from xvcore.visual_summaries.pages.class_data import REJECTIONS


@view(JudgedMasks)
def figure_of_masks(masks: JudgedMasks, images: Any = None, *, first: int = FIRST) -> Figure:
    """Return both masks of each of the first images: what the crisp one removes is clear, the smooth one is heat."""
    height, width = map(int, masks.crisp.shape[2:])
    number = min(first, len(masks.crisp))
    whole = (0.0, 0.0, float(width), float(height))
    panels = []
    for index, pixels in enumerate(grounds(masks.images if images is None else images, number, (height, width))):
        removed = masks.removed[index, 0].cpu().numpy()
        low = masks.low[index, 0].detach().cpu().float().numpy()
        full, left = float(masks.prob_full[index]), float(masks.prob_crisp[index])
        panels += [
            Panel(
                pixels,
                f"image {index}: crisp mask",
                f"clear is what the mask removes: {percent(float(masks.area_crisp[index]))} of the pixels, with "
                f"{percent(float(masks.drop_crisp[index]))} of the probability ({decimal(full)} to {decimal(left)})",
                (Over(veil(removed), whole),),
            ),
            Panel(
                pixels,
                f"image {index}: smooth mask",
                f"the redder, the less it keeps; {percent(float(masks.drop_smooth[index]))} of the probability lost",
                (Over(heat(low, *low.shape), whole, is_smooth=True),),
            ),
        ]
    return Figure(
        f"{plural(number, 'image')} of {len(masks.crisp)} with masks",
        "A mask is evidence of what the network needs when these pixels are replaced by the mask's baseline.",
        tuple(panels),
    )


@view(Summary)
def figure_of_summary(
    summary: Summary, images: Any = None, *, boxes: Sequence[Sequence[float]] | None = None, first: int = 2 * FIRST
) -> Figure:
    """Return the numbers of a summary, and its members outlined in their images where both are given.

    Parameters
    ----------
    images, boxes : image and box (x, y, w, h in pixels) of each member, in the order of ``members``
    """
    panels: list[Panel] = []
    if images is not None and boxes is not None:
        shown = grounds(images, min(first, len(summary.members), len(boxes)), tuple(images.shape[-2:]))
        for index, pixels in enumerate(shown):
            role = "exemplar" if index == 0 else f"similarity {decimal(summary.similarities[index])}"
            outlier = "" if summary.kept[index] else ", an outlier"
            panels.append(
                Panel(
                    pixels,
                    f"region {summary.members[index]}",
                    role + outlier,
                    outlines=(Outline.of_box(boxes[index], summary.cluster_id),),
                )
            )
    fate = "accepted" if summary.accepted else f"rejected: {REJECTIONS[summary.rejected]}" if summary.rejected else ""
    return Figure(
        f"Summary {summary.cluster_id}, {fate}",
        panels=tuple(panels),
        header=("regions of the cluster", "members", "median SSIM, 0 to 1", "score: over the median of the class"),
        rows=(
            (
                str(summary.n_regions),
                ", ".join(map(str, summary.members)),
                decimal(summary.ssim_median),
                decimal(summary.score),
            ),
        ),
    )
