"""What was found, in sentences that an interval or a test bears.

A finding says what was measured, with its 95 % interval, beside what it would be if there were nothing to find; whether
it *holds* follows from these numbers alone. Images are what is drawn by chance: an interval is over them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import scipy

from xvcore.report.wording import SMALL, percent, with_interval

Number = float | None
LEVEL = 0.95
"""Of every interval; a test holds at one minus this."""
CRITICAL = NormalDist().inv_cdf((1 + LEVEL) / 2)
"""Standard errors on either side of an estimate from a large sample."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval over ``n`` images; without one where there are too few."""

    value: float
    low: Number
    high: Number
    n: int

    @property
    def words(self) -> str:
        """The number as a sentence has it."""
        return with_interval(self.value, self.low, self.high)

    @property
    def percent(self) -> str:
        """A share as a sentence has it."""
        return with_interval(self.value, self.low, self.high, percent)


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence and the numbers that bear it.

    Parameters
    ----------
    model : the network, or the networks joined by `` + ``
    sentence : in words, with the numbers
    measure : what ``value`` is
    value : what was found
    low, high : ends of its 95 % interval; None where the number is not drawn by chance, or from too few images
    null : what it would be if there were nothing to find; None where nothing is tested
    p_value : of a test of that; None where the interval tells
    n : images, or whatever the interval is over
    """

    model: str
    sentence: str
    measure: str
    value: float
    low: Number = None
    high: Number = None
    null: Number = None
    p_value: Number = None
    n: int = 0

    @classmethod
    def of(cls, model: object, measure: str, found: Estimate, null: Number = None) -> "Finding":
        """Return what was measured, before it is put into words."""
        return cls(str(model), "", measure, found.value, found.low, found.high, null, n=found.n)

    def saying(self, sentence: str) -> "Finding":
        """Return it with its sentence."""
        return replace(self, sentence=sentence)

    @property
    def holds(self) -> bool | None:
        """Whether there is something to find; None where nothing is tested."""
        if self.null is None:
            return None
        if self.p_value is not None:
            return self.p_value <= 1 - LEVEL
        if self.low is None or self.high is None:
            return False
        return not self.low <= self.null <= self.high


Told = Mapping[str, Any]
"""A finding on a page: its fields, whether it ``holds``, and the ``page`` with its numbers and images; JSON."""


def told(finding: Finding, page: str) -> Told:
    """Return a finding as pages have it, with the address that shows its numbers."""
    return {**asdict(finding), "holds": finding.holds, "page": page}


def standing(row: Mapping[str, Any]) -> int:
    """Return what a finding is sorted by: first what holds, then what is not tested, then what does not hold."""
    return {True: 0, None: 1, False: 2}[row["holds"]]


def surest(found: Iterable[Told]) -> list[Told]:
    """Return findings as they stand: those that chance makes least often first, of these what is farthest from it."""
    return sorted(found, key=lambda each: (standing(each), max(each["p_value"] or 0.0, SMALL), -_distance(each)))


def difference(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Return by how much the mean of the first is above that of the second, with Welch's interval; ``n`` of both.

    >>> round(difference([1.0, 2.0, 3.0], [0.0, 1.0, 2.0]).value, 6)
    1.0
    """
    value, n = mean(first).value - mean(second).value, len(first) + len(second)
    if min(len(first), len(second)) < 2 or not (np.std(first) or np.std(second)):
        return Estimate(value, None, None, n)
    ends = scipy.stats.ttest_ind(first, second, equal_var=False).confidence_interval(LEVEL)
    return Estimate(value, float(ends.low), float(ends.high), n)


def _distance(found: Told) -> float:
    return 0.0 if found["null"] is None else abs(found["value"] - found["null"])


def repeated(are_found: Sequence[bool]) -> float:
    """Return the p value of so many tests of which each finds what is not there at one minus the level of intervals."""
    n_found = sum(are_found)
    return float(scipy.stats.binomtest(n_found, len(are_found), 1 - LEVEL, "greater").pvalue) if are_found else 1.0


def more_often(n_are: int, n: int, chance: float) -> float:
    """Return the p value of a share: how likely so many of ``n`` independent ones would be by chance."""
    return float(scipy.stats.binomtest(n_are, n, chance, "greater").pvalue) if n else 1.0


def share(n_are: int, n: int) -> Estimate:
    """Return a share of independent images with Wilson's interval."""
    ends = scipy.stats.binomtest(n_are, n).proportion_ci(LEVEL, "wilson")
    return Estimate(n_are / n, float(ends.low), float(ends.high), n)


def mean(values: Any) -> Estimate:
    """Return the mean of one number an image (a column or an array) with Student's interval; NaN is left out."""
    numbers = np.asarray(values, float)
    numbers = numbers[np.isfinite(numbers)]
    middle = float(numbers.mean()) if len(numbers) else math.nan
    if len(numbers) < 2 or not numbers.std():
        return Estimate(middle, None, None, len(numbers))
    half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, len(numbers) - 1) * numbers.std(ddof=1) / math.sqrt(len(numbers)))
    return Estimate(middle, middle - half, middle + half, len(numbers))
