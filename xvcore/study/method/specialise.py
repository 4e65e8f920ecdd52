"""Classifiers of the regions of summaries, and how much of what they say is added to a network's scores.

A summary becomes a linear discriminant of features averaged over a box: a detector of that part (Hariharan, Malik,
Ramanan, *Discriminative decorrelation for clustering and classification*, ECCV 2012), with one covariance for all. It
looks for its part by sliding a box of the summary's size over an image; a class says what the strongest of its
summaries says. How far that is added to the network's scores is fitted to images that the classifiers have not seen.
That summaries can specialise a network so is the idea of Godi et al. (BMVC 2018); the method here is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import logsumexp

Maps = Float[np.ndarray, "features rows columns"]
Boxes = Float[np.ndarray, "boxes 4"]
"""x, y, w, h as shares of the image's width and height."""
Scores = Float[np.ndarray, "images classes"]
Labels = Int[np.ndarray, " images"]
LEAST_WEIGHT = 1e-3
"""Of the squared distance of the two factors of a stack from those of the network alone, over that of an image."""


@dataclass(frozen=True, slots=True)
class RegionClassifiers:
    """Linear classifiers of boxes, one a part.

    Parameters
    ----------
    weight, offset : of features averaged over a box; NaN where nothing was there to learn from
    sides : width and height of the box that is slid, as shares of the image's
    """

    weight: Float[np.ndarray, "parts features"]
    offset: Float[np.ndarray, " parts"]
    sides: Float[np.ndarray, "parts 2"]

    def strongest(self, maps: Maps) -> Float[np.ndarray, " parts"]:
        """Return what each classifier says of the box of an image that it speaks loudest for; NaN where it is NaN."""
        said = np.einsum("pf,fyx->pyx", self.weight, maps)
        found = np.empty(len(said))
        for part, (width, height) in enumerate(self.sides):
            down, across = (_sliding(side, n) for side, n in ((height, maps.shape[1]), (width, maps.shape[2])))
            found[part] = (down @ said[part] @ across.T).max() + self.offset[part]
        return found


def box_means(maps: Maps, boxes: Boxes) -> Float[np.ndarray, "boxes features"]:
    """Return features averaged over boxes; a cell counts by the share of it that lies in the box."""
    down, across = (_inside(boxes[:, axis], boxes[:, axis + 2], maps.shape[2 - axis]) for axis in (1, 0))
    return np.asarray(np.einsum("by,fyx,bx->bf", down, maps, across))


def discriminants(
    positive: Sequence[Float[np.ndarray, "_boxes features"]],
    negative: Sequence[Float[np.ndarray, "_others features"]],
    sides: Float[np.ndarray, "parts 2"],
    *,
    shrinkage: float,
) -> RegionClassifiers:
    """Return a linear discriminant for each part: Σ⁻¹ (μ₊ − μ₋), zero half-way between the two means.

    Parameters
    ----------
    positive : of each part the features of its boxes; of one without any the classifier is NaN
    negative : of each part those of boxes of other classes
    sides : of the box that is slid
    shrinkage : share of the covariance, pooled over both sides of all parts, that is replaced by its mean variance
    """
    groups = [each for each in (*positive, *negative) if len(each)]
    n_features = groups[0].shape[1]
    around = np.concatenate([each - each.mean(axis=0) for each in groups])
    covariance = around.T @ around / max(1, len(around) - len(groups))
    level = max(float(np.trace(covariance)) / n_features, np.finfo(np.float64).tiny)
    covariance = (1 - shrinkage) * covariance + shrinkage * level * np.eye(n_features)
    known = np.array([bool(len(one) and len(other)) for one, other in zip(positive, negative, strict=True)])
    weight, offset = np.full((len(positive), n_features), np.nan), np.full(len(positive), np.nan)
    if known.any():
        pairs = [(positive[at].mean(axis=0), negative[at].mean(axis=0)) for at in map(int, np.flatnonzero(known))]
        weight[known] = np.linalg.solve(covariance, np.array([one - other for one, other in pairs]).T).T
        middle = np.array([(one + other) / 2 for one, other in pairs])
        offset[known] = -(weight[known] * middle).sum(axis=1)
    return RegionClassifiers(weight, offset, sides)


