"""Questions of distinction: an image, explained for the predicted class and for the next probable ones."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from xvcore.errors import ParameterError
from xvcore.evidence.settings import PatchEvidence
from xvcore.query import table
from xvcore.report.pictures import signed, veil
from xvcore.runs.images import as_bytes, pictures, records
from xvcore.runs.run import Run
from xvcore.store import Store
from xvcore.study.method.compose import distinction
from xvcore.study.method.question import Picture, Question, Subject
from xvcore.study.runs.patches import encode
from xvcore.study.runs.reopened import reopened
from xvcore.types import Images
from xvcore.visual_summaries.settings import VisualSummaries

METHODS = (VisualSummaries.method, PatchEvidence.method)
"""Families whose explanation of an image is one of a class."""


def distinctions(  # noqa: PLR0913
    store: Store, run: Mapping[str, Any], number: int, *, n_classes: int, side: int, seed: int
) -> Iterator[Question]:
    """Yield so many questions of a run: half of them of images that the network gets wrong, as far as there are some.

    The other classes are the next probable ones of the network, whatever the dataset's: they are the hardest to tell
    from the predicted one. Explanations are computed now, by the run's own network and parameters.

    Parameters
    ----------
    store : the tables
    run : row of ``runs``, of masks or of evidence
    number : of questions
    n_classes : explanations of a question
    side : of a picture in pixels
    seed : of the choice of images and of the places

    Raises
    ------
    ParameterError
        A network of fewer classes than there are to be explanations.
    XvError
        Network or dataset cannot be opened any more.
    """
    generator = np.random.default_rng([seed, 77])
    opened = reopened(store, run)
    if opened.classifier.n_classes < n_classes:
        raise ParameterError(
            f"n_explanations = {n_classes}: {opened.classifier.name} has {opened.classifier.n_classes} classes"
        )
    chosen = _images(store, str(run["run_id"]), number, generator)
    places = generator.permutation(np.resize(generator.permutation(n_classes), len(chosen)))
    for row, where in zip(chosen, places, strict=True):
        class_id, image_id = str(row["class_id"]), str(row["image_id"])
        image = pictures(opened, class_id, [image_id]).to(opened.classifier.device)
        foremost = opened.classifier.logits(image)[0].topk(n_classes).indices
        order = [int(each) + 1 for each in generator.permutation(n_classes - 1)]
        order.insert(int(where), 0)
        shown = _explained(opened, image, foremost[torch.tensor(order, device=foremost.device)], side)
        photo = Picture(encode(Image.fromarray(as_bytes(image[0])), side), image_id, class_id)
        subject = Subject(
            "", str(run["run_id"]), str(run["model"]), str(run["method"]), class_id, class_id, "image", "found", ()
        )
        explanations = [Picture(data, image_id, class_id) for data in shown]
        yield distinction(photo, explanations, int(where), subject=subject, is_correct=bool(row["correct"]))


def _images(store: Store, run_id: str, number: int, generator: np.random.Generator) -> list[dict[str, Any]]:
    """Return images, half of them wrongly predicted if there are so many, classes in turn."""
    seen = table(store, "predictions", run_id=run_id, columns=["class_id", "image_id", "correct", "error", "skipped"])
    # Wrong ones are left out of the masks by the gate, and are asked about all the same.
    usable = seen[seen["error"].isna() & (seen["skipped"].isna() | (seen["skipped"] == "misclassified"))]
    is_right = usable["correct"].astype(bool)
    wrong = _turns(usable[~is_right], generator)
    right = _turns(usable[is_right], generator)
    n_right = min(number - min(number // 2, len(wrong)), len(right))
    picked = [*right[:n_right], *wrong[: number - n_right]]
    return [picked[int(each)] for each in generator.permutation(len(picked))]


def _turns(rows: pd.DataFrame, generator: np.random.Generator) -> list[dict[str, Any]]:
    shuffled = rows.iloc[generator.permutation(len(rows))]
    turn = shuffled.groupby("class_id").cumcount()
    return records(shuffled.assign(turn=turn).sort_values("turn", kind="stable"))


def _explained(run: Run[Any], image: Images, targets: Int[Tensor, " targets"], side: int) -> list[bytes]:
    pixels = as_bytes(image[0])
    if run.settings.method == PatchEvidence.method:
        return _evidence(run, image, targets, pixels, side)
    images = image.expand(len(targets), -1, -1, -1).contiguous()
    settings: VisualSummaries = run.settings
    methods: dict[str, Any] = {
        "sparse_mask": settings.mask,
        "extremal_perturbation": settings.extremal,
        "rise": settings.rise,
    }
    masks = methods[settings.mask_method](run.classifier, images, targets)
    return [_laid(pixels, veil((each[0] < 0.5).cpu().numpy()), side) for each in masks.crisp]


def _evidence(
    run: Run[Any], image: Images, targets: Int[Tensor, " targets"], pixels: np.ndarray, side: int
) -> list[bytes]:
    """Return the maps over a grey picture, on the scale of the strongest of them."""
    found = replace(run.settings.evidence, resolution="decision")(run.classifier, image, targets[None])
    maps = found.values[0].cpu().numpy()
    limit = float(np.abs(maps).max())
    grey = np.repeat(np.asarray(Image.fromarray(pixels).convert("L"))[..., None], 3, axis=2)
    faded = (128 + 0.5 * grey.astype(np.float32)).clip(0, 255).astype(np.uint8)
    return [_laid(faded, signed(each, limit), side) for each in maps]


def _laid(pixels: np.ndarray, layer: bytes, side: int) -> bytes:
    ground = Image.fromarray(pixels).convert("RGBA")
    with Image.open(io.BytesIO(layer)) as image:
        over = image.convert("RGBA").resize(ground.size, Image.Resampling.NEAREST)
    return encode(Image.alpha_composite(ground, over).convert("RGB"), side)


def check_runs(runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the runs whose explanation of an image is one of a class; ParameterError where there is none."""
    found = [each for each in runs if each["method"] in METHODS]
    if not found:
        methods = sorted({str(each["method"]) for each in runs})
        raise ParameterError(f"task distinction needs runs of {' or '.join(METHODS)}, not only of {', '.join(methods)}")
    return found
