"""Laws of what prototypes bear: what is put there is found, what is not there is not, and each has its place."""

from typing import Any

import numpy as np
import pytest

from xvcore.prototypes.pages.class_data import ClassPrototypes
from xvcore.prototypes.pages.class_tests import Foremost, RunPrototypes
from xvcore.prototypes.pages.findings import CHANNELS, NEEDED, ONE, PARTS, PATCHES, REMOVAL, of_all, of_class
from xvcore.prototypes.pages.prototype_pages import Shown
from xvcore.report.chapters import Entry, Network, Section, Topic
from xvcore.report.findings import difference

ENTRY = Entry(Network({"run_id": "r", "model": "net"}, "net", "net", 0), "a", {}, "net/a")


def foremost(number: int, n_own: int, p_value: float, part: dict[str, Any] | None = None) -> Foremost:
    images = [("a" if place < n_own else "b", f"{number}-{place}") for place in range(5)]
    return Foremost(number, "positive", 1.0, images, n_own, 5 / 4, p_value, part)


def class_of(tested: list[Foremost], falls: list[tuple[float, float]]) -> ClassPrototypes:
    removals = tuple({"image_id": str(each), "fall": a, "random_fall": b} for each, (a, b) in enumerate(falls))
    tests = RunPrototypes({7: Shown("net/prototypes/7.html")}, {"a": tested}, {"a": 10, "b": 30})
    return ClassPrototypes(ENTRY, removals=removals, tests=tests)


def test_what_is_there_is_found_and_leads_to_its_numbers() -> None:
    part = {"part": "crest", "n_patches": 5}
    tested = [foremost(each, 5, 0.01, {**part, "share": 0.8 + each / 100, "random_purity": 0.4}) for each in (7, 8)]
    found = of_class(class_of(tested, [(2.0, 0.1), (2.2, 0.2), (1.9, 0.0)]), "zigzag")
    assert [each["measure"] for each in found] == [REMOVAL, PATCHES, PARTS, ONE, ONE]
    assert all(each["holds"] for each in found)
    pages = [
        "net/a/index.html#images",
        "net/a/index.html#tested",
        "net/a/index.html#tested",
        "net/prototypes/7.html",
        "net/a/index.html#tested",
    ]
    assert [each["page"] for each in found] == pages
    assert found[0]["value"] == pytest.approx(1.9333, abs=1e-3)
    assert "10 of the 10 strongest patches of the 2 prototypes" in found[1]["sentence"]
    assert "2.5 by chance" in found[1]["sentence"]
    assert found[1]["n"] == 10


def test_what_could_be_chance_does_not_hold_and_no_prototype_is_named() -> None:
    found = of_class(
        class_of([foremost(7, 1, 1.0), foremost(8, 2, 1.0)], [(0.3, 0.1), (-0.2, 0.1), (0.1, 0.0)]), "zigzag"
    )
    assert [(each["measure"], each["holds"]) for each in found] == [(REMOVAL, False), (PATCHES, False)]


def test_a_run_without_the_tables_of_the_tests_says_nothing() -> None:
    assert of_class(ClassPrototypes(ENTRY), "zigzag") == []


def test_networks_are_compared_over_the_images_that_both_decided() -> None:
    networks = tuple(Network({"run_id": name, "model": name}, name, name, 0) for name in ("one", "two"))
    entries = tuple(Entry(each, "a", {}, f"{each.title}/a") for each in networks)
    section = Section("prototypes", networks, (Topic("a", "zigzag", "a", None, entries),))
    cards = {
        "one/a": {"needed": {"x": 2, "y": 3, "z": 2}, "n_tested": 2, "falls": [[2, 0.1], [3, 0.2]]},
        "two/a": {"needed": {"x": 5, "y": 7, "z": 6, "other": 90}},
        "one": {"parts": {"prototype": [0.8, 0.9, 1.0], "channel": [0.2, 0.3, 0.4]}},
    }
    removal, channels, needed = of_all(section, cards)
    assert [each["measure"] for each in (removal, channels, needed)] == [REMOVAL, CHANNELS, NEEDED]
    assert (removal["model"], removal["n"]) == ("one", 2)
    assert channels["value"] == pytest.approx(0.6)
    assert channels["page"] == "one/a/index.html#tested"
    assert (needed["model"], needed["value"], needed["n"]) == ("one + two", pytest.approx(-11 / 3), 3)
    assert needed["holds"]


def test_the_difference_of_two_means_has_welchs_interval() -> None:
    """Of two samples of one size and spread it is Student's with 2 n - 2 degrees of freedom: t = 2.7764 for n = 3."""
    found = difference([1.0, 2.0, 3.0], [0.0, 1.0, 2.0])
    half = 2.7764 * np.sqrt(2 / 3)
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1 - half, 1 + half), abs=1e-3)
    assert (difference([1.0], [0.0, 2.0]).low, difference([1.0, 1.0], [0.0, 0.0]).low) == (None, None)