@dataclass(frozen=True, slots=True)
class Stack:
    """How classifiers of parts are added to a network's scores: ``temperature · logits + weight · evidence``.

    The evidence of a class is what the strongest of its parts says, in standard deviations above what that says of
    training images of other classes, less the mean of this over training images: of a class without parts it is 0.

    Parameters
    ----------
    owner : class of each part, by its number
    mean, deviation : of what each part says of training images of other classes
    middle : mean evidence of each class
    temperature, weight : factors of the two, neither below 0
    alone : factor of the network's scores where nothing is added
    """

    owner: Int[np.ndarray, " parts"]
    mean: Float[np.ndarray, " parts"]
    deviation: Float[np.ndarray, " parts"]
    middle: Float[np.ndarray, " classes"]
    temperature: float
    weight: float
    alone: float

    @classmethod
    def fitted(
        cls, logits: Scores, said: Float[np.ndarray, "images parts"], labels: Labels, owner: Int[np.ndarray, " parts"]
    ) -> "Stack":
        """Return the factors of the greatest likelihood of the labels (convex: one minimum).

        Parameters
        ----------
        logits : of the network
        said : by classifiers that were made without the image; NaN where there is none
        labels : number of each image's class
        owner : class of each part
        """
        others = np.where((labels[:, None] == owner) | ~np.isfinite(said), np.nan, said)
        mean, deviation = np.zeros(len(owner)), np.ones(len(owner))
        for part in range(len(owner)):
            known = others[np.isfinite(others[:, part]), part]
            if len(known) > 1 and known.std() > 0:
                mean[part], deviation[part] = known.mean(), known.std()
        blank = cls(owner, mean, deviation, np.zeros(logits.shape[1]), 1.0, 0.0, 1.0)
        evidence = blank.evidence(said)
        middle = evidence.mean(axis=0)
        temperature, weight = _factors((logits, evidence - middle), labels)
        (alone,) = _factors((logits,), labels)
        return cls(owner, mean, deviation, middle, temperature, weight, alone)

    def evidence(self, said: Float[np.ndarray, "images parts"]) -> Scores:
        """Return what is added to the scores of each class, before its weight."""
        scaled = np.nan_to_num((said - self.mean) / self.deviation, nan=0.0)
        found = np.zeros((len(said), len(self.middle)))
        for number in range(len(self.middle)):
            own = self.owner == number
            if own.any():
                found[:, number] = scaled[:, own].max(axis=1)
        return np.asarray(found - self.middle)

    def __call__(self, logits: Scores, said: Float[np.ndarray, "images parts"]) -> Scores:
        """Return the scores with what the parts say added."""
        return self.temperature * logits + self.weight * self.evidence(said)


def log_loss(scores: Scores, labels: Labels) -> Float[np.ndarray, " images"]:
    """Return the negative logarithm of the probability of each label."""
    return np.asarray(logsumexp(scores, axis=1) - scores[np.arange(len(labels)), labels])


def folds(labels: Labels, number: int, generator: np.random.Generator) -> Int[np.ndarray, " images"]:
    """Return a fold for each image, drawn class by class, so that every fold has a share of every class."""
    found = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        found[own] = (generator.permutation(len(own)) + generator.integers(number)) % number
    return found


def _factors(parts: Sequence[Scores], labels: Labels) -> list[float]:
    """Return the factors, none below 0, of summands of scores under which the labels are most likely."""

    def loss(factors: np.ndarray) -> tuple[float, np.ndarray]:
        total = sum(factor * part for factor, part in zip(factors, parts, strict=True))
        wrong = np.exp(total - logsumexp(total, axis=1, keepdims=True))
        wrong[np.arange(len(labels)), labels] -= 1
        slope = np.array([(wrong * part).sum() for part in parts]) / len(labels)
        away = factors - start
        return float(log_loss(total, labels).mean() + LEAST_WEIGHT * away @ away), slope + 2 * LEAST_WEIGHT * away

    start = np.array([1.0, *[0.0] * (len(parts) - 1)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(parts))
    return [float(each) for each in found.x]


def _inside(low: Float[np.ndarray, " boxes"], side: Float[np.ndarray, " boxes"], n: int) -> np.ndarray:
    """Return for each box the weight of each of ``n`` cells along an axis; they add up to 1."""
    start, end = (np.clip(each, 0, 1) * n for each in (low, low + side))
    cells = np.arange(n)
    found = (np.minimum(end[:, None], cells + 1) - np.maximum(start[:, None], cells)).clip(min=0)
    total = found.sum(axis=1, keepdims=True)
    nearest = np.eye(n)[np.clip(np.floor((start + end) / 2), 0, n - 1).astype(int)]
    return np.asarray(np.where(total > 0, found / np.where(total > 0, total, 1), nearest))


def _sliding(side: float, n: int) -> np.ndarray:
    """Return the weights of boxes of a side at every half cell, inside the image."""
    low = np.unique(np.clip(np.arange(0, n, 0.5) / n, 0, max(0.0, 1 - side)))
    return _inside(low, np.full(len(low), min(side, 1.0)), n)
