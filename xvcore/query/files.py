"""Which files hold a table: of each run the published file or the parts, never both."""

from collections.abc import Callable, Set
from dataclasses import dataclass
from urllib.parse import unquote

from xvcore.keys import file_name
from xvcore.store import Store, Table

_SUFFIX = ".parquet"


@dataclass(frozen=True, slots=True)
class File:
    """A file of a table.

    Parameters
    ----------
    path : relative to the store
    is_published : whether it holds all classes of its run, and is large
    """

    path: str
    is_published: bool


def files(
    store: Store,
    table: Table,
    is_owner_wanted: Callable[[str], bool] = lambda _: True,
    is_class_wanted: Callable[[str], bool] = lambda _: True,
    published: Set[str] | None = None,
) -> list[File]:
    """Return the files of a table, sorted by owner (run, data set or cache) and class.

    A run's published file counts once its row says so (and where its parts are not there at all: a copy of
    ``tables/`` alone is a store); where it was lost, the parts do. What belongs to no run is read from its parts as
    long as there are any. ``published``: the runs whose rows say so; None: those are read that are wanted.
    """
    if table.name == "runs":
        return _run_files(store, is_owner_wanted)
    parts = {unquote(name) for name in store.place.names(f"parts/{table.name}")}
    joined = _keys(store, f"tables/{table.name}")
    has_runs = table.owner == "run_id" and table.is_published
    is_published = store.is_published if published is None else published.__contains__
    found: list[File] = []
    for owner in sorted(filter(is_owner_wanted, parts | joined)):
        if owner in joined and (owner not in parts or (has_runs and is_published(owner))):
            found.append(File(f"tables/{table.name}/{file_name(owner)}{_SUFFIX}", is_published=True))
        else:
            folder = f"parts/{table.name}/{file_name(owner)}"
            names = filter(is_class_wanted, store.classes_of(table.name, owner))
            found.extend(File(f"{folder}/{file_name(name)}{_SUFFIX}", is_published=False) for name in names)
    return found


def published_runs(store: Store) -> set[str]:
    """Return the runs of which the published files count."""
    runs = store.runs()
    return set(runs["run_id"][runs["published"]])


def _run_files(store: Store, is_wanted: Callable[[str], bool]) -> list[File]:
    where = {
        **dict.fromkeys(_keys(store, "tables/runs"), "tables"),
        **dict.fromkeys(_keys(store, "parts/runs"), "parts"),
    }
    names = sorted(filter(is_wanted, where))
    return [File(f"{where[name]}/runs/{file_name(name)}{_SUFFIX}", is_published=False) for name in names]


def _keys(store: Store, folder: str) -> set[str]:
    return {unquote(name.removesuffix(_SUFFIX)) for name in store.place.names(folder) if name.endswith(_SUFFIX)}
