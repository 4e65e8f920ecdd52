"""Numbers as a reader wants them: short, with a unit, a dash where there is none."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

NONE = "–"
SMALL = 0.001
"""Below it a p value is only said to be small."""
_THIN = "\u202f"  # narrow space that does not break
_MINUTE, _HOUR = 60.0, 3600.0


def percent(value: float | int | None) -> str:
    """Return a share in per cent, whole; what is more than nothing is never shown as nothing, nor is 0 negative."""
    if value is None:
        return NONE
    hundredths = 100 * value
    if 0 < hundredths < 0.5:
        return f"<1{_THIN}%"
    if -0.5 < hundredths < 0:
        return f"0{_THIN}%"
    if 99.5 <= hundredths < 100:
        return f">99{_THIN}%"
    return f"{hundredths:.0f}{_THIN}%".replace("-", "−")


def decimal(value: float | int | None, digits: int = 2) -> str:
    """Return a number with so many digits after the point; 0 is not negative."""
    return NONE if value is None else f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def with_interval(
    value: float | None, low: float | None, high: float | None, say: Callable[[float | None], str] = decimal
) -> str:
    """Return a number with its 95 % interval, where there is one."""
    is_known = value is not None and low is not None and high is not None
    return f"{say(value)} ({say(low)} to {say(high)})" if is_known else say(value)


def p_number(value: float | None) -> str:
    """Return a p value as a table has it: 0.031, 0.42, < 0.001."""
    if value is None:
        return NONE
    if value < SMALL:
        return f"<\u00a0{SMALL}"
    return f"{value:.3f}" if value < 0.0995 else f"{value:.2f}"


def p_words(value: float | None) -> str:
    """Return a p value as a sentence has it, in one piece: p = 0.031, p = 0.42, p < 0.001."""
    number = p_number(value)
    return f"p\u00a0=\u00a0{number}" if number[0].isdigit() else f"p\u00a0{number}"


def count(value: float | int | None) -> str:
    """Return a whole number with its thousands set apart."""
    return NONE if value is None else f"{int(value):,}".replace(",", _THIN)


def duration(seconds: float | int | None) -> str:
    """Return a time in the two units that say most."""
    if seconds is None:
        return NONE
    if round(seconds) < _MINUTE:
        return f"{seconds:.0f}{_THIN}s" if seconds >= 10 else f"{seconds:.1f}{_THIN}s"
    size, of, unit, small = (_MINUTE, 1.0, "min", "s") if round(seconds) < _HOUR else (_HOUR, _MINUTE, "h", "min")
    whole, rest = divmod(round(seconds / of), round(size / of))
    return f"{whole}{_THIN}{unit}" + (f" {rest}{_THIN}{small}" if rest else "")


def plural(number: float | int | None, one: str, many: str | None = None) -> str:
    """Return the number with its noun."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def pretty(text: str | Mapping[str, Any] | None) -> str:
    """Return JSON indented; what is no JSON as it is."""
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return str(text)
    return "" if value is None else json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as mappings of plain Python values; a missing one is ``None``, whatever pandas calls it."""
    return [{str(name): plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def plain(value: Any) -> Any:
    """Return a cell as a plain Python value; NaN, NA and NaT are ``None``."""
    if isinstance(value, np.ndarray | list | dict | str | bytes):
        return value
    if value is None or pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def median(values: pd.Series) -> float | None:
    """Return the median of those that are there; ``None`` where none is."""
    present = values.dropna()
    return float(present.median()) if len(present) else None


def mean(values: pd.Series) -> float | None:
    """Return the mean of those that are there; ``None`` where none is."""
    present = values.dropna()
    return float(present.mean()) if len(present) else None
