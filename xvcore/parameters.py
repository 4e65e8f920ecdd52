"""Parameters of methods and stages: fields of frozen dataclasses with description and bounds.

One declaration serves the library (checked when the value is made), the command line (``--set mask.steps=100``),
the Prefect form (description, minimum, maximum, choices) and the run key (every default is part of it).
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from xvcore.errors import ParameterError, unknown_name

Settings = TypeVar("Settings")


def parameter(
    default: Any,
    description: str,
    *,
    ge: int | float | None = None,
    le: int | float | None = None,
) -> Any:
    """Return a dataclass field with a description and inclusive bounds.

    Parameters
    ----------
    default : the paper's value, or ours where the description says so
    description : one sentence: what it is, its unit, its source
    ge, le : smallest and largest value allowed
    """
    metadata = {"description": description, "ge": ge, "le": le}
    if dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def check(settings: Any) -> None:
    """Coerce each field of a frozen dataclass to its type and refuse what is out of bounds.

    Call it from ``__post_init__``. An ``int`` given for a ``float`` becomes a ``float`` (else 300 and 300.0 would have
    different run keys).

    Raises
    ------
    ParameterError
        Names the field, the value seen and what is allowed.
    """
    hints = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        name = f"{type(settings).__name__}.{field.name}"
        value = _coerced(name, getattr(settings, field.name), hints[field.name])
        low, high = field.metadata.get("ge"), field.metadata.get("le")
        for number in value if isinstance(value, tuple) else (value,):
            is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
            if is_number and not _within(number, low, high):
                allowed = f"{'-inf' if low is None else low} … {'inf' if high is None else high}"
                raise ParameterError(f"{name} = {number!r} is outside {allowed}")
        object.__setattr__(settings, field.name, value)


def replaced(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Return a copy with some fields changed; a dotted name reaches into nested settings.

    Values may be strings, as they come from a command line: ``{"mask.steps": "100"}``.

    Raises
    ------
    ParameterError
        An unknown field (with the known ones), a value of the wrong type, or one out of bounds.
    """
    nested: dict[str, dict[str, Any]] = {}
    flat: dict[str, Any] = {}
    hints = typing.get_type_hints(type(settings))
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        if head not in hints:
            raise ParameterError(str(unknown_name(f"parameter of {type(settings).__name__}", head, hints)))
        current = getattr(settings, head)
        if rest and not dataclasses.is_dataclass(current):
            raise ParameterError(f"{head} = {current!r} has no parameter {rest!r}: it is a value")
        if rest:
            nested.setdefault(head, {})[rest] = value
        elif dataclasses.is_dataclass(current) and not isinstance(value, type(current)):
            known = ", ".join(f"{head}.{field.name}" for field in dataclasses.fields(current))
            raise ParameterError(f"{head} is a group of parameters; set one of {known}")
        else:
            flat[head] = _coerced(f"{type(settings).__name__}.{head}", value, hints[head])
    for head, inner in nested.items():
        flat[head] = replaced(getattr(settings, head), inner)
    return dataclasses.replace(settings, **flat)  # type: ignore[type-var]


def as_dict(settings: Any) -> dict[str, Any]:
    """Return all parameters, defaults included, as plain JSON values (tuples become lists)."""
    result: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            result[field.name] = as_dict(value)
        else:
            result[field.name] = list(value) if isinstance(value, tuple) else value
    return result


def _within(value: int | float, low: int | float | None, high: int | float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _coerced(name: str, value: Any, hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise ParameterError(str(unknown_name(f"value of {name}:", str(value), map(str, arguments))))
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None or (value in ("none", "None") and type(None) in arguments):
            return None
        return _coerced(name, value, next(each for each in arguments if each is not type(None)))
    if origin is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, Sequence):
            raise ParameterError(f"{name} = {value!r}: expected values separated by commas")
        return tuple(_coerced(name, part, arguments[0]) for part in parts)
    if hint in (int, float, bool, str):
        return _scalar(name, value, hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and not isinstance(value, hint):
        raise ParameterError(f"{name} = {value!r}: expected {hint.__name__}")
    return value


def _scalar(name: str, value: Any, kind: type) -> Any:
    if kind is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise ParameterError(f"{name} = {value!r}: expected true or false")
    if kind is str or isinstance(value, bool):
        if isinstance(value, kind) and not isinstance(value, bool):
            return value
        raise ParameterError(f"{name} = {value!r}: expected {kind.__name__}")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number) or (kind is int and not number.is_integer()):
        raise ParameterError(f"{name} = {value!r}: expected {'a whole number' if kind is int else 'a number'}")
    return int(number) if kind is int else number
