"""How sure a share of right answers is: Wilson's interval, and resampling of people and questions at once."""

import numpy as np
from jaxtyping import Bool, Int
from scipy.stats import binomtest, norm

Labels = Int[np.ndarray, " answers"]


def wilson(n_right: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a share, in [0, 1]; NaN of none (Wilson, JASA 1927)."""
    if not n:
        return float("nan"), float("nan")
    z = float(norm.ppf((1 + level) / 2))
    share = n_right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def share_interval(  # noqa: PLR0913
    right: Bool[np.ndarray, " answers"],
    people: Labels,
    questions: Labels,
    *,
    level: float = 0.95,
    n_draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return an interval of the share of right answers that allows for hard questions and for careless people.

    It is the wider, at either end, of Wilson's, which takes answers for independent, and of the pigeonhole bootstrap,
    which draws people and questions anew, independently of each other, and weights an answer by the product of how
    often both were drawn (Owen, Annals of Applied Statistics 2007; it errs on the wide side).

    Parameters
    ----------
    right : whether each answer is
    people, questions : who gave it, and to what, as numbers
    level : of the interval
    n_draws, seed : of the bootstrap
    """
    low, high = wilson(int(right.sum()), len(right), level=level)
    if not len(right):
        return low, high
    drawn = _drawn(right.astype(float), people, questions, n_draws, np.random.default_rng(seed))
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return low, high
    ends = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return min(low, float(ends[0])), max(high, float(ends[1]))


def difference_interval(
    first: tuple[Bool[np.ndarray, " answers"], Labels, Labels],
    second: tuple[Bool[np.ndarray, " others"], Int[np.ndarray, " others"], Int[np.ndarray, " others"]],
    *,
    level: float = 0.95,
    n_draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return an interval of the share of right answers to some questions minus that to others, by the same bootstrap.

    Parameters
    ----------
    first, second : whether each answer is right, who gave it, to what; the same people have the same numbers in both,
        and are drawn together
    level, n_draws, seed : as in :func:`share_interval`
    """
    if not len(first[0]) or not len(second[0]):
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    n_people = int(max(first[1].max(), second[1].max())) + 1
    present = np.union1d(first[1], second[1])
    weights = _weights(present, n_people, n_draws, generator)
    ends = [
        _shares(right.astype(float), weights[:, people], _of(questions, n_draws, generator))
        for right, people, questions in (first, second)
    ]
    drawn = ends[0] - ends[1]
    known = drawn[np.isfinite(drawn)]
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def by_chance(n_right: int, n: int, chance: float) -> float:
    """Return how likely answers at random are right at least as often (exact binomial test, one-sided); NaN of none."""
    return float(binomtest(n_right, n, chance, alternative="greater").pvalue) if n else float("nan")


def _drawn(
    values: np.ndarray, people: Labels, questions: Labels, n_draws: int, generator: np.random.Generator
) -> np.ndarray:
    weights = _of(people, n_draws, generator)
    return _shares(values, weights, _of(questions, n_draws, generator))


def _of(labels: Labels, n_draws: int, generator: np.random.Generator) -> np.ndarray:
    """Return for each draw and answer how often what it belongs to was drawn; of one thing alone always once."""
    return _weights(np.unique(labels), int(labels.max()) + 1, n_draws, generator)[:, labels]


def _weights(present: np.ndarray, size: int, n_draws: int, generator: np.random.Generator) -> np.ndarray:
    found = np.zeros((n_draws, size))
    found[:, present] = generator.multinomial(len(present), np.full(len(present), 1 / len(present)), n_draws)
    return found


def _shares(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    weights = first * second
    total = weights.sum(axis=1)
    safe = np.where(total > 0, total, 1)
    return np.where(total > 0, (weights * values).sum(axis=1) / safe, np.nan)
