"""Stage *delete*: what each network loses by each other's parts, and whether its features tell them.

Visual summaries, images → part_deletions, cross_deletions. It takes the forward passes of the comparison: for each
image with a part, of each network, one without the part and ``deletion.n_random`` without random regions.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xvcore.comparison.method.deletion import Seen, seen
from xvcore.comparison.method.probe import Told
from xvcore.comparison.method.resampling import mean_of
from xvcore.comparison.runs.class_parts import ClassParts, NetworkParts, class_parts
from xvcore.comparison.runs.features import last_layer
from xvcore.comparison.settings import Comparison
from xvcore.runs.run import Progress, Run

Where = tuple[int, int]
"""A network and one of its parts."""
Set = tuple[Where, int]
"""A part in an image."""


def delete(run: Run[Comparison], class_id: str, progress: Progress | None = None) -> int:
    """Write what each network loses by the parts of all, and return the number of parts.

    ``cross_deletions`` is written last: it says that the stage is done.
    """
    found = class_parts(run, class_id)
    chosen = {
        (a, i): _spread(np.unique(network.parts.image[network.parts.part == i]), run.settings.n_deleted)
        for a, network in enumerate(found.networks)
        for i in range(len(network.part_ids))
    }
    sets = {(where, image): _sets(run, found, where, image) for where, images in chosen.items() for image in images}
    said: dict[str, dict[Set, Seen]] = {}
    for frame in dict.fromkeys(network.frame for network in found.networks):
        seeing = [network for network in found.networks if network.frame == frame]
        said |= _said(run, found, seeing, sets, progress)
    of_images: list[dict[str, Any]] = []
    of_parts: list[dict[str, Any]] = []
    for other in found.networks:
        for (a, i), images in chosen.items():
            part = {
                **run.keys(class_id),
                "model": found.networks[a].name,
                "part_id": found.networks[a].part_ids[i],
                "other": other.name,
            }
            seen_of = [said[other.name][(a, i), image] for image in images]
            of_images += [
                {**part, "image_id": found.image_ids[image], **_of_image(each)}
                for image, each in zip(images, seen_of, strict=True)
            ]
            of_parts.append({**part, **_of_part(run.settings, seen_of)})
    run.store.write("part_deletions", run.run_id, class_id, of_images)
    run.store.write("cross_deletions", run.run_id, class_id, of_parts)
    return len(chosen)


def _spread(images: np.ndarray, most: int) -> list[int]:
    """Return at most so many of the images, evenly spread over all."""
    if len(images) <= most:
        return [int(each) for each in images]
    return [int(images[place]) for place in np.linspace(0, len(images) - 1, most).round().astype(int)]


def _sets(run: Run[Comparison], found: ClassParts, where: Where, image: int) -> list[np.ndarray]:
    """Return the part's boxes in an image and the random ones beside them, in pixels of the part's network."""
    network = found.networks[where[0]]
    boxes = network.own_boxes[(network.parts.part == where[1]) & (network.parts.image == image)]
    image_id = found.image_ids[image]
    named = zlib.crc32(f"{network.name}/{network.part_ids[where[1]]}/{image_id}".encode())
    generator = np.random.default_rng([run.settings.seed, named])
    return [boxes, *run.settings.deletion.random_regions(boxes, network.salient(image_id), generator)]


def _said(
    run: Run[Comparison],
    found: ClassParts,
    seeing: Sequence[NetworkParts],
    sets: Mapping[Set, list[np.ndarray]],
    progress: Progress | None,
) -> dict[str, dict[Set, Seen]]:
    """Return what networks say of each image as it is, without the part, and without each random draw, in this order.

    The images come one by one; regions are deleted once for all these networks, which see the same pixels.
    """
    images = sorted({image for _, image in sets})
    layers = [last_layer(each.run) for each in seeing]
    of_image: dict[int, list[Where]] = {image: [] for image in images}
    for where, image in sets:
        of_image[image].append(where)
    shown = found.pictures(seeing[0], [found.image_ids[image] for image in images])
    moved = _moved(found, sets, seeing[0])
    said: dict[str, dict[Set, Seen]] = {each.name: {} for each in seeing}
    n_versions = 1 + run.settings.deletion.n_random
    for n_done, (image, picture) in enumerate(zip(images, shown, strict=True), start=1):
        wanted = [boxes for where in of_image[image] for boxes in moved[where, image]]
        versions = run.settings.deletion.deleted(picture, [np.zeros((0, 4)), *wanted])
        for network, layer in zip(seeing, layers, strict=True):
            target = network.run.target(found.class_id)
            whole = seen(network.run.classifier, versions, target, layer, batch_size=run.spec.batch_size)
            for number, where in enumerate(of_image[image]):
                rows = [0, *range(1 + number * n_versions, 1 + (number + 1) * n_versions)]
                said[network.name][where, image] = Seen(whole.probabilities[rows], whole.features[rows])
        if progress:
            progress(n_done, len(images))
    return said


def _moved(found: ClassParts, sets: Mapping[Set, list[np.ndarray]], goal: NetworkParts) -> dict[Set, list[np.ndarray]]:
    """Return the boxes of all sets in the pixels of another network's input."""
    moved: dict[Set, list[np.ndarray]] = {}
    for a, network in enumerate(found.networks):
        own = [each for each in sets if each[0][0] == a]
        boxes = [boxes for each in own for boxes in sets[each]]
        if not boxes:
            continue
        images = [image for where, image in own for _ in range(sum(map(len, sets[where, image])))]
        there = found.moved(np.concatenate(boxes), images, network.run, goal.run)
        parts = iter(np.split(there, np.cumsum([len(each) for each in boxes])[:-1]))
        moved |= {each: [next(parts) for _ in sets[each]] for each in own}
    return moved


def _of_image(said: Seen) -> dict[str, float]:
    return {
        "prob_full": float(said.probabilities[0]),
        "prob_deleted": float(said.probabilities[1]),
        "prob_random": float(said.probabilities[2:].mean()),
    }


def _of_part(settings: Comparison, said: Sequence[Seen]) -> dict[str, Any]:
    probabilities = np.stack([each.probabilities for each in said])
    full, deleted, random = probabilities[:, 0], probabilities[:, 1], probabilities[:, 2:].mean(axis=1)
    difference = mean_of(random - deleted, seed=settings.seed)
    tiny = np.finfo(np.float32).tiny
    return {
        "n_images": len(said),
        "prob_full": float(full.mean()),
        "loss": float((full - deleted).mean()),
        "loss_random": float((full - random).mean()),
        "loss_share": float(np.median((full - deleted) / np.maximum(full, tiny))),
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "p_value": difference.p_value,
        **_probed(settings, said),
    }


def _probed(settings: Comparison, said: Sequence[Seen]) -> dict[str, float | None]:
    names = ("probe_accuracy", "probe_baseline", "probe_p", "probe_low", "probe_high")
    if len(said) < settings.probe.n_folds:
        return dict.fromkeys(names)
    features = np.stack([each.features for each in said])
    told: Told = settings.probe(features[:, 1], np.delete(features, 1, axis=1), seed=settings.seed)
    return dict(zip(names, (told.accuracy, told.baseline, told.p_value, told.low, told.high), strict=True))
