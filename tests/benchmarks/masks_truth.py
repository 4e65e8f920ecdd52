"""Masks against truth and peers: what is lost when a method's first pixels go, whatever replaces them, side by side.

Command: ``PYTHONPATH=. python tests/benchmarks/masks_truth.py FOLDER [--worlds …] [--methods …] [--images N] [--keep …]``.
FOLDER is that of ``masks.py``, with ``cub/CUB_200_2011`` for the world ``birds`` (a network of 965 birds on three CUB
classes, whose boxes and part locations are known); ``partbirds`` needs ``--partbirds WEIGHTS`` of ``partbirds_narrow``,
and knows the decisive parts; ``funnybirds`` needs ``funnybirds-10`` in FOLDER and ``--funnybirds WEIGHTS`` of
``funnybirds_network.py``, and knows each pixel's part. Images that a network does not recognise are left out. Methods go in the order of their
cost, each over all images; with ``--keep`` what is there is not computed again, so that a run can be cut off and the
table is made of what there is, each row with its number of images.

Every method ranks the pixels: sparse masks by the crisp mask, then the smooth one; extremal perturbations by the sum of
the masks of their areas (as their authors do for the pointing game); the others by their map. Measured is

* drop: of the probability, when the first 2, 5, 10, 20 % of the pixels are replaced, under each baseline;
* deletion, insertion: mean probability while a tenth of the pixels after the other is replaced by the mean colour, or
  brought back onto a strong blur; trapezoids of ten steps;
* object, parts: share of the first 10 % of the pixels in the object's box (FunnyBirds: on the bird; in brackets the
  share of the picture that it takes), and share of the visible parts, of the decisive ones where they are known, that these pixels touch;
* another: that drop where the pixels show another image, of another class, at the same place: at 10 %, and after the
  semicolon for the method's own mask;
* telling: of twins, which differ in one part, the share of that part's pixels that are among the first 10 %, and after
  the semicolon in the method's own crisp mask; in brackets the same of the bird's other parts, pixel by pixel (a
  tell-tale part of less than 20 pixels is left out);
* own: for methods that have a crisp mask, its area and its drop under each baseline, and its share in the object.

Of methods that draw numbers a second seed can be asked for; the agreement of the two is the intersection over union of
their own masks, and of their first 10 % of the pixels.

Drops of a row are medians, intervals are normal ones of the mean paired difference from the preset ``tenth``, at 95 %.
"""

import argparse
import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from funnybirds_network import OPTIONS, funnybirds, twins
from masks import CLASSES, NETWORKS, pictures
from torch import Tensor

from xvcore.data import open_dataset
from xvcore.data.decode import decode
from xvcore.methods import methods
from xvcore.models.classifier import Classifier
from xvcore.models.load import load
from xvcore.ops.perturb import Perturbation, baseline
from xvcore.visual_summaries.method.extremal_perturbation import ExtremalPerturbation
from xvcore.visual_summaries.method.judged_masks import JUDGES
from xvcore.visual_summaries.method.rise import Rise, without_most_salient

AREAS = (0.02, 0.05, 0.1, 0.2)
EQUAL = AREAS.index(0.1)
STEPS = 10
BOX_PX = 32
"""Side of the boxes of occlusion and of the random control."""
LEAST_PX = 20
"""Pixels of a part that count as visible."""
KNOWN = ("birds", "partbirds", "funnybirds")
"""Worlds of which more is known than the class."""
BIRDS = {"009.Brewer_Blackbird": 232, "012.Yellow_headed_Blackbird": 247, "014.Indigo_Bunting": 414}


@dataclass(frozen=True)
class Scene:
    """An image, and what is known of it.

    Parameters
    ----------
    objects : where the object's box, or the object, is; None where that is not known
    parts : boxes of visible (decisive) parts in pixels of the network's input, points having no size
    telling : where the part is that tells the image's class from its twin, and where the other parts are
    """

    name: str
    image: Tensor
    target: int
    objects: Tensor | None = None
    parts: tuple[tuple[float, float, float, float], ...] = ()
    telling: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class Ranking:
    """What a method says of an image: the pixels' order as numbers, the largest first; and its crisp mask."""

    order: Tensor
    n_passes: int
    own: Tensor | None = None


