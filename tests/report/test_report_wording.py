"""Numbers as words."""

import numpy as np
import pandas as pd
import pytest

from xvcore.report.wording import (
    count,
    decimal,
    duration,
    median,
    p_number,
    p_words,
    percent,
    plain,
    plural,
    pretty,
    with_interval,
)

THIN = "\u202f"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 %"),
        (1e-9, "<1 %"),
        (0.094, "9 %"),
        (0.9999, ">99 %"),
        (1.0, "100 %"),
        (-0.031, "−3 %"),
        (-0.004, "0 %"),
    ],
)
def test_a_share_is_whole_per_cent_and_never_rounded_to_nothing_or_all(value, text):
    assert percent(value).replace(THIN, " ") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.5, "9.5 s"),
        (59.7, "1 min"),
        (60, "1 min"),
        (312, "5 min 12 s"),
        (3599.7, "1 h"),
        (90_000, "25 h"),
    ],
)
def test_a_time_has_at_most_two_units(seconds, text):
    assert duration(seconds).replace(THIN, " ") == text


@pytest.mark.parametrize(
    ("value", "text"), [(-0.004, "0.00"), (-0.006, "−0.01"), (0.125, "0.12"), (3, "3.00"), (-0.0, "0.00")]
)
def test_a_number_has_its_digits_and_zero_no_sign(value, text):
    assert decimal(value) == text


def test_what_is_missing_is_a_dash():
    assert {percent(None), decimal(None), count(None), duration(None)} == {"–"}


@pytest.mark.parametrize("value", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT])
def test_all_that_is_missing_is_none(value):
    assert plain(value) is None


def test_values_are_plain_python():
    assert type(plain(np.int16(3))) is int
    assert type(plain(np.bool_(True))) is bool
    assert plain(b"x") == b"x"


def test_thousands_are_set_apart_and_one_is_singular():
    assert count(1_234_567).replace(THIN, " ") == "1 234 567"
    assert plural(1, "summary", "summaries") == "1 summary"
    assert plural(0, "class", "classes") == "0 classes"


def test_a_median_of_nothing_is_nothing():
    assert median(pd.Series([], dtype=float)) is None
    assert median(pd.Series([1.0, np.nan, 3.0])) == 2.0


def test_text_that_is_no_json_is_shown_as_it_is():
    assert pretty("{oops") == "{oops"
    assert pretty('{"b":1,"a":2}') == '{\n  "a": 2,\n  "b": 1\n}'
    assert not pretty(None)


@pytest.mark.parametrize(
    ("value", "number", "words"),
    [
        (0.0004, "< 0.001", "p < 0.001"),
        (0.0461, "0.046", "p = 0.046"),
        (0.0994, "0.099", "p = 0.099"),
        (0.0996, "0.10", "p = 0.10"),
        (1.0, "1.00", "p = 1.00"),
        (None, "–", "p –"),
    ],
)
def test_a_p_value_is_as_exact_as_it_matters_and_a_small_one_is_said_to_be_small(value, number, words):
    assert p_number(value).replace("\u00a0", " ") == number
    assert p_words(value).replace("\u00a0", " ") == words


def test_an_interval_is_said_where_there_is_one():
    assert with_interval(0.5, 0.25, 0.75) == "0.50 (0.25 to 0.75)"
    assert with_interval(0.5, 0.25, 0.75, percent).replace(THIN, "") == "50% (25% to 75%)"
    assert with_interval(0.5, None, 0.75) == "0.50"
    assert with_interval(None, None, None) == "–"
