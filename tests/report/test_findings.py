"""Intervals and tests behind findings, against numbers that are known."""

import numpy as np
import pytest

from xvcore.report.findings import Estimate, Finding, mean, share


def test_a_share_has_wilsons_interval():
    found = share(8, 10)  # Newcombe 1998: 0.4902 … 0.9433
    assert (found.value, found.n) == (0.8, 10)
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert found.percent == "80\u202f% (49\u202f% to 94\u202f%)"


def test_a_mean_has_students_interval_and_leaves_out_what_is_no_number():
    found = mean([1.0, 2.0, np.nan, 3.0])  # t of two degrees of freedom: 4.3027
    assert (found.value, found.n) == (2.0, 3)
    assert (found.low, found.high) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-3)


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5], [0.5, np.nan]])
def test_too_few_or_equal_values_have_no_interval(values):
    found = mean(values)
    assert (found.value, found.low, found.high) == (0.5, None, None)
    assert found.words == "0.50"


def test_an_interval_covers_the_mean_as_often_as_it_says():
    drawn = np.random.default_rng(0).normal(0.3, 1, (2000, 12))
    covered = [each.low <= 0.3 <= each.high for each in map(mean, drawn)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("finding", "holds"),
    [
        (Finding("net", "", "", 0.5), None),
        (Finding("net", "", "", 0.5, 0.4, 0.6, null=0.0), True),
        (Finding("net", "", "", 0.5, -0.1, 1.1, null=0.0), False),
        (Finding("net", "", "", 0.5, null=0.0), False),
        (Finding("net", "", "", 0.5, null=0.0, p_value=0.05), True),
        (Finding("net", "", "", 0.5, 0.4, 0.6, null=0.0, p_value=0.06), False),
    ],
)
def test_a_finding_holds_where_its_numbers_say_so(finding, holds):
    assert finding.holds is holds


def test_a_finding_takes_over_its_estimate():
    found = Finding.of("net", "a measure", Estimate(0.5, 0.4, 0.6, 7), 0.1).saying("So.")
    assert found == Finding("net", "So.", "a measure", 0.5, 0.4, 0.6, 0.1, None, 7)
