"""How alike the activations of two networks are: linear CKA, wMPPC, and the share of pairs that one holds nearer.

All take the same images as rows and need no unit of one network to stand for a unit of the other.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import pdist, squareform

from xvcore.errors import XvError

Activations = Float[np.ndarray, "_images _units"]
Distances = Float[np.ndarray, "images images"]


def cka(a: Activations, b: Activations) -> float:
    """Return the linear centred kernel alignment of two sets of activations, 0 … 1; NaN where one never varies.

    With the columns of X and Y centred, ``‖XᵀY‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F)``: 1 for equal activations up to rotation, scale
    and offset. With few images and many units it is high for anything: look at it beside a null [1]_.

    References
    ----------
    .. [1] S. Kornblith, M. Norouzi, H. Lee, G. Hinton, Similarity of Neural Network Representations Revisited,
       ICML 2019.
    """
    _check(a, b)
    # ‖XᵀY‖²_F is the sum of the product of the Gram matrices, which are of the images, not of the units.
    first, second = (_centred_gram(each) for each in (a, b))
    scale = np.linalg.norm(first) * np.linalg.norm(second)
    return float((first * second).sum() / scale) if scale > 0 else float("nan")


def wmppc(a: Activations, b: Activations) -> float:
    """Return how well the units of one network are found in another, weighted by their activation, -1 … 1.

    ``Σ_i a_i max_j ρ_ij / Σ_i a_i`` with ρ Pearson's correlation over the images of unit i of the first and unit j of
    the second network, and a_i the summed activation of unit i (maximum pairwise Pearson correlation, weighted). Units
    that never vary correlate with none, and count 0. NaN where all is 0. It has a direction.

    Raises
    ------
    XvError
        Activations of the first network below 0: they are no weights.
    """
    _check(a, b)
    if a.min(initial=0) < 0:
        raise XvError(f"activations down to {a.min():.3g}: as weights of units they must be at least 0")
    weights = a.sum(axis=0)
    if not weights.sum() > 0:
        return float("nan")
    best = (_standardised(a).T @ _standardised(b) / len(a)).max(axis=1, initial=-1.0)
    return float((weights * best).sum() / weights.sum())


def distances(activations: Activations) -> Distances:
    """Return the Euclidean distances of the images over the largest of them, 0 … 1, so that two networks compare."""
    found = squareform(pdist(np.asarray(activations, np.float64)))
    largest = found.max(initial=0.0)
    return np.asarray(found / largest if largest > 0 else found)


def neighbourhoods(activations: Activations) -> Distances:
    """Return of each pair of images how many others are nearer to the first than the second is, over all; symmetric.

    The mean of both directions. It has no scale at all: what is stretched in one network counts as in the other.
    """
    found = distances(activations)
    np.fill_diagonal(found, -1.0)
    places = found.argsort(axis=1, kind="stable").argsort(axis=1).astype(np.float64)
    return (places + places.T) / 2 / max(1, len(found) - 1)


def nearer_share(a: Distances, b: Distances, grid: Int[np.ndarray, " shown"]) -> float:
    """Return the share of the pairs of a shown grid of images that the first network holds nearer, 0 … 1.

    BSR [1]_: the share of pairs with d_A < d_B; equal ones count for neither. NaN for fewer than two images.

    Parameters
    ----------
    a, b : distances of all images in the two networks, in units that compare
    grid : numbers of the images that are shown together

    References
    ----------
    .. [1] N. Kondapaneni and others, Representational Difference Explanations, NeurIPS 2025.
    """
    first, second = np.triu_indices(len(grid), k=1)
    if not len(first):
        return float("nan")
    pairs = grid[first], grid[second]
    return float((a[pairs] < b[pairs]).mean())


def shuffled(
    measure: Callable[[Activations, Activations], float],
    a: Activations,
    b: Activations,
    *,
    n_draws: int = 20,
    seed: int = 0,
) -> float:
    """Return the mean of a measure when the images of the second network are in random order: what chance gives."""
    generator = np.random.default_rng(seed)
    return float(np.mean([measure(a, b[generator.permutation(len(b))]) for _ in range(n_draws)]))


def _check(a: Activations, b: Activations) -> None:
    if len(a) != len(b) or len(a) < 2:
        raise XvError(f"activations of {len(a)} and {len(b)} images: expected the same images, at least 2")


def _centred_gram(values: Activations) -> Distances:
    centred = np.asarray(values, np.float64)
    centred = centred - centred.mean(axis=0)
    return np.asarray(centred @ centred.T)


def _standardised(values: Activations) -> Float[np.ndarray, "_images _units"]:
    exact = np.asarray(values, np.float64)
    centred = exact - exact.mean(axis=0)
    spread = centred.std(axis=0)
    varies = spread > 1e-12 * np.abs(exact).max(axis=0, initial=0.0)
    return np.where(varies, centred / np.where(varies, spread, 1.0), 0.0)
