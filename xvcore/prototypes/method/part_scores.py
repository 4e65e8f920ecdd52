"""Does an explanation name the parts that the decision hangs on? Scores against pictures of a scene without parts.

The questions are those of FunnyBirds [1]_: a decision taken apart gives each part of the object an importance, and
pictures in which parts are missing tell what the network does without them. Where its protocol needs what a data set
has not, ours is said.

References
----------
.. [1] R. Hesse, S. Schaub-Meyer, S. Roth, "FunnyBirds: A Synthetic Vision Dataset for a Part-Based Analysis of
   Explainable AI Methods", ICCV 2023.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import spearmanr
from torch import Tensor

from xvcore.prototypes.method.pooling import Peaks, Pooled

UNIMPORTANT = 0.05
"""A part without which the logit falls by a smaller share is not needed, as in FunnyBirds."""
THRESHOLDS = np.linspace(0.02, 0.8, 40)
"""Shares of all importance from which a part counts as important; the best one is taken, as in FunnyBirds."""
Parts = frozenset[int]


def part_importance(
    above: Pooled, below: Pooled, found: Peaks, held: Bool[Tensor, "batch parts positions"]
) -> Float[Tensor, "batch parts"]:
    """Return what is added to a logit at the positions whose cell holds a part.

    Parameters
    ----------
    above, below : what each channel adds at its largest and at its smallest position
    found : these positions
    held : whether the cell of a position holds a part
    """
    total = torch.zeros(held.shape[:2], dtype=above.dtype, device=above.device)
    for added, where in ((above, found.where_positive), (below, found.where_negative)):
        is_there = held.gather(2, where[:, None].expand(-1, held.shape[1], -1))
        total = total + (added[:, None] * is_there).sum(dim=2)
    return total


@dataclass(frozen=True, slots=True)
class Seen:
    """What a network says of a picture.

    Parameters
    ----------
    prediction : the output of the highest logit
    logit : of the output that is explained
    """

    prediction: int
    logit: float


@dataclass(frozen=True)
class Scene:
    """An image whose parts can be taken away.

    Parameters
    ----------
    whole : what the network says of the image itself
    visible : the parts that are seen
    without : gives what the network says without some parts, None where there is no such picture
    """

    whole: Seen
    visible: Parts
    without: Callable[[Parts], Seen | None]

    def fall(self, part: int) -> float:
        """Return by how much the logit falls without a part; NaN where there is no such picture."""
        seen = self.without(frozenset([part]))
        return float("nan") if seen is None else self.whole.logit - seen.logit


def correctness(importance: Float[np.ndarray, " parts"], scene: Scene) -> float:
    """Return how well the order of importances is that of the falls without each part alone, 0 … 1, by chance 0.5.

    Single deletion of FunnyBirds: ``(ρ + 1) / 2`` for Spearman's ρ over the visible parts; NaN where one of both says
    the same of all.
    """
    parts = sorted(scene.visible)
    falls = np.array([scene.fall(part) for part in parts])
    own, is_known = importance[parts], ~np.isnan(falls)
    if is_known.sum() < 2 or np.ptp(own[is_known]) == 0 or np.ptp(falls[is_known]) == 0:
        return float("nan")
    return float((spearmanr(own[is_known], falls[is_known]).statistic + 1) / 2)


def completeness(importances: Sequence[Float[np.ndarray, " parts"]], scenes: Sequence[Scene]) -> float:
    """Return the share of three checks that important parts pass, at the threshold at which they pass most, 0 … 1.

    Important is a part whose share of all importance above 0 is at least the threshold. *Deletion*: without the
    important parts the prediction is another. *Preservation*: with them alone it is the same. *Distractibility*: the
    parts without which the logit falls by less than :data:`UNIMPORTANT` of itself are not among them. Each check is the
    mean over the images for which there is the picture; FunnyBirds' check of minimal sufficient parts is not made.
    """
    return max(_checked(importances, scenes, float(each)) for each in THRESHOLDS)


def _checked(importances: Sequence[np.ndarray], scenes: Sequence[Scene], threshold: float) -> float:
    checks: tuple[list[float], ...] = ([], [], [])
    for importance, scene in zip(importances, scenes, strict=True):
        important = _important(importance, scene.visible, threshold)
        gone, alone = scene.without(important), scene.without(scene.visible - important)
        if gone is not None:
            checks[0].append(gone.prediction != scene.whole.prediction)
        if alone is not None:
            checks[1].append(alone.prediction == scene.whole.prediction)
        falls = {part: scene.fall(part) for part in scene.visible}
        idle = [part for part, fall in falls.items() if fall < UNIMPORTANT * abs(scene.whole.logit)]
        if idle:
            checks[2].append(float(np.mean([part not in important for part in idle])))
    means = [float(np.mean(each)) for each in checks if each]
    return float(np.mean(means)) if means else float("nan")


def _important(importance: np.ndarray, visible: Parts, threshold: float) -> Parts:
    total = sum(max(float(importance[part]), 0.0) for part in visible)
    return frozenset(part for part in visible if total > 0 and importance[part] >= threshold * total)


def contrastivity(
    importance: Float[np.ndarray, " parts"],
    rival: Float[np.ndarray, " parts"],
    visible: Parts,
    decisive: Parts,
) -> float:
    """Return 1 where the part that speaks most for a class against another is one that tells the class, else 0.

    FunnyBirds asks two classes that share parts with the image; ours is the class of the image against the one whose
    logit comes next. By chance it is the share of decisive parts among the visible ones.

    Parameters
    ----------
    importance, rival : of the parts, for the class of the image and for the other one
    visible : parts that are seen
    decisive : those of them that tell the class

    Returns
    -------
    0 or 1; NaN where no visible part is decisive, or all are
    """
    if not visible & decisive or visible <= decisive:
        return float("nan")
    best = max(sorted(visible), key=lambda part: importance[part] - rival[part])
    return float(best in decisive)


def cells_holding(
    held: Bool[np.ndarray, "positions parts"], names: Sequence[str], parts: Sequence[str]
) -> Bool[np.ndarray, "parts positions"]:
    """Return which cells hold a part, of which an image may have several boxes.

    Parameters
    ----------
    held : of each box of the image
    names : the part of each box
    parts : all parts
    """
    own = np.array(names, dtype=str)
    return np.stack([held[:, own == part].any(axis=1) for part in parts])
