"""Masks and visual summaries as a notebook shows them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from xvcore.notebook.figure import FIRST, Figure, Outline, Over, Panel, grounds, opened
from xvcore.notebook.seen import ClassView, Layer, Layers, Seen, class_views, rows_shown
from xvcore.report.pictures import heat, veil
from xvcore.report.wording import decimal, percent, plural
from xvcore.shown import view
from xvcore.store.encode import encoded
from xvcore.visual_summaries.method.coherence import Summary
from xvcore.visual_summaries.method.judged_masks import JudgedMasks
from xvcore.visual_summaries.pages.class_data import REJECTIONS, ClassData, Cluster, ImageView, read_class
from xvcore.visual_summaries.settings import VisualSummaries


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


def figure_of_class(seen: Seen) -> Figure | None:
    """Return the summaries of a class: their numbers, and their regions outlined in their images."""
    data = read_class(seen.store, seen.entry)
    if not data.images:
        return None
    masked = [image for image in data.images if image.sharp is not None]
    parts = [_of_cluster(seen, data, cluster, number) for number, cluster in enumerate(data.summaries, 1)]
    on_parts = "" if data.n_parts is None else f" on {plural(data.n_parts.number, 'distinct part')}"
    words = (
        f"{plural(len(masked), 'image')} with a mask, which removes {percent(data.figures['area'])} of the pixels and "
        f"with them {percent(data.figures['mask_drop'])} of the probability (medians)."
    )
    if data.joint:
        words += (
            f" Without all summaries together {percent(data.figures['joint_drop'])} is lost, "
            f"{percent(data.figures['joint_random'])} without as many random regions."
        )
    panels = [_panel(seen, image.image_id, data.size, layer()) for image, layer in _first_masks(data, seen.first)]
    masks = Figure(f"{plural(len(masked), 'mask')}{rows_shown(masked, seen.first)}", panels=tuple(panels))
    title = f"{plural(len(data.summaries), 'visual summary', 'visual summaries')}{on_parts}, {seen.entry.network.title}"
    return Figure(title, words, parts=(*parts, masks) if panels else tuple(parts))


def layers_of_class(seen: Seen) -> dict[str, Layers]:
    """Return the crisp mask over each image, with the regions of the summaries outlined."""
    data = read_class(seen.store, seen.entry)
    masks = {image.image_id: layer for image, layer in _first_masks(data, len(data.images))}
    return {"mask": masks} if masks else {}


def _first_masks(data: ClassData, first: int) -> Sequence[tuple[ImageView, Callable[[], Layer]]]:
    clusters = {each.row["cluster_id"]: each for each in data.summaries}
    return [(image, partial(_mask_layer, image, clusters)) for image in data.images if image.salient is not None][
        :first
    ]


def _mask_layer(image: ImageView, clusters: Mapping[int, Cluster]) -> Layer:
    salient, sharp = image.salient, image.sharp
    if salient is None or sharp is None:
        return Layer("no mask")
    height, width = salient.shape
    lines = tuple(
        Outline(region.corners, cluster.colour)
        for region in image.regions
        if region.row["kept"] and (cluster := clusters.get(region.row["cluster_id"])) is not None
    )
    words = f"clear is removed: {percent(sharp['area_frac'])} of the pixels, {percent(sharp['prob_drop'])} drop"
    return Layer(words, (Over(veil(salient), (0.0, 0.0, float(width), float(height))),), lines)


def _panel(seen: Seen, image_id: str, size: tuple[int, int], layer: Layer) -> Panel:
    title = image_id.rsplit("/", 1)[-1]
    return Panel(seen.ground(image_id, size), title, layer.words, layer.over, layer.outlines)


def _of_cluster(seen: Seen, data: ClassData, cluster: Cluster, number: int) -> Figure:
    row = cluster.row
    label = row["tag"] or row["part"]
    panels = []
    for region in cluster.shown[: seen.first]:
        image_id = str(region.row["image_id"])
        title = image_id.rsplit("/", 1)[-1]
        if seen.picture(image_id) is not None:
            line = Outline(region.corners, cluster.colour)
            panels.append(Panel(seen.ground(image_id, data.size), title, outlines=(line,)))
        elif (crop := encoded(region.row["crop"])) is not None:
            panels.append(Panel(opened(crop), title, "the region as it was kept: the picture is not there any more"))
    support = f"{plural(row['n_images'], 'image')}, {plural(row['n_regions'], 'region')}"
    support += rows_shown(cluster.shown, seen.first)
    beside = "" if row["random_drop"] is None else f", {percent(row['random_drop'])} by random regions"
    alone = " Hidden alone, no more is lost than by random regions." if cluster.is_as_random else ""
    words = f"In {support}. Hidden alone, {percent(row['prob_drop'])} of the probability is lost{beside}.{alone}"
    return Figure(f"Summary {number}{f': {label}' if label else ''}", words, tuple(panels))


class_views.register(VisualSummaries.method)(ClassView(figure_of_class, layers_of_class))
