"""Filters on a table: equality by mapping, or the lists of conditions that pandas and pyarrow take."""

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from xvcore.errors import ParameterError, unknown_name
from xvcore.store import Column, Table

Filters = Mapping[str, Any] | Sequence[Any]
Condition = tuple[str, str, Any]

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OPERATORS = (*_COMPARISONS, "in", "not in")


@dataclass(frozen=True)
class Filter:
    """What is asked of a table.

    Parameters
    ----------
    condition : for Arrow; ``None``: every row
    columns : those it looks at
    values : of columns that must equal one of some values whatever else is asked; files are chosen by them
    """

    condition: pc.Expression | None
    columns: frozenset[str]
    values: Mapping[str, frozenset[Any]]

    def allows(self, column: str | None, value: str) -> bool:
        """Return whether rows with this value in this column can be wanted."""
        return column is None or column not in self.values or value in self.values[column]


def parse(table: Table, filters: Filters | None, keys: Mapping[str, Any]) -> Filter:
    """Return what filters and keys (all of them must hold) ask of a table.

    Parameters
    ----------
    table : the schema
    filters : a mapping from column to a value or a list of values; or conditions ``(column, operator, value)``, all of
        which must hold; or lists of such conditions, one of which must hold
    keys : column to a value or a list of values

    Raises
    ------
    UnknownNameError, ParameterError
        An unknown column or operator, or a value that does not fit its column.
    """
    always = [_equal(name, value) for name, value in keys.items()]
    branches: list[list[Condition]] = [[]]
    if isinstance(filters, Mapping):
        always += [_equal(name, value) for name, value in filters.items()]
    elif filters:
        branches = [list(filters)] if isinstance(filters[0], tuple) else [list(branch) for branch in filters]
    always += branches.pop() if len(branches) == 1 else []
    expressions = [_expression(table, condition) for condition in always]
    if branches:
        either = [[_expression(table, condition) for condition in branch] for branch in branches]
        expressions.append(functools.reduce(operator.or_, [functools.reduce(operator.and_, each) for each in either]))
    looked_at = {condition[0] for branch in (always, *branches) for condition in branch}
    condition = functools.reduce(operator.and_, expressions) if expressions else None
    return Filter(condition, frozenset(looked_at), _values(always))


def _equal(name: str, value: Any) -> Condition:
    is_one = value is None or isinstance(value, str | bytes) or not hasattr(value, "__iter__")
    return (name, "in", [value] if is_one else list(value))


def _expression(table: Table, condition: Any) -> pc.Expression:
    if not isinstance(condition, tuple) or len(condition) != 3:
        raise ParameterError(f"a filter is (column, operator, value), not {condition!r}")
    name, sign, value = condition
    column = table[name]
    if sign not in _OPERATORS:
        raise ParameterError(str(unknown_name("operator of a filter:", str(sign), _OPERATORS)))
    if pa.types.is_nested(column.type) and value not in (None, [], [None]):
        raise ParameterError(f"filter on {table.name}.{name}: it can only be asked whether there is one (None)")
    try:
        if sign in ("in", "not in"):
            among = _is_among(column, list(value))
            return among if sign == "in" else ~among
        if value is None and sign in ("==", "=", "!="):
            return pc.field(name).is_valid() if sign == "!=" else pc.field(name).is_null()
        return _COMPARISONS[sign](pc.field(name), pa.scalar(value, column.type))
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise ParameterError(f"filter {condition!r} on {table.name} ({name} is {column.type}): {error}") from error


def _is_among(column: Column, values: list[Any]) -> pc.Expression:
    field, present = pc.field(column.name), [each for each in values if each is not None]
    if not present:
        return field.is_null() if values else pc.scalar(value=False)
    among = field.isin(pa.array(present, column.type))
    return among | field.is_null() if len(present) < len(values) else among


def _values(conditions: Sequence[Condition]) -> dict[str, frozenset[Any]]:
    values: dict[str, frozenset[Any]] = {}
    for name, sign, value in conditions:
        if sign in ("==", "=", "in"):
            allowed = frozenset([value] if sign != "in" else value)
            values[name] = values.get(name, allowed) & allowed
    return values
