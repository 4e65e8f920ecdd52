"""A class in the eyes of all networks that were run on it: what a family's page of it is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xvcore.report.chapters import Entry, Neighbours, Topic
from xvcore.report.renderer import Renderer
from xvcore.store import Store


@dataclass(frozen=True, slots=True)
class Side:
    """A column: the entry, its card, and its images by id."""

    entry: Entry
    card: Mapping[str, Any]
    images: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A class, the page's path, the networks, and the classes before and after."""

    topic: Topic
    page: str
    sides: Sequence[Side]
    neighbours: Neighbours


ComparisonPage = Callable[[Store, Renderer, Comparison, str], str]
"""Returns the text of a page; the last argument is the digest of what decides it, to be found in its head."""
