"""Laws of settings: one declaration for library, command line, form and run key."""

from dataclasses import dataclass
from typing import Literal

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
        ({"steps": 0}, ["Outer.steps = 0", "1 … inf"]),
        ({"steps": "many"}, ["Outer.steps = 'many'", "whole number"]),
        ({"steps": 1.5}, ["Outer.steps = 1.5", "whole number"]),
        ({"steps": True}, ["Outer.steps = True"]),
        ({"is_on": "maybe"}, ["Outer.is_on = 'maybe'", "true or false"]),
        ({"scales": "1,-1"}, ["Outer.scales", "-1"]),
        ({"inner": 3}, ["group", "inner.weight"]),
        ({"inner.kind": "blunt"}, ["Inner.kind", "blunt", "sharp", "smooth"]),
        ({"steps.x": 3}, ["steps", "'x'"]),
        ({"inner.weight": float("nan")}, ["Inner.weight"]),
        ({"name": 3}, ["Outer.name = 3", "str"]),
    ],
)
def test_a_wrong_parameter_is_refused_with_value_and_bounds(changes: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ParameterError) as caught:
        replaced(Outer(), changes)
    for word in words:
        assert word in str(caught.value)


@given(st.floats(0, 1), st.integers(1, 10**6))
def test_a_copy_through_plain_values_is_the_same(weight: float, steps: int) -> None:
    settings = Outer(steps=steps, inner=Inner(weight=weight))
    plain = as_dict(settings)
    inner = {f"inner.{key}": value for key, value in plain.pop("inner").items()}
    assert replaced(Outer(), {**plain, **inner}) == settings
