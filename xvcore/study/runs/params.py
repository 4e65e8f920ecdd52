"""Parameters as a run's row has them, as changes of settings: dotted names and values."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def flat_params(params: str) -> dict[str, Any]:
    """Return the values of nested JSON by dotted names."""
    return dict(_flat(json.loads(params), ""))


def _flat(values: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value
