"""What a family, or an analysis, does with a class: stages in their order, and what they leave."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import pandas as pd

from xvcore.data import Batch
from xvcore.models import Classifier
from xvcore.registry import Registry
from xvcore.runs.thumbnails import Thumbnail
from xvcore.store.schema import Growth
from xvcore.types import Scores

if TYPE_CHECKING:
    from xvcore.runs.run import Progress, Run


DONE = ("complete", "skipped")
"""How a class ends that needs no more work."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What every class adds to a summary over all classes of a run; see :mod:`xvcore.runs.summaries`.

    Parameters
    ----------
    table : of its pieces
    filled : a column that is filled where an image counts
    cells : value to the columns of the table
    value : run and columns to the value
    merge : the values of disjoint images to that of all; commutes and associates exactly
    before : table of the parts, one a class, that older versions kept instead of pieces
    older : reads such a part of a class; None where no image counts
    """

    table: str
    filled: str
    cells: Callable[[Any], dict[str, Any]]
    value: Callable[["Run[Any]", Mapping[str, Any]], Any]
    merge: Callable[[Any, Any], Any]
    before: str
    older: Callable[["Run[Any]", str], Any]


@runtime_checkable
class Looker(Protocol):
    """Does the work of a stage on passes of the network over batches, whoever asked for the pass: *predict*, or itself.

    For each batch first :meth:`look`, then :meth:`take`.
    """

    def look(self, batch: Batch) -> Scores:
        """Return the network's scores of a batch, and remember what is needed of the pass."""
        ...

    def take(self, kept: Sequence[int], predicted: Sequence[int]) -> None:
        """Take over the images of the batch that count: places in the batch, and the output that each is taken for."""
        ...


@dataclass(frozen=True, slots=True)
class Stage:
    """A verb and the tables that it writes; where the class has them whole, the stage is done.

    Parameters
    ----------
    verb : its name
    table : what it writes last; None for a stage that adds to a summary alone, or that looks into a cache of its own
        and is never skipped
    work : does it for a class, and returns what it counted
    growth : what its time is proportional to
    also : tables that it writes of every class before ``table``: a part without rows is a part too
    drafts : tables that it keeps while it works, and removes at the end
    alters : tables of an earlier stage that it writes anew: what lies between cannot be done again from them
    summary : what it adds to, before it writes ``table``
    looker : begins it for a class on the passes that *predict* makes, where it comes next; see :mod:`xvcore.runs.along`
    """

    verb: str
    table: str | None
    work: Callable[["Run[Any]", str, "Progress | None"], int]
    growth: Growth = "images"
    also: tuple[str, ...] = ()
    drafts: tuple[str, ...] = ()
    alters: tuple[str, ...] = ()
    summary: Summary | None = None
    looker: Callable[["Run[Any]", str], Looker] | None = None

    @property
    def tables(self) -> tuple[str, ...]:
        """What every class has once the stage is done, the last one last."""
        return (*self.also, self.table) if self.table else ()


@dataclass(frozen=True, slots=True)
class Counts:
    """What the stages left of a class.

    Parameters
    ----------
    n_read : images that could be read
    n_used : of these, those that passed the gate
    columns : further columns of ``class_runs``
    """

    n_read: int
    n_used: int
    columns: dict[str, int]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What a family, or an analysis, does with a class, and with a run once its classes are done.

    Parameters
    ----------
    settings : every parameter, a type of :class:`Settings`; its ``method`` is the pipeline's name in the registry
    stages : in their order
    count : counts what the stages of a class left
    gather : joins what the classes left into the tables of the whole run; None where every table is of a class
    gathers_by : what the time of that is proportional to: the classes, or nothing: it is the same for every run
    pictures : yields what the run found, most telling first, given the rows of ``class_runs`` of its complete classes;
        it is asked for a few and reads no more than these need
    pictures_of_all : the same for what several networks show only together
    caches : owner of the parts that a run shares with others, by table
    joins_last : the table that ``gather`` writes last and does nothing where it is; None where it looks itself
    check : refuses a network that the method is not for, before anything is computed
    fits : asks a network, by what it is asked for: a method or a rule; returns what is found there, XvError with the
        reason where there is nothing
    lost : returns the parts that ``gather`` writes, as table and shard, whose files beside the tables are lost
    order : place in lists and on pages, the lowest first; equals go by name
    """

    settings: type[Any]
    stages: tuple[Stage, ...]
    count: Callable[["Run[Any]", str], Counts]
    gather: Callable[["Run[Any]"], None] | None = None
    gathers_by: Literal["class", "run"] = "run"
    pictures: Callable[["Run[Any]", pd.DataFrame], Iterator[Thumbnail]] | None = None
    pictures_of_all: Callable[["Sequence[Run[Any]]"], Iterator[Thumbnail]] | None = None
    caches: Callable[["Run[Any]"], Mapping[str, str]] | None = None
    joins_last: str | None = None
    check: Callable[["Run[Any]"], None] | None = None
    fits: Mapping[str, Callable[[Classifier], str]] = field(default_factory=dict)
    lost: Callable[["Run[Any]"], list[tuple[str, str]]] | None = None
    order: int = 100


pipelines: Registry[Pipeline] = Registry("method", "xvcore.*.pipeline", is_final=True)
"""The pipeline of each family and analysis, under the name that its settings give."""


def import_pipeline(settings: type[Any]) -> None:
    """Import the pipeline that lies beside the settings of a family: no other family need be imported for its runs.

    Where there is none beside them, all are imported as soon as one is asked for.
    """
    package, _, _ = settings.__module__.rpartition(".")
    module = f"{package}.pipeline"
    if package and importlib.util.find_spec(module):
        importlib.import_module(module)


def needed(method: str) -> tuple[str, ...]:
    """Return the tables that every complete class of a method has a part of; none where the method is not known."""
    stages = pipelines[method].stages if method in pipelines else ()
    return tuple(table for stage in stages for table in stage.tables)