Batch = tuple[Classifier, Tensor, Tensor]


def sparse(preset: str, *batch: Any, seed: int = 0) -> Ranking:
    masks = replace(methods[preset](), seed=seed)(*batch)
    return Ranking(2 - masks.crisp - masks.smooth, int(masks.smooth_iterations + masks.crisp_iterations), masks.removed)


def extremal(game: Any, *batch: Any) -> Ranking:
    masks = ExtremalPerturbation(areas=AREAS, game=game)(*batch)
    return Ranking(masks.of_areas.sum(dim=1, keepdim=True), int(masks.smooth_iterations), masks.removed)


def rise(*batch: Any, seed: int = 0) -> Ranking:
    masks = Rise(seed=seed)(*batch)
    return Ranking(masks.saliency, int(masks.smooth_iterations), masks.removed)


def gradient(*batch: Any) -> Ranking:
    classifier, images, targets = batch
    images = images.clone().requires_grad_()
    scores = classifier.logits(images).gather(1, targets[:, None])
    (found,) = torch.autograd.grad(scores.sum(), images)
    return Ranking(found.abs().amax(dim=1, keepdim=True), 1)


@torch.no_grad()
def occlusion(*batch: Any) -> Ranking:
    """Return the mean fall of the probability over the boxes of mean colour that cover a pixel, half a box apart."""
    classifier, images, targets = batch
    height, width = images.shape[2:]
    places = [
        (min(y, height - BOX_PX), min(x, width - BOX_PX))
        for y in range(0, height - BOX_PX // 2, BOX_PX // 2)
        for x in range(0, width - BOX_PX // 2, BOX_PX // 2)
    ]
    boxes = torch.zeros(len(places), 1, height, width)
    for box, (y, x) in zip(boxes, places, strict=True):
        box[:, y : y + BOX_PX, x : x + BOX_PX] = 1
    perturbed = Perturbation.of(images, baseline(images, "mean"))
    full = classifier.probabilities(images)[0, targets[0]]
    falls = torch.cat([full - classifier.probabilities(perturbed(1 - part))[:, targets[0]] for part in boxes.split(32)])
    return Ranking(torch.einsum("n,nchw->chw", falls, boxes)[None] / boxes.sum(dim=0).clamp(min=1), len(places) + 1)


def disc(*batch: Any) -> Ranking:
    height, width = batch[1].shape[2:]
    rows, columns = torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2
    return Ranking(-(rows[:, None] ** 2 + columns**2)[None, None], 0)


def boxes(*batch: Any) -> Ranking:
    """Return boxes that are laid at random, one after the other, onto what no other covers."""
    height, width = batch[1].shape[2:]
    generator = torch.Generator().manual_seed(int(batch[1].double().sum()))
    order = torch.zeros(1, 1, height, width)
    for place in range(400, 0, -1):
        y, x = (int(torch.randint(size - BOX_PX, (1,), generator=generator)) for size in (height, width))
        covered = order[..., y : y + BOX_PX, x : x + BOX_PX]
        covered[covered == 0] = place
    return Ranking(order, 0)


SECOND = ", seed 1"
REFERENCE = "sparse, tenth"
"""Method that the others are compared with, image by image."""
METHODS: Mapping[str, Callable[..., Ranking]] = {
    "centre disc": disc,
    "random boxes": boxes,
    "gradient": gradient,
    "sparse": partial(sparse, "sparse_mask"),
    "sparse, robust": partial(sparse, "sparse_mask_robust"),
    "sparse, tenth": partial(sparse, "sparse_mask_tenth"),
    f"sparse, robust{SECOND}": partial(sparse, "sparse_mask_robust", seed=1),
    "occlusion": occlusion,
    "sparse, published": partial(sparse, "sparse_mask_published"),
    "RISE": rise,
    f"RISE{SECOND}": partial(rise, seed=1),
    "extremal, preserve": partial(extremal, "preserve"),
    "extremal, delete": partial(extremal, "delete"),
}
"""In the order of their cost. Of sparse masks the robust ones alone draw numbers (noise); extremal perturbations draw none."""


def known(classifier: Classifier, address: str, targets: Mapping[str, int], n: int) -> Iterator[Scene]:
    """Yield n recognised images of each class of a dataset that knows boxes or parts, the classes in turn."""
    dataset = open_dataset(address)
    of_class = []
    for class_id, target in targets.items():
        objects = {each.image_id: each for each in dataset.boxes(class_id)} if hasattr(dataset, "boxes") else {}
        parts = [each for each in dataset.parts(class_id) if each.visible]
        parts = [each for each in parts if each.decisive] or parts
        found: list[Scene] = []
        for record in dataset.images(class_id):
            if len(found) == n:
                break
            picture = decode(dataset.read(record))
            image = classifier.preprocessing.pixels(picture)
            if classifier.probabilities(image[None]).argmax() != target:
                continue
            geometry = classifier.preprocessing.geometry(*picture.size)
            own = [(each.x, each.y, each.w, each.h) for each in parts if each.image_id == record.image_id]
            placed = geometry.boxes(np.array(own).reshape(-1, 4))
            where = None
            if record.image_id in objects:
                box = objects[record.image_id]
                where = inside(geometry.boxes(np.array([[box.x, box.y, box.w, box.h]]))[0], image)
            name = record.image_id.replace("/", "_")
            found.append(Scene(name, image, target, where, tuple(map(tuple, placed.tolist()))))
        of_class.append(found)
    yield from (each for turn in zip(*of_class, strict=False) for each in turn)


def of_twins(classifier: Classifier, folder: Path, n: int, classes: list[str] | None) -> Iterator[Scene]:
    """Yield n recognised held-out FunnyBirds of each class, whose tell-tale part is seen, the classes in turn."""
    dataset = funnybirds(folder, "test")
    of_class = []
    for class_id, (_, part) in twins(dataset).items():
        if classes and class_id not in classes:
            continue
        found: list[Scene] = []
        for record in dataset.images(class_id):
            if len(found) == n:
                break
            image = classifier.preprocessing.pixels(decode(dataset.read(record)))
            masks = {name: torch.from_numpy(mask) for name, mask in dataset.part_masks(record).items()}
            if masks[part].sum() < LEAST_PX or classifier.probabilities(image[None]).argmax() != int(class_id):
                continue
            bird = torch.stack(list(masks.values())).any(dim=0)
            others = torch.stack([mask for name, mask in masks.items() if name not in (part, "body")]).any(dim=0)
            name = record.image_id.replace("/", "_")
            found.append(Scene(name, image, int(class_id), bird, telling=(masks[part], others)))
        of_class.append(found)
    yield from (each for turn in zip(*of_class, strict=False) for each in turn)


def inside(box: Any, image: Tensor) -> Tensor:
    """Return the pixels of a box, of at least one pixel, as far as the image goes."""
    x, y, w, h = box
    where = torch.zeros(image.shape[1:], dtype=torch.bool)
    where[max(0, int(y)) : max(0, int(y) + max(1, round(h))), max(0, int(x)) : max(0, int(x) + max(1, round(w)))] = True
    return where


@torch.no_grad()
def measured(classifier: Classifier, scene: Scene, another: Tensor, ranking: Ranking, cpu_s: float) -> dict[str, Any]:
    image = scene.image[None]
    shown = {**{kind: baseline(image, kind) for kind in JUDGES}, "another": another[None]}
    perturbed = {kind: Perturbation.of(image, each) for kind, each in shown.items()}

    def left(kind: Any, masks: Tensor) -> Tensor:
        return classifier.probabilities(perturbed[kind](masks))[:, scene.target]

    full = float(left(JUDGES[0], torch.ones_like(ranking.order)))
    removed = torch.cat([without_most_salient(ranking.order, area) for area in AREAS])
    drops = torch.stack([1 - left(kind, removed) / full for kind in JUDGES], dim=1)
    shares = [step / STEPS for step in range(STEPS + 1)]
    kept = torch.cat([without_most_salient(ranking.order, share) for share in shares])
    first = ~removed[EQUAL, 0].bool()
    parts = [inside(box, scene.image) for box in scene.parts]
    parts = [each for each in parts if each.any()]
    found = {
        "passes": ranking.n_passes,
        "cpu_s": cpu_s,
        "drops": drops.tolist(),
        "deletion": float(torch.trapezoid(left("mean", kept))) / STEPS,
        "insertion": float(torch.trapezoid(left("blur_strong", 1 - kept))) / STEPS,
        "another": [1 - float(left("another", removed[EQUAL : EQUAL + 1])) / full],
        "first": packed(first),
    }
    if ranking.own is not None:
        mask = (~ranking.own).float()
        found["mask"] = packed(ranking.own[0, 0])
        found["own another"] = [1 - float(left("another", mask)) / full]
        found["own"] = [1 - float(left(kind, mask)) / full for kind in JUDGES]
        found["area"] = float(ranking.own.float().mean())
        if scene.objects is not None and ranking.own.any():
            found["own object"] = [float(scene.objects[ranking.own[0, 0]].float().mean())]
        if scene.telling is not None:
            found["own telling"] = [float(ranking.own[0, 0][part].float().mean()) for part in scene.telling]
    if scene.objects is not None:
        found["object"] = [float(scene.objects[first].float().mean()), float(scene.objects.float().mean())]
    if scene.telling is not None:
        found["telling"] = [float(first[part].float().mean()) for part in scene.telling]
    if parts:
        found["parts"] = [float(np.mean([bool(each[first].any()) for each in parts]))]
    return found


def packed(mask: Tensor) -> str:
    return base64.b64encode(np.packbits(mask.numpy())).decode()


def overlap(one: str, other: str) -> float:
    """Return intersection over union of two masks of a size."""
    first, second = (np.unpackbits(np.frombuffer(base64.b64decode(each), np.uint8)) for each in (one, other))
    return float((first & second).sum() / max(1, (first | second).sum()))


def scenes(world: str, arguments: argparse.Namespace) -> tuple[Classifier, list[Scene]]:
    weights = arguments.folder / "weights"
    if world in NETWORKS:
        classifier = load(NETWORKS[world].format(weights))
        found = pictures(classifier, arguments.folder / "imagenet-mini", arguments.images)
        wanted = {CLASSES[each] for each in arguments.classes or CLASSES}
        return classifier, [Scene(*each) for each in found if each[2] in wanted]
    if world == "birds":
        classifier = load(f"mobilenet_v2@{weights / 'mobilenet_v2_inat_birds965.pt'}")
        address = f"cub:{arguments.folder / 'cub' / 'CUB_200_2011'}"
        return classifier, list(known(classifier, address, BIRDS, arguments.images))
    if world == "funnybirds":
        classifier = load(f"squeezenet1_1@{arguments.funnybirds}{OPTIONS}")
        return classifier, list(of_twins(classifier, arguments.folder, arguments.images, arguments.classes))
    classifier = load(f"partbirds_narrow@{arguments.partbirds}")
    classes = open_dataset("partbirds").classes
    targets = {
        each.class_id: each.class_idx for each in classes if open_dataset("partbirds").decisive_parts(each.class_id)
    }
    return classifier, list(known(classifier, "partbirds", targets, arguments.images))


def of_other_classes(chosen: list[Scene]) -> dict[int, Tensor]:
    """Return for each class an image of another one: the first of the class half the list of classes on."""
    first: dict[int, Tensor] = {}
    for scene in chosen:
        first.setdefault(scene.target, scene.image)
    images = list(first.values())
    return {target: images[(at + len(images) // 2) % len(images)] for at, target in enumerate(first)}


def rows(world: str, found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a row of the table for each method of a world, whose figures are given by method and image."""
    reference = found.get(REFERENCE, {})

    def means(each: Mapping[str, Any]) -> float:
        return float(np.mean(each["drops"][EQUAL]))

    for method, of_image in found.items():
        every = list(of_image.values())
        if not every:
            continue
        paired = [means(reference[name]) - means(each) for name, each in of_image.items() if name in reference]
        ahead = ""
        if len(paired) > 1 and method != REFERENCE:
            ahead = f" ({np.mean(paired):+.3f} ± {1.96 * np.std(paired, ddof=1) / len(paired) ** 0.5:.3f})"
        at_areas = np.median([each["drops"] for each in every], axis=0)
        own = np.median([each["own"] for each in every], axis=0) if "own" in every[0] else None
        yield (
            " | ".join(
                (
                    f"| {world}, {method}, {len(every)} images",
                    f"{np.mean([each['passes'] for each in every]):.0f}",
                    f"{np.mean([each['cpu_s'] for each in every]):.1f}",
                    *(" ".join(f"{value:.2f}" for value in of_area) for of_area in at_areas),
                    f"{np.mean([means(each) for each in every]):.3f}{ahead}",
                    *(f"{np.mean([each[name] for each in every]):.3f}" for name in ("deletion", "insertion")),
                    *(_truth(every, name) for name in ("object", "parts")),
                    *(
                        "; ".join(filter(None, (_truth(every, name) for name in (each, f"own {each}"))))
                        for each in ("another", "telling")
                    ),
                    "" if own is None else f"{np.median([each['area'] for each in every]):.3f}",
                    "" if own is None else " ".join(f"{value:.2f}" for value in own) + f", least {own.min():.2f}",
                    _truth(every, "own object"),
                )
            )
            + " |"
        )


def _truth(every: list[Mapping[str, Any]], name: str) -> str:
    known = [each[name] for each in every if name in each]
    if not known:
        return ""
    value, *chance = np.mean(known, axis=0)
    return f"{value:.2f}" + "".join(f" ({each:.2f})" for each in chance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--worlds", nargs="+", default=[*NETWORKS, "birds"], choices=[*NETWORKS, *KNOWN])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--images", type=int, default=2, help="of each class")
    parser.add_argument("--classes", nargs="+", help="of ImageNet or FunnyBirds; all unless given")
    parser.add_argument("--partbirds", type=Path, help="weights of partbirds_narrow")
    parser.add_argument("--funnybirds", type=Path, help="weights of funnybirds_network.py")
    parser.add_argument("--keep", type=Path, help="folder for the figures of each image")
    parser.add_argument("--table", action="store_true", help="compute nothing, make the table of what is kept")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for world in arguments.worlds:
        classifier, chosen = scenes(world, arguments)
        others = of_other_classes(chosen)
        table[world] = {method: {} for method in arguments.methods}
        for method in arguments.methods:
            for scene in chosen:
                file = arguments.keep and arguments.keep / f"{world}-{method}-{scene.name}.json"
                if file and file.exists():
                    table[world][method][scene.name] = json.loads(file.read_text())
                elif not arguments.table:
                    start = time.process_time()
                    ranking = METHODS[method](classifier, scene.image[None], torch.tensor([scene.target]))
                    cpu_s = time.process_time() - start
                    found = measured(classifier, scene, others[scene.target], ranking, cpu_s)
                    table[world][method][scene.name] = found
                    if file:
                        file.parent.mkdir(parents=True, exist_ok=True)
                        file.write_text(json.dumps(found))
    kinds = ", ".join(JUDGES)
    at_areas = " | ".join(f"drop at {area:.0%}" for area in AREAS)
    print(f"Drops under {kinds}.")
    print(
        f"| | passes | CPU s | {at_areas} | mean at 10 % ({REFERENCE} ahead by) | deletion | insertion | object | parts",
        end="",
    )
    print(" | another | telling | own area | own drop | own in object |")
    for world, found in table.items():
        for row in rows(world, found):
            print(row)
    for world, found in table.items():
        for method, of_image in found.items():
            second = found.get(f"{method}{SECOND}", {})
            both = [(of_image[name], second[name]) for name in of_image if name in second]
            if both:
                own, first = (np.mean([overlap(one[key], two[key]) for one, two in both]) for key in ("mask", "first"))
                print(f"{world}, {method}, two seeds, {len(both)} images: own masks {own:.3f}, first 10 % {first:.3f}")


if __name__ == "__main__":
    main()
