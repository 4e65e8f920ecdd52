"""What a report is made of: data sets, the methods run on each, networks, classes, a folder for each pair."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Network:
    """A run as a column of the report.

    Parameters
    ----------
    run : its row of ``runs``
    title : the network's name, with what tells the run from others of the network on the same data
    folder : of its pages
    colour : which of the networks' colours, 0 … 7
    """

    run: Mapping[str, Any]
    title: str
    folder: str
    colour: int

    @property
    def run_id(self) -> str:
        """Identity of the run."""
        return str(self.run["run_id"])

    @property
    def model(self) -> str:
        """The key column."""
        return str(self.run["model"])

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input in pixels."""
        stated = json.loads(self.run["env"] or "{}").get("preprocessing", {}).get("input_px")
        side = int(self.run["input_px"] or 224)
        return (int(stated[0]), int(stated[1])) if stated else (side, side)


@dataclass(frozen=True, slots=True)
class Entry:
    """A class as one network sees it.

    Parameters
    ----------
    network : the run
    class_id : of the class
    record : row of ``class_runs``; empty where the class has not begun
    folder : of its pages
    """

    network: Network
    class_id: str
    record: Mapping[str, Any]
    folder: str

    @property
    def page(self) -> str:
        """The page of the pair."""
        return f"{self.folder}/index.html"

    @property
    def status(self) -> str:
        """``complete``, ``failed``, ``skipped``, ``running``, or ``pending``."""
        return str(self.record.get("status") or "pending")


@dataclass(frozen=True, slots=True)
class Topic:
    """A class of a data set.

    Parameters
    ----------
    class_id, class_name : of the class
    name : what its pages and folders are called
    page : where its networks are compared; ``None`` where the family has no such page
    entries : one a network that was asked for it
    """

    class_id: str
    class_name: str
    name: str
    page: str | None
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A method on a data set: the networks that were run, and their classes by name."""

    method: str
    networks: tuple[Network, ...]
    topics: tuple[Topic, ...]


@dataclass(frozen=True, slots=True)
class Chapter:
    """A data set (one split of it), and what was run on it: a section a method.

    Parameters
    ----------
    dataset, split : the data
    sections : of the families that have pages, in their order; then of other methods, whose runs are only listed
    class_names : of all classes, by id
    """

    dataset: str
    split: str | None
    sections: tuple[Section, ...]
    class_names: Mapping[str, str]

    @property
    def networks(self) -> tuple[Network, ...]:
        """All runs."""
        return tuple(network for section in self.sections for network in section.networks)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A page before or after another."""

    page: str
    name: str


Neighbours = tuple[Neighbour | None, Neighbour | None]
"""The pages before and after."""
