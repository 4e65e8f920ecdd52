"""Do people who answer the same questions answer alike? Modal share, Fleiss' and Cohen's kappa."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from jaxtyping import Int

Counts = Int[np.ndarray, "questions categories"]


def counts_of(answers: Iterable[tuple[Hashable, Hashable]]) -> Counts:
    """Return how often each question got each category, given pairs (question, category); rows and columns sorted."""
    pairs = [(str(question), str(category)) for question, category in answers]
    questions = {each: place for place, each in enumerate(sorted({question for question, _ in pairs}))}
    categories = {each: place for place, each in enumerate(sorted({category for _, category in pairs}))}
    found = np.zeros((len(questions), len(categories)), np.int64)
    for question, category in pairs:
        found[questions[question], categories[category]] += 1
    return found


def modal_share(counts: Counts) -> float:
    """Return the mean over questions of the share of answers that the most frequent category has, in (0, 1].

    Questions with a single answer say nothing of agreement and are left out; NaN where no question has two.
    """
    rows = counts[counts.sum(axis=1) > 1]
    return float((rows.max(axis=1) / rows.sum(axis=1)).mean()) if len(rows) else float("nan")


def fleiss_kappa(counts: Counts) -> float:
    """Return Fleiss' kappa, (P - P_e) / (1 - P_e), at most 1; 0 where answers agree as often as chance has them agree.

    P is the mean over questions of the share of pairs of answers that agree, P_e = Σ_j p_j² with p_j the share of
    category j among all answers. Questions may have different numbers of answers (Fleiss, Levin, Paik, Statistical
    Methods for Rates and Proportions, 2003, section 18.3, with each question's pairs); those with one are left out.
    NaN where no question has two answers, or all answers are of one category: chance agrees always then.
    """
    rows = counts[counts.sum(axis=1) > 1].astype(np.float64)
    if not len(rows):
        return float("nan")
    n = rows.sum(axis=1)
    agreed = float(((rows * (rows - 1)).sum(axis=1) / (n * (n - 1))).mean())
    by_chance = float(((rows.sum(axis=0) / n.sum()) ** 2).sum())
    return float("nan") if np.isclose(by_chance, 1.0) else (agreed - by_chance) / (1 - by_chance)


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Return Cohen's kappa of two who named the same things, at most 1; NaN of none, or where both have one word only.

    Parameters
    ----------
    first, second : the names that each gave, in the same order
    """
    if not first:
        return float("nan")
    agreed = float(np.mean([one == other for one, other in zip(first, second, strict=True)]))
    words = set(first) | set(second)
    by_chance = sum(list(first).count(word) * list(second).count(word) for word in words) / len(first) ** 2
    return float("nan") if np.isclose(by_chance, 1.0) else (agreed - by_chance) / (1 - by_chance)
