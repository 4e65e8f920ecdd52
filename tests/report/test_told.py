"""What the first page and the pages of classes say was found: of which family, in which order, and with which tests."""

import pytest

from xvcore.report.findings import Finding, more_often, repeated, standing, surest, told
from xvcore.report.index_page import _varied


def finding(value: float, *, null: float | None = 0.0, p_value: float | None = None) -> dict:
    return told(Finding("net", f"{value}", "a number", value, null=null, p_value=p_value), "page.html#here")


def test_what_holds_comes_first_and_chance_last():
    found = [finding(0.9, p_value=0.4), finding(0.1, p_value=0.01), finding(0.5, null=None), finding(0.2, p_value=1e-9)]
    assert [each["value"] for each in surest(found)] == [0.2, 0.1, 0.5, 0.9]
    assert [standing(each) for each in surest(found)] == [0, 0, 1, 2]


def test_of_what_chance_hardly_makes_the_largest_comes_first():
    found = [finding(0.01, p_value=1e-9), finding(0.8, p_value=2e-4)]
    assert [each["value"] for each in surest(found)] == [0.8, 0.01]


def test_tests_that_find_as_often_as_chance_find_nothing():
    assert repeated([True] + [False] * 19) > 0.5
    assert repeated([True] * 3) == pytest.approx(0.05**3)
    assert repeated([]) == 1.0


def test_a_share_is_more_often_than_chance_by_the_binomial_tail():
    assert abs(more_often(3, 3, 0.5) - 1 / 8) < 1e-12
    assert more_often(0, 5, 0.2) == 1.0
    assert more_often(0, 0, 0.2) == 1.0


def test_what_is_told_first_is_of_every_measure_and_network():
    names = ("aA", "aA", "aB", "bA", "aA", "bA", "cA")
    found = [{"measure": name[0], "model": name[1], "holds": None if name == "cA" else True} for name in names]
    assert _varied(found) == [found[0], found[2], found[3], found[1], found[5], found[4], found[6]]
