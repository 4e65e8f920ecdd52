"""What masks cost and what they reach: presets of sparse masks side by side on real images, paired image by image.

Command: ``PYTHONPATH=. python tests/benchmarks/masks.py FOLDER [--networks …] [--presets …] [--images N] [--keep FILES]``.
FOLDER holds ``weights`` and ``imagenet-mini/{train,val}/WNID`` (6 classes; the validation images first, then those of
the training part). Images that a network does not recognise are left out, as everywhere. With ``--keep`` the figures of
each image are kept in a folder, and what is there is not computed again.

All presets are judged by the same two objectives, those of the authors' last code: of the smooth mask (mean probability,
.5 area, .01 variation) and of the crisp mask before it is binarised (.01 area, 1 variation, 2 softness), both with the
weak blur. The intervals are normal ones of the mean paired difference, at 95 %.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from xvcore.methods import methods
from xvcore.models.classifier import Classifier
from xvcore.models.load import load
from xvcore.ops.perturb import Perturbation, baseline
from xvcore.visual_summaries.method.sparse_mask import JUDGES, SparseMask

CLASSES = {"n01443537": 1, "n01494475": 4, "n01531178": 11, "n01537544": 14, "n01558993": 15, "n01580077": 17}
NETWORKS = {
    "squeezenet1_1": "squeezenet1_1@{}/squeezenet1_1.pt",
    "mobilenet_v2": "mobilenet_v2@{}/mobilenet_v2.pt?input=225",
}
PRESETS = ("sparse_mask_published", "sparse_mask", "sparse_mask_robust")
Figures = dict[str, float | list[float]]


def pictures(classifier: Classifier, folder: Path, n: int) -> list[tuple[str, torch.Tensor, int]]:
    """Return n images of each class that the classifier recognises, the classes in turn."""
    of_class = []
    for wnid, target in CLASSES.items():
        found: list[tuple[str, torch.Tensor, int]] = []
        for path in (file for part in ("val", "train") for file in sorted((folder / part / wnid).iterdir())):
            with Image.open(path) as picture:
                image = classifier.preprocessing.pixels(picture.convert("RGB"))
            if len(found) < n and classifier.probabilities(image[None]).argmax() == target:
                found.append((path.stem, image, target))
        of_class.append(found)
    return [each for turn in zip(*of_class, strict=True) for each in turn]


def measured(method: SparseMask, classifier: Classifier, images: torch.Tensor, targets: torch.Tensor) -> list[Figures]:
    """Return what the masks of a batch reach, an entry an image."""
    start = time.process_time()
    masks = method(classifier, images, targets)
    cpu_s = (time.process_time() - start) / len(images)
    perturbation = Perturbation.of(images, baseline(images, "blur_weak"))
    objectives = SparseMask()
    low, crisp = masks.low, masks.crisp

    def probability(masks: torch.Tensor) -> torch.Tensor:
        return classifier.probabilities(perturbation(masks)).gather(1, targets[:, None]).squeeze(1)

    columns = {
        "smooth": probability(masks.smooth) + objectives._smooth_penalty()(low),
        "crisp": probability(crisp) + objectives._crisp_penalty()(crisp),
        "area": masks.area_crisp,
        "drop": masks.drop_crisp,
        "passes": (masks.smooth_iterations + masks.crisp_iterations).float(),
    }
    drops = masks.drop_by_baseline
    return [
        {name: float(values[index]) for name, values in columns.items()}
        | {"cpu_s": cpu_s, "drops": drops[index].tolist()}
        for index in range(len(images))
    ]


def figures(name: str, preset: str, arguments: argparse.Namespace) -> tuple[list[str], list[Figures]]:
    classifier = load(NETWORKS[name].format(arguments.folder / "weights"))
    chosen = pictures(classifier, arguments.folder / "imagenet-mini", arguments.images)
    found: list[Figures] = []
    for first in range(0, len(chosen), len(CLASSES)):
        ids, images, targets = zip(*chosen[first : first + len(CLASSES)], strict=True)
        kept = arguments.keep / f"{name}-{preset}-{ids[0]}.json" if arguments.keep else None
        if kept and kept.exists():
            found.extend(json.loads(kept.read_text()))
            continue
        reached = measured(methods[preset](), classifier, torch.stack(images), torch.tensor(targets))
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(reached))
        found.extend(reached)
    return [image_id for image_id, _, _ in chosen], found


def table(name: str, preset: str, found: list[Figures], published: list[Figures]) -> str:
    def mean(column: str) -> str:
        return f"{np.mean([each[column] for each in found]):.4f}"

    def against(column: str) -> str:
        differences = [each[column] - other[column] for each, other in zip(found, published, strict=False)]
        return f"{np.mean(differences):+.4f} ± {1.96 * np.std(differences, ddof=1) / len(differences) ** 0.5:.4f}"

    larger = np.mean([each["area"] > 1.25 * other["area"] for each, other in zip(found, published, strict=False)])
    drops = " ".join(f"{value:.2f}" for value in np.median([each["drops"] for each in found], axis=0))
    return " | ".join(
        (
            f"| {name}, {preset}, {len(found)} images",
            f"{np.mean([each['passes'] for each in found]):.0f}",
            f"{np.mean([each['cpu_s'] for each in found]):.2f}",
            f"{mean('smooth')} ({against('smooth')})",
            f"{mean('crisp')} ({against('crisp')})",
            f"{median(float(each['drop']) for each in found):.3f}",
            f"{np.mean([each['drop'] < 0.5 for each in found]):.0%}",
            f"{mean('area')} (median {median(float(each['area']) for each in found):.3f})",
            f"{larger:.0%}",
            f"{drops} |",
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--images", type=int, default=8, help="of each class")
    parser.add_argument("--keep", type=Path, help="folder for the figures of each image")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| | passes | CPU s | smooth objective | crisp objective | drop (median) | below .5 | area | > 1.25 × published |",
        end="",
    )
    print(f" drop by {', '.join(JUDGES)} |")
    for name in arguments.networks:
        _, published = figures(name, PRESETS[0], arguments)
        for preset in arguments.presets:
            _, found = figures(name, preset, arguments)
            print(table(name, preset, found, published), flush=True)


if __name__ == "__main__":
    main()
