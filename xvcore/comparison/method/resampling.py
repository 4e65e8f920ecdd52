"""Tests and intervals by resampling images: nothing is assumed but that images are independent of each other."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over images.

    Parameters
    ----------
    value : the mean; NaN of none
    low, high : interval by the bootstrap over images; NaN of fewer than two
    p_value : two-sided, that it is zero (random signs); NaN of none
    n : images
    """

    value: float
    low: float
    high: float
    p_value: float
    n: int


def mean_of(
    differences: Float[np.ndarray, " _images"], *, level: float = 0.95, n_draws: int = 2000, seed: int = 0
) -> Mean:
    """Return the mean of differences that are paired by image, its interval, and how often chance gives as much.

    Parameters
    ----------
    differences : one an image, any unit
    level : of the interval
    n_draws : of the bootstrap, and of the random signs; all signs are tried where there are fewer
    seed : of both
    """
    values = np.asarray(differences, np.float64)
    n = len(values)
    if not n:
        nothing = float("nan")
        return Mean(nothing, nothing, nothing, nothing, 0)
    generator = np.random.default_rng(seed)
    p_value = _by_signs(values, n_draws, generator)
    if n < 2:
        return Mean(float(values.mean()), float("nan"), float("nan"), p_value, n)
    drawn = values[generator.integers(0, n, (n_draws, n))].mean(axis=1)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Mean(float(values.mean()), float(low), float(high), p_value, n)


def interval(
    statistic: Callable[[np.ndarray], float], n: int, *, level: float = 0.95, n_draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the bootstrap's interval of a statistic of ``n`` things, given their numbers; NaN where it is not known.

    Draws for which the statistic is NaN (a correlation of equal values) are left out; of fewer than half the draws
    there is no interval.
    """
    generator = np.random.default_rng(seed)
    drawn = np.array([statistic(generator.integers(0, n, n)) for _ in range(n_draws)]) if n else np.zeros(0)
    known = drawn[np.isfinite(drawn)]
    if len(known) * 2 < n_draws:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def holm(p_values: Float[np.ndarray, " _tests"]) -> Float[np.ndarray, " _tests"]:
    """Return probabilities that hold for all tests together (Holm's step-down method); NaN stays NaN and counts not."""
    found = np.full(len(p_values), np.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = np.minimum(1.0, p_values[order] * np.arange(len(order), 0, -1))
    found[order] = np.maximum.accumulate(steps) if len(order) else steps
    return found


def _by_signs(values: np.ndarray, n_draws: int, generator: np.random.Generator) -> float:
    n = len(values)
    if 2**n <= n_draws:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float((np.abs(signs @ values) >= abs(values.sum()) * (1 - 1e-12)).mean())
    signs = generator.integers(0, 2, (n_draws, n)) * 2 - 1
    reached = (np.abs(signs @ values) >= abs(values.sum()) * (1 - 1e-12)).sum()
    return float((1 + reached) / (1 + n_draws))
