"""Laws of settings: one declaration for library, command line, form and run key."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xvcore.errors import ParameterError
from xvcore.keys import digest
from xvcore.parameters import as_dict, check, parameter, replaced


@dataclass(frozen=True, slots=True)
class Inner:
    weight: float = parameter(0.5, "a weight", ge=0, le=1)
    kind: Literal["smooth", "sharp"] = parameter("smooth", "a choice")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class Outer:
    steps: int = parameter(300, "a count", ge=1)
    limit: int | None = parameter(None, "a bound or none", ge=1)
    is_on: bool = parameter(default=True, description="a switch")
    scales: tuple[float, ...] = parameter((1.0, 2.0), "a list", ge=0)
    name: str = parameter("x", "a text")
    inner: Inner = parameter(Inner(), "a group")
    method: ClassVar[str] = "outer"

    def __post_init__(self) -> None:
        check(self)


def test_strings_of_a_command_line_become_typed_values() -> None:
    changed = replaced(
        Outer(),
        {
            "steps": "100",
            "limit": "7",
            "is_on": "false",
            "scales": "1,3",
            "inner.weight": "0.25",
            "inner.kind": "sharp",
        },
    )
    assert changed == Outer(100, 7, False, (1.0, 3.0), "x", Inner(0.25, "sharp"))
    assert replaced(changed, {"limit": "none"}).limit is None


def test_an_int_given_for_a_float_has_the_key_of_the_float() -> None:
    assert digest(as_dict(Inner(weight=1))) == digest(as_dict(Inner(weight=1.0)))


def test_every_parameter_and_default_is_in_the_key() -> None:
    base = digest(as_dict(Outer()))
    changes = [{"steps": 2}, {"limit": 1}, {"is_on": False}, {"scales": (1.0,)}, {"name": "y"}, {"inner.weight": 0.1}]
    assert len({base, *(digest(as_dict(replaced(Outer(), each))) for each in changes)}) == len(changes) + 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stepz": 1}, ["stepz", "did you mean steps", "Outer"]),
        ({"steps": 0}, ["steps = 0", "1 … inf"]),
        ({"steps": "many"}, ["steps = 'many'", "whole number"]),
        ({"steps": 1.5}, ["steps = 1.5", "whole number"]),
        ({"steps": "1e30"}, ["steps = '1e30'", "64 bits"]),
        ({"steps": "9" * 5000}, ["steps = ", "64 bits"]),
        ({"steps": True}, ["steps = True"]),
        ({"is_on": "maybe"}, ["is_on = 'maybe'", "true or false"]),
        ({"scales": "1,-1"}, ["scales = -1.0", "0 … inf"]),
        ({"scales": "1,,2"}, ["scales = '1,,2'", "commas"]),
        ({"inner": 3}, ["inner is a group", "inner.weight"]),
        ({"inner.": 3}, ["'inner.'", "inner.weight"]),
        ({"inner.kind": "blunt"}, ["inner.kind", "blunt", "sharp", "smooth"]),
        ({"inner.wieght": 1}, ["'inner.wieght'", "did you mean inner.weight"]),
        ({"inner.weight.x": 1}, ["inner.weight = 0.5", "'x'"]),
        ({"steps.x": 3}, ["steps", "'x'"]),
        ({"steps.": 3}, ["steps = 300", "it is a value"]),
        ({"inner.weight": 2}, ["inner.weight = 2.0", "0 … 1"]),
        ({"inner.weight": float("nan")}, ["inner.weight"]),
        ({"inner.weight": "inf"}, ["inner.weight = 'inf'", "finite"]),
        ({"name": 3}, ["name = 3", "str"]),
        ({"method": "x"}, ["parameter of Outer 'method'", "known: inner, is_on"]),
    ],
)
def test_a_wrong_parameter_is_refused_with_value_and_bounds(changes: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ParameterError) as caught:
        replaced(Outer(), changes)
    for word in words:
        assert word in str(caught.value)
    for name in changes:
        assert name.partition(".")[0] in str(caught.value), "as it was typed"
        assert "Inner." not in str(caught.value)


def test_a_value_that_is_made_wrong_is_named_by_its_type() -> None:
    with pytest.raises(ParameterError, match=r"Inner\.weight = 2\.0 is outside 0 … 1"):
        Inner(weight=2)


@dataclass(frozen=True)
class Range:
    low: int = parameter(0, "the lower end")
    high: int = parameter(1, "the upper end")

    def __post_init__(self) -> None:
        check(self)
        if self.low > self.high:
            raise ParameterError(f"low = {self.low}: expected at most high = {self.high}")


@dataclass(frozen=True)
class Holder:
    range: Range = parameter(Range(), "a group")
    derived: int = field(default=3, init=False)


def test_values_that_do_not_go_together_are_named_with_their_group() -> None:
    with pytest.raises(ParameterError, match="range: low = 3: expected at most high = 2"):
        replaced(Holder(), {"range.low": "3", "range.high": "2"})
    with pytest.raises(ParameterError, match=r"parameter of Holder 'derived' .*known: range\)"):
        replaced(Holder(), {"derived": 3})


@given(st.integers(1, 2**63 - 1))
def test_whole_numbers_arrive_as_they_were_typed(number: int) -> None:
    typed: int = replaced(Outer(), {"steps": str(number)}).steps
    assert typed == number


@given(st.floats(0, 1), st.integers(1, 10**6))
def test_a_copy_through_plain_values_is_the_same(weight: float, steps: int) -> None:
    settings = Outer(steps=steps, inner=Inner(weight=weight))
    plain = as_dict(settings)
    inner = {f"inner.{key}": value for key, value in plain.pop("inner").items()}
    assert replaced(Outer(), {**plain, **inner}) == settings
