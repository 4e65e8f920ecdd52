"""Where does a network depend on the image? A square is removed at every place; networks are compared by place.

The sensitivity of a place is what the target's logit loses when the square there is removed [1]_. Two networks use
the same parts of an image as far as their sensitivities rank its places alike.

Choices where nothing is found for the BagNet paper [2]_: size of the square and step, what replaces it (each image's
own mean colour), Spearman's correlation as the measure of agreement.

References
----------
.. [1] M. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
.. [2] W. Brendel, M. Bethge, "Approximating CNNs with Bag-of-local-Features Models Works Surprisingly Well on
   ImageNet", ICLR 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from xvcore.analyses.questions.scores import Sample, target_scores
from xvcore.errors import ParameterError
from xvcore.models.classifier import Classifier
from xvcore.ops.box_mask import inside
from xvcore.ops.perturb import Baseline, Perturbation, baseline
from xvcore.parameters import check, parameter


@dataclass(frozen=True, slots=True)
class SpatialSensitivity:
    """Removes a square at every place of a grid and reads what the target's score loses."""

    patch_px: int = parameter(32, "Side of the square, in pixels (not found; ours)", ge=1)
    stride_px: int = parameter(16, "From one square to the next, in pixels (not found; ours)", ge=1)
    baseline: Baseline = parameter("mean", "What replaces the square (not found; ours)")

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, classifiers: Sequence[Classifier], sample: Sample, *, batch_size: int = 32) -> pd.DataFrame:
        """Return the loss at every place.

        Parameters
        ----------
        classifiers : the networks; all see the same pictures
        sample : images, names, and targets whose scores are read
        batch_size : pictures at a time; does not change the result

        Returns
        -------
        DataFrame
            A row per model, image_id, y and x (top left pixel of the square): size_px, target_idx, logit_drop,
            prob_drop (whole image minus rest). Squares lie inside the image, from its top left corner on.

        Raises
        ------
        ParameterError
            A square larger than the image.
        """
        boxes = self.places(tuple(sample.images.shape[2:]))
        n_images, n_places = len(sample.images), len(boxes)
        owner = torch.arange(n_images).repeat_interleave(1 + n_places)
        place = torch.arange(1 + n_places).repeat(n_images)
        squares = torch.cat([torch.zeros_like(boxes[:1]), boxes])[:, None]  # the first removes nothing
        tables = []
        for classifier in classifiers:
            targets = sample.targets_of(classifier, batch_size=batch_size)
            pictures = sample.images.to(classifier.device)
            perturbation = Perturbation.of(pictures, baseline(pictures, self.baseline))

            def make(rows: Tensor, perturbation: Perturbation = perturbation) -> Tensor:
                kept = ~inside(squares[place[rows]], tuple(perturbation.baseline.shape[2:]))
                mask = kept.to(perturbation.baseline)
                return perturbation.of_images(owner[rows].to(mask.device))(mask)

            scores = target_scores(classifier, make, targets[owner], batch_size=batch_size)
            logit, prob = (each.double().view(n_images, 1 + n_places) for each in (scores.logits, scores.probabilities))
            tables.append(
                pd.DataFrame(
                    {
                        "model": classifier.name,
                        "image_id": np.repeat(sample.image_ids, n_places),
                        "y": np.tile(boxes[:, 1].numpy(), n_images),
                        "x": np.tile(boxes[:, 0].numpy(), n_images),
                        "size_px": self.patch_px,
                        "target_idx": np.repeat(targets.numpy(), n_places),
                        "logit_drop": (logit[:, :1] - logit[:, 1:]).flatten().numpy(),
                        "prob_drop": (prob[:, :1] - prob[:, 1:]).flatten().numpy(),
                    }
                )
            )
        return pd.concat(tables, ignore_index=True)

    def places(self, size: tuple[int, ...]) -> Int[Tensor, "places 4"]:
        """Return the squares (x, y, w, h) in an image of a size (height, width), row by row.

        Raises
        ------
        ParameterError
            A square larger than the image.
        """
        if self.patch_px > min(size):
            raise ParameterError(f"patch_px = {self.patch_px}: larger than an image of {size[0]} × {size[1]} px")
        y, x = (torch.arange(0, length - self.patch_px + 1, self.stride_px) for length in size)
        corners = torch.cartesian_prod(y, x).flip(1)
        return torch.cat([corners, torch.full_like(corners, self.patch_px)], dim=1)


def mean_sensitivity(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over images at each place: model, y, x, n_images, logit_drop, prob_drop."""
    groups = table.groupby(["model", "y", "x"])
    means = groups[["logit_drop", "prob_drop"]].mean()
    means.insert(0, "n_images", groups.size())
    return means.reset_index()


def agreement(table: pd.DataFrame, *, score: str = "logit_drop") -> pd.DataFrame:
    """Return how alike the networks rank the places of each image.

    Parameters
    ----------
    table : as :class:`SpatialSensitivity` returns it
    score : column to be ranked, ``logit_drop`` or ``prob_drop``

    Returns
    -------
    DataFrame
        A row per pair model_a < model_b and image_id that both have: n_places, correlation (Spearman; NaN where a
        network does not depend on the place).
    """
    rows = []
    for image_id, places in table.groupby("image_id", sort=True):
        ranks = places.pivot(index=["y", "x"], columns="model", values=score).rank()
        for a, b in combinations(sorted(ranks.columns), 2):
            both = ranks[[a, b]].dropna()
            varies = len(both) > 1 and (both.nunique() > 1).all()
            correlation = float(np.corrcoef(both.to_numpy().T)[0, 1]) if varies else float("nan")
            rows.append((a, b, image_id, len(both), correlation))
    return pd.DataFrame(rows, columns=["model_a", "model_b", "image_id", "n_places", "correlation"])
