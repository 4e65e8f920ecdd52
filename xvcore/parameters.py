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

from xvcore.errors import ParameterError, XvError, unknown_name

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
        value = _checked(name, getattr(settings, field.name), hints[field.name], field)
        object.__setattr__(settings, field.name, value)


def replaced(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Return a copy with some fields changed; a dotted name reaches into nested settings.

    Values may be strings, as they come from a command line: ``{"mask.steps": "100"}``.

    Raises
    ------
    ParameterError
        An unknown field (with the known ones), a value of the wrong type, or one out of bounds; the field is called as
        it is in ``changes``.
    """
    return _replaced(settings, changes, "")


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


def _replaced(settings: Settings, changes: Mapping[str, Any], path: str) -> Settings:
    """Return the copy; ``path`` is what stands before the names in messages, e.g. ``"mask."``."""
    nested: dict[str, dict[str, Any]] = {}
    flat: dict[str, Any] = {}
    hints = typing.get_type_hints(type(settings))
    fields = {field.name: field for field in dataclasses.fields(settings) if field.init}  # type: ignore[arg-type]
    for name, value in changes.items():
        head, dot, rest = name.partition(".")
        if head not in fields:
            known = [f"{path}{each}" for each in fields]
            raise ParameterError(str(unknown_name(f"parameter of {type(settings).__name__}", f"{path}{head}", known)))
        current = getattr(settings, head)
        if dot and not dataclasses.is_dataclass(current):
            raise ParameterError(f"{path}{head} = {current!r} has no parameter {rest!r}: it is a value")
        if dot:
            nested.setdefault(head, {})[rest] = value
        elif dataclasses.is_dataclass(current) and not isinstance(value, type(current)):
            inner = ", ".join(f"{path}{head}.{field.name}" for field in dataclasses.fields(current))
            raise ParameterError(f"{path}{head} is a group of parameters; set one of {inner}")
        else:
            flat[head] = _checked(f"{path}{head}", value, hints[head], fields[head])
    for head, inside in nested.items():
        flat[head] = _replaced(flat.get(head, getattr(settings, head)), inside, f"{path}{head}.")
    try:
        return dataclasses.replace(settings, **flat)  # type: ignore[type-var]
    except XvError as error:  # values that do not go together
        if not path:
            raise
        raise ParameterError(f"{path.removesuffix('.')}: {error}") from error


def _checked(name: str, value: Any, hint: Any, field: dataclasses.Field) -> Any:
    """Return the value of a field in its type; ParameterError where it is of another or out of bounds."""
    value = _coerced(name, value, hint)
    low, high = field.metadata.get("ge"), field.metadata.get("le")
    for number in value if isinstance(value, tuple) else (value,):
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
        if is_number and not _within(number, low, high):
            allowed = f"{'-inf' if low is None else low} … {'inf' if high is None else high}"
            raise ParameterError(f"{name} = {number!r} is outside {allowed}")
    return value


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
        if not isinstance(parts, Sequence) or (isinstance(value, str) and not all(part.strip() for part in parts)):
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
    number: int | float
    try:
        number = int(value) if kind is int and isinstance(value, int | str) and _is_whole(str(value)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or (kind is int and not (number == int(number) and abs(number) < 2**63)):
        expected = "a whole number of at most 64 bits" if kind is int else "a finite number"
        raise ParameterError(f"{name} = {value!r}: expected {expected}")
    return int(number) if kind is int else number


def _is_whole(text: str) -> bool:
    """Say whether a text is digits: a float, of 53 bits, would round them."""
    return text.strip().removeprefix("-").isdecimal()
