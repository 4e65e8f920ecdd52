"""From a store to a folder in the format of another tool."""

import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xvcore.errors import ExportError, StoreError
from xvcore.export.beside import FOLDER, copy_files
from xvcore.export.content import Content
from xvcore.registry import Registry
from xvcore.runs.originals import Originals
from xvcore.store import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """What an exporter says of what it wrote.

    Parameters
    ----------
    how : how the folder is opened, as Markdown
    left : columns that the format cannot hold, by table; they lie in ``beside/``
    lost_pictures : pictures that cannot be had any more, by class and image id
    """

    how: str
    left: Mapping[str, Sequence[str]]
    lost_pictures: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Exporter:
    """A format of another tool.

    Parameters
    ----------
    summary : what is written, in one line
    write : writes a content into an empty folder

    Examples
    --------
    >>> from xvcore.export import exporters
    >>> type(exporters["csv"]).__name__
    'Exporter'
    """

    summary: str
    write: Callable[[Content, Path], Written]


exporters: Registry[Exporter] = Registry("format of an export", "xvcore.export.*")
"""Every format by its name on the command line."""


def export(store: Store, out: Path, kind: str, *, run_ids: Sequence[str] | None = None, pictures: Any = None) -> Path:
    """Write runs of a store as a folder that another tool opens, and return the folder.

    Nothing is lost: tables and columns that the format cannot hold lie as Parquet in ``beside/``, as do the files that
    tables name (weights of heads), and ``README.md`` names them. The folder appears whole or not at all.

    Parameters
    ----------
    store : the store
    out : the folder; must not be there, or be empty
    kind : name of a format: ``coco``, ``csv``, ``fiftyone``, ``hf`` or ``virelay``
    run_ids : of the runs; ``None``: all
    pictures : gives a picture (h, w, 3), uint8, as a network saw it, or ``None``; called with the run's row, image id
        and class id. ``None``: decoded from the data set again

    Raises
    ------
    UnknownNameError
        An unknown format or run.
    ExportError
        The folder is not empty, the store holds no rows, or a package is missing.
    StoreError
        The store cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from xvcore.export import export
    >>> from xvcore.store import Store
    >>> sorted(each.name for each in export(Store("store"), Path("as-csv"), "csv").glob("e*.csv"))
    ['evidence.csv', 'evidence_means.csv']
    """
    exporter, out = exporters[kind], Path(out)
    if not store.exists():
        raise StoreError(f"nothing was ever written to {store.url}")
    content = Content(store, None if run_ids is None else tuple(run_ids), pictures or Originals())
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out} is there and not empty: an export is written into a new folder")
    if not content.tables:
        raise ExportError(f"{store.url} holds no results to export")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        written = exporter.write(content, part)
        copied, lost_files = copy_files(content, part)
        _explain(part / "README.md", kind, content, written, copied)
        part.chmod(0o755)
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for each in written.lost_pictures:
        logger.warning("picture of %s cannot be had any more: its data set has moved or changed", each)
    for each in lost_files:
        logger.warning("file %s of %s cannot be had any more: it was moved or removed", each, store.url)
    logger.info("export of %s in %s", store.url, out)
    return out


def _explain(path: Path, kind: str, content: Content, written: Written, copied: Sequence[str]) -> None:
    """Write what the folder holds, how it is opened and what lies beside; below what the exporter wrote there."""
    before = path.read_text() if path.exists() else f"# Results of xv, for {kind}\n"
    lines = [before, "## How to open it\n", written.how, "\n## Runs\n"]
    lines += [
        f"* `{run_id}`: {row['model']}, {row['method']}, {row['dataset']}" for run_id, row in content.runs.items()
    ]
    if written.left:
        lines += [
            "\n## What this format cannot hold\n",
            f"It lies in `{FOLDER}/` as Parquet, with the columns that tell to which row it belongs:\n",
            *(f"* `{name}`: {', '.join(columns)}" for name, columns in written.left.items()),
        ]
    if copied:
        lines += [
            "\n## Files that tables name\n",
            f"They lie in `{FOLDER}/` under the names that the tables say:\n",
            *(f"* `{each}`" for each in copied),
        ]
    if written.lost_pictures:
        lines += ["\n## Pictures that could not be had any more\n", *(f"* {each}" for each in written.lost_pictures)]
    lines += [
        "\nThe words of every column: `xv report`, page *about*. What classes leave for a later stage of their run "
        "(candidates, scans, cached features) is no result and not in here."
    ]
    path.write_text("\n".join(lines) + "\n")
