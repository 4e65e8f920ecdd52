"""What networks say of pictures that an analysis changed: scores of a target in batches, tables of predictions."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from xvcore.errors import ParameterError, XvError
from xvcore.models.classifier import Classifier
from xvcore.models.layout import laid_out
from xvcore.ops.memory import in_halves
from xvcore.ops.probability import n_not_finite, ranks
from xvcore.types import Images, Scores, Targets

Rows = Int[Tensor, " rows"]
Making = Callable[[Rows], Images]


@dataclass(frozen=True, slots=True)
class TargetScores:
    """Logit and probability of the target of each picture, on the CPU."""

    logits: Float[Tensor, " rows"]
    probabilities: Float[Tensor, " rows"]


@dataclass(frozen=True, slots=True)
class Sample:
    """Images to be analysed, with names and the outputs to be read.

    Parameters
    ----------
    images : RGB in [0, 1], on any device
    targets : output whose score is read, the same in all networks; None reads each network's leading class
    image_ids : names of the images, on which alone their random numbers depend; their places in the batch unless given

    Raises
    ------
    ParameterError
        Not as many targets or names as images, or a name given twice.
    """

    images: Images
    targets: Int[Tensor, " targets"] | None = None
    image_ids: Sequence[str] = ()

    def __post_init__(self) -> None:
        n_images = len(self.images)
        names = tuple(map(str, self.image_ids)) or tuple(map(str, range(n_images)))
        lengths = {"names": len(names), "targets": n_images if self.targets is None else len(self.targets)}
        for what, length in lengths.items():
            if length != n_images:
                raise ParameterError(f"{length} {what} for {n_images} images: must be equally many")
        if len(set(names)) < n_images:
            raise ParameterError(f"images named twice: {sorted(name for name in set(names) if names.count(name) > 1)}")
        object.__setattr__(self, "image_ids", names)

    def targets_of(self, classifier: Classifier, *, batch_size: int) -> Targets:
        """Return the output that is read of each image in a network, on the CPU."""
        if self.targets is None:
            return leading_classes(classifier, self.images, batch_size=batch_size)
        return self.targets.cpu()

    def generators(self, *seeds: int) -> list[np.random.Generator]:
        """Return a source of random numbers for each image, the same whatever batch it is in."""
        return [np.random.default_rng((*seeds, zlib.crc32(name.encode()))) for name in self.image_ids]


def target_scores(classifier: Classifier, make: Making, targets: Rows, *, batch_size: int) -> TargetScores:
    """Return the scores of pictures that are made batch by batch, so that they need not fit into memory together.

    Parameters
    ----------
    classifier : frozen network
    make : numbers of pictures, from 0, to these pictures on the classifier's device
    targets : output to be read, one per picture
    batch_size : pictures at a time; a batch that does not fit into memory goes in halves

    Raises
    ------
    XvError
        Scores that are not finite.
    """

    @torch.no_grad()
    def of_batch(rows: Tensor) -> Tensor:
        scores = _finite(classifier, classifier.logits(make(rows)))
        target = targets[rows].to(scores.device)[:, None]
        return torch.cat([scores.gather(1, target), scores.softmax(dim=1).gather(1, target)], dim=1).cpu()

    parts = [part for rows in torch.arange(len(targets)).split(batch_size) for part in in_halves(of_batch, rows)]
    logits, probabilities = torch.cat(parts).unbind(dim=1) if parts else torch.zeros(2, 0)
    return TargetScores(logits, probabilities)


def leading_classes(classifier: Classifier, images: Images, *, batch_size: int) -> Targets:
    """Return the output with the highest score of each image, on the CPU; XvError where scores are not finite."""

    @torch.no_grad()
    def of_batch(pictures: Tensor) -> Tensor:
        return _finite(classifier, classifier.logits(laid_out(classifier, pictures))).argmax(dim=1).cpu()

    parts = [part for batch in images.split(batch_size) if len(batch) for part in in_halves(of_batch, batch)]
    return torch.cat([torch.zeros(0, dtype=torch.long), *parts])


def predictions(classifier: Classifier, sample: Sample, *, batch_size: int = 32) -> pd.DataFrame:
    """Return what a network says of each image.

    Parameters
    ----------
    classifier : frozen network
    sample : images; the targets are the right outputs
    batch_size : images at a time; does not change the result

    Returns
    -------
    DataFrame with the columns model, image_id, target_idx, pred_idx, prob_target (0 … 1), rank_target (from 1; how many
    outputs have a score at least as high) and correct (rank 1): those of the table ``predictions``.

    Raises
    ------
    XvError
        Scores that are not finite.
    """

    @torch.no_grad()
    def of_batch(pictures: Tensor, chosen: Tensor) -> Tensor:
        scores = _finite(classifier, classifier.logits(laid_out(classifier, pictures)))
        right = scores.softmax(dim=1).double().gather(1, chosen.to(classifier.device)[:, None])
        return torch.stack([scores.argmax(dim=1).double(), right[:, 0], ranks(scores, chosen).double()], dim=1).cpu()

    targets = sample.targets_of(classifier, batch_size=batch_size)
    batches = zip(sample.images.split(batch_size), targets.split(batch_size), strict=True)
    found = [part for batch in batches if len(batch[0]) for part in in_halves(of_batch, *batch)]
    guesses, right, places = torch.cat(found).unbind(dim=1) if found else torch.zeros(3, 0)
    columns = {
        "image_id": list(sample.image_ids),
        "target_idx": targets.numpy(),
        "pred_idx": guesses.long().numpy(),
        "prob_target": right.numpy(),
        "rank_target": places.long().numpy(),
    }
    table = pd.DataFrame(columns)
    table.insert(0, "model", classifier.name)
    return table.assign(correct=table["rank_target"] == 1)


def _finite(classifier: Classifier, scores: Scores) -> Scores:
    """Return the scores, or refuse them: what is NaN or infinite is neither right nor wrong."""
    n_lost = int((n_not_finite(scores) > 0).sum())
    if n_lost:
        raise XvError(f"{classifier.name}: output not finite for {n_lost} of {len(scores)} pictures")
    return scores
