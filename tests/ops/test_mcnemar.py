"""Laws of McNemar's exact test."""

import pytest
from scipy.stats import binom

from xvcore.ops.mcnemar import mcnemar


def test_it_is_that_of_a_fair_coin() -> None:
    assert mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(3, 9) == mcnemar(9, 3) == pytest.approx(0.14599609375)
    assert mcnemar(9, 4) == pytest.approx(2 * binom.cdf(4, 13, 0.5))


def test_where_no_answer_differs_nothing_is_found() -> None:
    assert mcnemar(0, 0) == 1
