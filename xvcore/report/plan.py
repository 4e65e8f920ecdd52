"""What the report shows and where: the networks, the classes of their data sets, and a folder for each pair."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from xvcore.errors import StoreError, unknown_name
from xvcore.keys import digest
from xvcore.query import table
from xvcore.report.names import page_names
from xvcore.report.wording import records
from xvcore.store import Store

N_COLOURS = 8


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
    page : where its networks are compared
    entries : one a network that was asked for it
    """

    class_id: str
    class_name: str
    name: str
    page: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Chapter:
    """A data set (one split of it), the networks that were run on it, and its classes by name."""

    dataset: str
    split: str | None
    networks: tuple[Network, ...]
    topics: tuple[Topic, ...]


def read_plan(store: Store, run_ids: Sequence[str] | None) -> tuple[Chapter, ...]:
    """Return the chapters of a report, one a data set.

    A network's first run keeps the plain folder for ever, later ones get a digest: addresses do not change when runs
    are added, nor with the choice of runs.

    Parameters
    ----------
    store : with the tables ``runs``, ``class_runs`` and ``classes``
    run_ids : runs to be shown; ``None``: all

    Raises
    ------
    StoreError
        Nothing was ever written to the store, or a run that it does not have.
    """
    if not store.exists():
        raise StoreError(f"nothing was ever written to {store.url}: there is nothing to report")
    runs = records(store.runs())
    known = [str(run["run_id"]) for run in runs]
    for run_id in run_ids or ():
        if run_id not in known:
            raise StoreError(str(unknown_name(f"run in {store.url}:", run_id, known)))
    folders = _folders(runs)
    shown = [run for run in runs if run_ids is None or run["run_id"] in run_ids]
    grouped: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
    for run in shown:
        grouped.setdefault((str(run["dataset"]), run["split"]), []).append(run)
    taken: set[str] = set()
    return tuple(_chapter(store, key, group, folders, taken) for key, group in grouped.items())


def _folders(runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the folder of each run, oldest run first."""
    names = page_names(dict.fromkeys(str(run["model"]) for run in runs))
    seen: set[str] = set()
    folders = {}
    for run in runs:
        name = names[str(run["model"])]
        folders[str(run["run_id"])] = f"{name}~{digest(run['run_id'], 6)}" if name in seen else name
        seen.add(name)
    return folders


def _chapter(
    store: Store,
    key: tuple[str, str | None],
    runs: Sequence[Mapping[str, Any]],
    folders: Mapping[str, str],
    taken: set[str],
) -> Chapter:
    titles = _titles(runs)
    networks = tuple(
        Network(run, titles[str(run["run_id"])], folders[str(run["run_id"])], index % N_COLOURS)
        for index, run in enumerate(runs)
    )
    class_runs = {network.run_id: _class_runs(store, network) for network in networks}
    class_names = _class_names(store, key[0], class_runs.values())
    names = page_names(class_names)
    topics = []
    for class_id in sorted(class_names, key=lambda each: (class_names[each].casefold(), each)):
        name = names[class_id]
        page = f"compare/{name}.html" if name not in taken else f"compare/{name}~{digest([*key], 6)}.html"
        entries = tuple(
            Entry(network, class_id, class_runs[network.run_id][class_id], f"{network.folder}/{name}")
            for network in networks
            if class_id in class_runs[network.run_id]
        )
        topics.append(Topic(class_id, class_names[class_id], name, page, entries))
    taken.update(names.values())
    return Chapter(*key, networks, tuple(topics))


def _class_runs(store: Store, network: Network) -> dict[str, Mapping[str, Any]]:
    """Return the record of each class of a run; an empty one of a class that was asked for and has not begun."""
    asked = network.run["class_ids"]
    found: dict[str, Mapping[str, Any]] = {str(class_id): {} for class_id in ([] if asked is None else asked)}
    rows = records(table(store, "class_runs", run_id=network.run_id))
    return {**found, **{str(row["class_id"]): row for row in rows}}


def _class_names(store: Store, dataset: str, class_runs: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, str]:
    """Return the name of each class of a chapter: as the data set has it, else as a run has it, else the id."""
    classes: pd.DataFrame = table(store, "classes", filters={"dataset": dataset}, columns=["class_id", "class_name"])
    of_dataset = dict(zip(classes["class_id"], classes["class_name"], strict=True))
    names: dict[str, str] = {}
    for of_run in class_runs:
        for class_id, record in of_run.items():
            names[class_id] = str(
                of_dataset.get(class_id) or record.get("class_name") or names.get(class_id) or class_id
            )
    return names


def _titles(runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return a title for each run of a chapter: the network; where it was run twice, with what differs."""
    titles = {}
    for run in runs:
        others = [other for other in runs if other["model"] == run["model"]]
        titles[str(run["run_id"])] = str(run["model"]) + (f" ({_difference(run, others)})" if len(others) > 1 else "")
    return titles


def _difference(run: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    """Return up to two parameters that not all runs share, with the run's values, or the end of its id."""
    flat = [dict(_flat(_loaded(other["params"]))) for other in others]
    mine = dict(_flat(_loaded(run["params"])))
    names = sorted({name for each in flat for name in each if any(other.get(name) != each[name] for other in flat)})
    parts = [f"{name}={mine.get(name)}" for name in names[:2]]
    is_unique = sum(all(each.get(name) == mine.get(name) for name in names[:2]) for each in flat) == 1
    return ", ".join(parts if parts and is_unique else [*parts, str(run["run_id"])[-6:]])


def _loaded(text: str | None) -> Any:
    return json.loads(text) if text else {}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else str(name))
    else:
        yield path, value if isinstance(value, str | int | float | bool | None) else json.dumps(value)


def shared_folder(run: Mapping[str, Any], topic_name: str) -> str:
    """Return the folder of a class's pictures; networks that see the same pixels share it."""
    env = _loaded(run["env"])
    preprocessing = {name: value for name, value in env.get("preprocessing", {}).items() if name not in ("mean", "std")}
    seen = digest([run["dataset"], run["split"], run["input_px"], preprocessing], 8)
    return f"images/{seen}/{topic_name}"
