"""What the report shows and where: data sets, the methods run on each, networks, classes, a folder for each pair."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from xvcore.errors import StoreError, unknown_name
from xvcore.keys import digest
from xvcore.query import table
from xvcore.report.names import page_name, page_names
from xvcore.report.wording import records
from xvcore.store import Store

N_COLOURS = 8
SUMMARIES, EVIDENCE, UNITS = "visual-summaries", "evidence", "top-activations"
METHODS = (SUMMARIES, EVIDENCE, UNITS)
"""Methods that have pages, in the order in which they are shown."""
_FOLDERS = {SUMMARIES: "", EVIDENCE: "evidence/", UNITS: "units/"}
"""Where the folders of a method's networks are; the first method's came first, and stay where they were."""


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
    page : where its networks are compared; ``None`` where the method has no such page
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
    sections : of the methods that have pages, in their order; then of others, whose runs are only listed
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

    def related(self, section: Section, class_id: str) -> list[tuple[str, Entry]]:
        """Return what other methods have of a class, as (method, entry)."""
        return [
            (other.method, entry)
            for other in self.sections
            if other is not section and other.method in (SUMMARIES, EVIDENCE)
            for topic in other.topics
            if topic.class_id == class_id
            for entry in topic.entries
        ]


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
    """Return the folder of each run, oldest run of its method first."""
    models: dict[str, list[str]] = {}
    for run in runs:
        models.setdefault(str(run["method"]), []).append(str(run["model"]))
    names = {method: page_names(dict.fromkeys(of_method)) for method, of_method in models.items()}
    seen = {prefix.removesuffix("/") for prefix in _FOLDERS.values()}
    folders = {}
    for run in runs:
        method, model = str(run["method"]), str(run["model"])
        name = _FOLDERS.get(method, f"{page_name(method)}/") + names[method][model]
        folders[str(run["run_id"])] = f"{name}~{digest(run['run_id'], 6)}" if name.casefold() in seen else name
        seen.add(name.casefold())
    return folders


def _chapter(
    store: Store,
    key: tuple[str, str | None],
    runs: Sequence[Mapping[str, Any]],
    folders: Mapping[str, str],
    taken: set[str],
) -> Chapter:
    methods = sorted(
        dict.fromkeys(str(run["method"]) for run in runs),
        key=lambda method: METHODS.index(method) if method in METHODS else len(METHODS),
    )
    colours: dict[str, int] = {}
    of_method = {
        method: _networks([run for run in runs if run["method"] == method], folders, colours) for method in methods
    }
    class_runs = {network.run_id: _class_runs(store, network) for each in of_method.values() for network in each}
    class_names = _class_names(store, key[0], class_runs.values())
    sections = tuple(
        _section(method, networks, class_runs, class_names, _Pages(key, taken if method == SUMMARIES else None))
        for method, networks in of_method.items()
    )
    return Chapter(*key, sections, class_names)


def _networks(
    runs: Sequence[Mapping[str, Any]], folders: Mapping[str, str], colours: dict[str, int]
) -> tuple[Network, ...]:
    """Return the columns of a section; a network keeps the colour of its first run in the sections before."""
    titles = _titles(runs)
    networks: list[Network] = []
    for index, run in enumerate(runs):
        run_id, model = str(run["run_id"]), str(run["model"])
        is_first = model not in {network.model for network in networks}
        colour = colours.get(model, index) if is_first else index
        colours.setdefault(model, colour)
        networks.append(Network(run, titles[run_id], folders[run_id], colour % N_COLOURS))
    return tuple(networks)


@dataclass(frozen=True, slots=True)
class _Pages:
    """Pages that compare networks: which data set, and the names that other data sets have taken."""

    key: tuple[str, str | None]
    taken: set[str] | None

    def page(self, name: str) -> str | None:
        if self.taken is None:
            return None
        return f"compare/{name}.html" if name not in self.taken else f"compare/{name}~{digest([*self.key], 6)}.html"


def _section(
    method: str,
    networks: tuple[Network, ...],
    class_runs: Mapping[str, Mapping[str, Mapping[str, Any]]],
    class_names: Mapping[str, str],
    pages: _Pages,
) -> Section:
    asked = {class_id for network in networks for class_id in class_runs[network.run_id]}
    names = page_names(class_id for class_id in class_names if class_id in asked)
    topics = []
    for class_id in sorted(asked, key=lambda each: (class_names[each].casefold(), each)):
        name = names[class_id]
        entries = tuple(
            Entry(network, class_id, class_runs[network.run_id][class_id], f"{network.folder}/{name}")
            for network in networks
            if class_id in class_runs[network.run_id]
        )
        topics.append(Topic(class_id, class_names[class_id], name, pages.page(name), entries))
    if pages.taken is not None:
        pages.taken.update(names.values())
    return Section(method, networks, tuple(topics))


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
