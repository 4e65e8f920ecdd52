"""What can be named on the command line, and how tables are printed there."""

import dataclasses
import fnmatch
import glob
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xvcore.errors import XvError, unknown_name

if TYPE_CHECKING:
    import pandas as pd


def show_table(frame: "pd.DataFrame", title: str) -> None:
    """Print a table: drawn on a terminal, plain lines elsewhere."""
    from pandas import isna
    from pandas.api.types import is_scalar

    console = Console()
    if not console.is_terminal:
        console.file.write(f"{frame.to_string(index=False)}\n")
        return
    # Text is shown as it is: square brackets and colons of a string would be taken for markup and emoji.
    table = Table(title=Text(title))
    for column in frame.columns:
        table.add_column(Text(str(column)), justify="right" if frame[column].dtype.kind in "if" else "left")
    for row in frame.itertuples(index=False):
        table.add_row(*(Text("" if is_scalar(value) and isna(value) else str(value)) for value in row))
    console.print(table)


def listing(
    kind: str, dataset: str, model: str | None = None, like: str | None = None, *, fits: bool = False
) -> Iterator[str]:
    """Yield one line per name of a kind: datasets, architectures, …, classes (of a dataset) or parameters.

    With ``model``, of architectures those that take weights files of this one too, with what they compute otherwise;
    with ``like``, only lines that have these letters, or that this pattern of ``*`` and ``?`` fits; capitals or not.
    With ``fits`` each of them is followed by what can be done with it, asked of the network: seconds for each.
    """
    if fits:
        if kind != "architectures":
            raise XvError(f"--fits belongs to `xv list architectures`, not to {kind}")
        from flows.fits import fit_lines

        return fit_lines(line.partition("\t")[0] for line in listing(kind, dataset, model, like))
    if model is not None and kind != "architectures":
        raise XvError(f"--model {model!r} belongs to `xv list architectures`, not to {kind}")
    return _like(like, _listed(kind, dataset, model))


def _like(pattern: str | None, lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines of which the name, or what is said of it, fits; an error where none does."""
    if pattern is None:
        yield from lines
        return
    wanted = pattern.lower() if any(sign in pattern for sign in "*?[") else f"*{glob.escape(pattern.lower())}*"
    known: list[str] = []
    is_found = False
    for line in lines:
        known.append(line.partition("\t")[0])
        if any(fnmatch.fnmatchcase(text, wanted) for text in (line.lower(), known[-1].lower())):
            is_found = True
            yield line
    if not is_found:
        raise unknown_name("name like", pattern, known)


def kinds() -> list[str]:
    """Return the kinds of names that can be listed."""
    return list(_kinds("", None))


def _listed(kind: str, dataset: str, model: str | None) -> Iterator[str]:
    known = _kinds(dataset, model)
    if kind not in known:
        raise unknown_name("kind of names", kind, known)
    return known[kind]()


def _kinds(dataset: str, model: str | None) -> dict[str, Callable[[], Iterator[str]]]:
    return {
        "datasets": _datasets,
        "architectures": _architectures if model is None else lambda: _siblings(model),
        "methods": _methods,
        "analyses": _analyses,
        "classes": lambda: _classes(dataset),
        "exports": _exports,
        "parameters": _parameters,
        "plugins": _plugins,
    }


def _datasets() -> Iterator[str]:
    from xvcore.data import datasets

    yield from datasets


def _architectures() -> Iterator[str]:
    """Yield every network that can be named: registered ones, torchvision's, and timm's where it is installed."""
    from xvcore.models import catalogue, timm

    yield from catalogue.names()
    yield from timm.names()


def _siblings(name: str) -> Iterator[str]:
    from xvcore.models import catalogue
    from xvcore.models.siblings import siblings
    from xvcore.models.weights import draw

    architecture = catalogue.find(name)
    found = siblings(architecture, draw(architecture.build, architecture.n_classes, 0), architecture.n_classes)
    for each in found:
        yield f"{each.name}\t{', '.join(each.differences)}"
    if not found:
        yield f"no network of a name like {name} takes its weights files and computes otherwise"


def _methods() -> Iterator[str]:
    from xvcore.methods import methods

    yield from methods


def _analyses() -> Iterator[str]:
    from xvcore.analyses.analysis import analyses

    for name in analyses:
        yield f"{name}\t{analyses[name].summary}"


def _exports() -> Iterator[str]:
    from xvcore.export import exporters

    for name in exporters:
        yield f"{name}\t{exporters[name].summary}"


def _classes(dataset: str) -> Iterator[str]:
    from xvcore.data import open_dataset

    for info in open_dataset(dataset).classes:
        yield f"{info.class_id}\t{info.class_name}"


def _parameters() -> Iterator[str]:
    from xvcore.runs.pipeline import in_order
    from xvcore.runs.stage import pipelines

    for method in in_order(pipelines):
        yield f"# {method}"
        yield from _described("", pipelines[method].settings())


def _plugins() -> Iterator[str]:
    """Yield each plug-in with what brings it, and why it is left out where it cannot be imported; all are tried."""
    from xvcore.data import datasets
    from xvcore.plugins import plugins, problems
    from xvcore.report.family import families
    from xvcore.runs.demos import demos
    from xvcore.runs.stage import pipelines
    from xvcore.store import SCHEMAS

    for registry in (datasets, pipelines, families, demos, SCHEMAS):
        list(registry)
    for plugin in plugins():
        yield f"{plugin.name}\t{plugin.module}\t{plugin.package}\t{problems().get(plugin.name, 'in use')}"


def _described(prefix: str, settings: Any) -> Iterator[str]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from _described(f"{prefix}{field.name}.", value)
        else:
            yield f"{prefix}{field.name} = {value}\t{field.metadata.get('description', '')}"
