"""McNemar's exact test: whether one of two ways of answering is right where the other is wrong more often than back."""

import scipy


def mcnemar(n_first: int, n_second: int) -> float:
    """Return how likely chance divides the answers that only one of two got right so unevenly; two-sided, 1 of none.

    McNemar, Note on the sampling error of the difference between correlated proportions or percentages, Psychometrika
    1947; exact: under the null each of these answers is a fair coin's.

    Parameters
    ----------
    n_first, n_second : questions that only the first, and only the second, got right

    >>> mcnemar(5, 0)
    0.0625
    """
    return float(scipy.stats.binomtest(n_first, n_first + n_second).pvalue) if n_first + n_second else 1.0
