"""What the report shows and where: read from the tables of runs, classes and records before any page is written."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from xvcore.errors import DamagedError, StoreError, unknown_name
from xvcore.keys import digest
from xvcore.query import table
from xvcore.report.chapters import Chapter, Entry, Network, Section, Topic
from xvcore.report.family import families, name_of_network
from xvcore.report.names import page_name, page_names
from xvcore.report.wording import records
from xvcore.runs.pipeline import in_order
from xvcore.store import Store

logger = logging.getLogger(__name__)
N_COLOURS = 8


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
    taken: dict[str, set[str]] = {}
    return tuple(_chapter(store, key, group, folders, taken) for key, group in grouped.items())


def _folders(runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the folder of each run, oldest run of its method first."""
    models: dict[str, list[str]] = {}
    for run in runs:
        models.setdefault(str(run["method"]), []).append(str(run["model"]))
    names = {method: page_names(dict.fromkeys(of_method)) for method, of_method in models.items()}
    seen = {families[name].folder.removesuffix("/") for name in families}
    folders = {}
    for run in runs:
        method, model = str(run["method"]), str(run["model"])
        family = families.get(method)
        parent = family.folder if family else f"{page_name(method)}/"
        name = parent + names[method][model]
        folders[str(run["run_id"])] = f"{name}~{digest(run['run_id'], 6)}" if name.casefold() in seen else name
        seen.add(name.casefold())
    return folders


def _chapter(
    store: Store,
    key: tuple[str, str | None],
    runs: Sequence[Mapping[str, Any]],
    folders: Mapping[str, str],
    taken: dict[str, set[str]],
) -> Chapter:
    methods = sorted(in_order({str(run["method"]) for run in runs}), key=lambda method: method not in families)
    colours: dict[str, int] = {}
    of_method = {
        method: _networks([run for run in runs if run["method"] == method], folders, colours) for method in methods
    }
    class_runs = {network.run_id: _class_runs(store, network) for each in of_method.values() for network in each}
    class_names = _class_names(store, key[0], class_runs.values())
    sections = tuple(
        _section(method, networks, class_runs, class_names, _pages(method, key, taken))
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
    """Pages that compare networks: the folder they are in, which data set, and names that other data sets have taken.

    ``folder`` is None where the family has no such pages.
    """

    folder: str | None
    key: tuple[str, str | None]
    taken: set[str] = field(default_factory=set)

    def page(self, name: str) -> str | None:
        if self.folder is None:
            return None
        return (
            f"{self.folder}{name}.html"
            if name not in self.taken
            else f"{self.folder}{name}~{digest([*self.key], 6)}.html"
        )


def _pages(method: str, key: tuple[str, str | None], taken: dict[str, set[str]]) -> _Pages:
    family = families.get(method)
    if family is None or family.comparison is None:
        return _Pages(None, key)
    return _Pages(f"{family.folder}compare/", key, taken.setdefault(method, set()))


def _section(
    method: str,
    networks: tuple[Network, ...],
    class_runs: Mapping[str, Mapping[str, Mapping[str, Any]]],
    class_names: Mapping[str, str],
    pages: _Pages,
) -> Section:
    asked = {class_id for network in networks for class_id in class_runs[network.run_id]}
    names = page_names(class_id for class_id in class_names if class_id in asked)
    folder = families[method].class_folder if method in families else ""
    topics = []
    for class_id in sorted(asked, key=lambda each: (class_names[each].casefold(), each)):
        name = names[class_id]
        entries = tuple(
            Entry(network, class_id, class_runs[network.run_id][class_id], f"{network.folder}/{folder}{name}")
            for network in networks
            if class_id in class_runs[network.run_id]
        )
        topics.append(Topic(class_id, class_names[class_id], name, pages.page(name), entries))
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
    of_dataset = _names_of(store, dataset)
    names: dict[str, str] = {}
    for of_run in class_runs:
        for class_id, record in of_run.items():
            names[class_id] = str(
                of_dataset.get(class_id) or record.get("class_name") or names.get(class_id) or class_id
            )
    return names


def _names_of(store: Store, dataset: str) -> dict[str, str]:
    """Return the names that a data set gives its classes; without those whose file is damaged, which the log names."""
    keys = {"dataset": dataset}
    try:
        return _names_in(store, keys)
    except DamagedError as error:
        classes = store.classes_of("classes", dataset)
        if not classes:
            logger.warning("%s", error)
    names: dict[str, str] = {}
    for class_id in classes:
        try:
            names.update(_names_in(store, {**keys, "class_id": class_id}))
        except DamagedError as error:
            logger.warning("%s", error)
    return names


def _names_in(store: Store, wanted: Mapping[str, str]) -> dict[str, str]:
    rows: pd.DataFrame = table(store, "classes", filters=wanted, columns=["class_id", "class_name"])
    return dict(zip(rows["class_id"], rows["class_name"], strict=True))


def _titles(runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return a title for each run of a section: its name; where two have the same, with what differs."""
    family = families.get(str(runs[0]["method"])) if runs else None
    name_of = family.name_of if family else name_of_network
    names = {str(run["run_id"]): name_of(run) for run in runs}
    titles = {}
    for run in runs:
        run_id = str(run["run_id"])
        others = [other for other in runs if names[str(other["run_id"])] == names[run_id]]
        titles[run_id] = names[run_id] + (f" ({_difference(run, others)})" if len(others) > 1 else "")
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
