"""What a run over classes leaves for its readers: a table, a summary in Markdown with thumbnails, an event at its end.

Prefect has them where a server is set; elsewhere table and summary are files of the store, below :data:`FOLDER`.
"""

import base64
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from flows.orchestration import is_reported
from xvcore.errors import XvError
from xvcore.query import table
from xvcore.report import addresses
from xvcore.runs.images import records
from xvcore.runs.run import Run
from xvcore.runs.settings import Settings
from xvcore.runs.stage import pipelines
from xvcore.runs.thumbnails import Thumbnail
from xvcore.store import SCHEMAS, Store
from xvcore.store.write import put

logger = logging.getLogger(__name__)

FOLDER = "artifacts"
"""Of the store, for what Prefect is not told."""
MAX_BYTES = 190_000
"""Of the Markdown, thumbnails included: it lies in the server's database and goes to the browser in one piece."""
MAX_ROWS = 1000
"""Of the table; those that failed come first."""
N_FAILURES, N_NETWORKS = 20, 40
"""Lines of the Markdown."""
REASON_LETTERS = 300
N_PICTURES, N_TRIES = 6, 12
"""Thumbnails that are shown of a network, and at most looked at: one may be too large for the room that is left."""
STATUSES = ("complete", "failed", "stopped", "skipped", "running", "pending")
_MARKUP = re.compile(r"([\\`*\[\]<>|]|~(?=~)|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_]))")
"""What has to be escaped within a line, and no more: one of Prefect's two pages shows the escapes in links."""


@dataclass(frozen=True)
class Findings:
    """What is shown of some runs of one method on one dataset.

    Parameters
    ----------
    runs : one a network
    records : a row of ``class_runs`` for each run and class asked for; ``pending`` where it has none
    failures : lines ``network class: reason``, of classes that left no reason in the store too
    pages : address of a class's page, by run and class; of the run's, where the class is ``None``
    """

    runs: Sequence[Run[Settings]]
    records: pd.DataFrame
    failures: Sequence[str] = ()
    pages: Mapping[tuple[str, str | None], str] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The method, as its settings are called."""
        return self.runs[0].settings.method

    @property
    def counts(self) -> list[str]:
        """Columns of ``class_runs`` that count something in these runs."""
        names = [str(name) for name in self.records if self.records[name].notna().any()]
        return [name for name in names if name.startswith("n_")]

    def of(self, run: Run[Settings]) -> pd.DataFrame:
        """Return the records of a run."""
        return self.records[self.records["run_id"] == run.run_id]


def show(runs: Sequence[Run[Settings]], classes: Sequence[str], failures: Sequence[str]) -> None:
    """Leave a table with a row for each network and class, and what the runs found in Markdown.

    Their keys, the names of the files too, are ``<method>-classes-<dataset>`` and ``<method>-summary-<dataset>``.

    Parameters
    ----------
    runs : one a network, of one method on one dataset
    classes : ids of those that are shown
    failures : lines ``network class: reason``
    """
    found = findings(runs, classes, failures)
    method, dataset = _key(found.method), _key(runs[0].dataset.name)[-60:].strip("-")
    rows = table_rows(found)
    about = "One row per network and class"
    if len(found.records) > len(rows):
        about += f": {len(rows)} of {len(found.records)}, failures first; all of them are in the table class_runs"
    of_classes, summary = f"{method}-classes-{dataset}", f"{method}-summary-{dataset}"
    if is_reported():
        from prefect.artifacts import create_markdown_artifact, create_table_artifact

        create_table_artifact(table=rows, key=of_classes, description=about)
        create_markdown_artifact(markdown=markdown(found), key=summary, description="What the run found")
        return
    place = runs[0].store.place
    put(place, f"{FOLDER}/{of_classes}.json", json.dumps(rows, ensure_ascii=False, indent=1).encode())
    put(place, f"{FOLDER}/{summary}.md", markdown(found).encode())
    logger.info("what the run found: %s/%s/%s.md", place.url, FOLDER, summary)


def announce_end(run: Run[Settings], status: str) -> None:
    """Send the event that a run has ended, so that automations can follow; none while it is still running.

    Where no server is set, it is a line of the log.

    It is ``xv.run.complete``, ``xv.run.failed`` or ``xv.run.stopped`` of the resource ``xv.run.<run_id>``; Prefect adds
    the flow run.

    Parameters
    ----------
    run : one network, dataset and method
    status : as :func:`xvcore.runs.run.conclude` returns it
    """
    if status == "running":
        return
    name = f"{run.settings.method} · {run.classifier.name} · {run.dataset.name}"
    if not is_reported():
        logger.info("%s: %s", name, status)
        return
    from prefect.events import emit_event
    from prefect.runtime import flow_run

    ended = table(run.store, "class_runs", run_id=run.run_id, columns=["status", "n_images", "seconds"])
    emit_event(
        event=f"xv.run.{status}",
        resource={
            "prefect.resource.id": f"xv.run.{run.run_id}",
            "prefect.resource.name": name,
            "xv.method": run.settings.method,
            "xv.model": run.classifier.name,
            "xv.dataset": run.dataset.name,
        },
        payload={
            "store": address_of(run.store),
            "run_id": run.run_id,
            "status": status,
            "classes": {str(name): int(number) for name, number in ended["status"].value_counts().items()},
            "n_images": int(ended["n_images"].fillna(0).sum()),
            "seconds": round(float(ended["seconds"].fillna(0).sum()), 1),
            "flow_run": flow_run.id,
        },
    )


def address_of(store: Store) -> str:
    """Return the store as another flow run finds it.

    A relative address means the same to all that work in the folder ``XV_FOLDER``; elsewhere only an absolute one.
    """
    if not store.place.is_local or Path.cwd() == Path(os.environ.get("XV_FOLDER", os.devnull)):
        return store.url
    return store.place.root


def findings(runs: Sequence[Run[Settings]], classes: Sequence[str], failures: Sequence[str]) -> Findings:
    """Return what is shown of some classes of runs, read from the store in one go."""
    store, run_ids = runs[0].store, [run.run_id for run in runs]
    asked = pd.MultiIndex.from_product([run_ids, classes], names=["run_id", "class_id"])
    known = table(store, "class_runs", run_id=run_ids).set_index(["run_id", "class_id"])
    rows = known.reindex(asked).reset_index()
    names = {info.class_id: info.class_name for info in runs[0].dataset.classes}
    rows["class_name"] = rows["class_name"].fillna(rows["class_id"].map(names))
    rows["status"] = rows["status"].fillna("pending")
    return Findings(runs, rows, failures, _pages(runs))


def _pages(runs: Sequence[Run[Settings]]) -> dict[tuple[str, str | None], str]:
    site = os.environ.get("XV_REPORT_URL")
    if not site:
        return {}
    known = addresses(runs[0].store, [run.run_id for run in runs])
    return {key: f"{site.rstrip('/')}/{address}" for key, address in known.items()}


def table_rows(found: Findings) -> list[dict[str, Any]]:
    """Return the rows of the table, the failed ones first where there are more than fit."""
    shown = found.records
    if len(shown) > MAX_ROWS:
        shown = shown.sort_values("status", key=lambda each: each != "failed", kind="stable").head(MAX_ROWS)
    networks = {run.run_id: run.classifier.name for run in found.runs}
    has_speed = "images_per_second" in shown and shown["images_per_second"].notna().any()
    counts = found.counts
    return [
        {
            "network": networks[row["run_id"]],
            "class": row["class_name"],
            "status": row["status"],
            **{name.removeprefix("n_"): None if pd.isna(row[name]) else int(row[name]) for name in counts},
            "seconds": _rounded(row["seconds"]),
            **({"images/s": _rounded(row["images_per_second"])} if has_speed else {}),
            "error": "" if pd.isna(row["error"]) else _short(row["error"]),
        }
        for row in records(shown)
    ]


def markdown(found: Findings) -> str:
    """Return what the runs found as Markdown of at most :data:`MAX_BYTES` bytes, thumbnails in it as data."""
    run = found.runs[0]
    n_classes = found.records["class_id"].nunique()
    head = [
        f"# {_title(found.method)}",
        "",
        f"Dataset {_code(run.dataset.name)}, {n_classes} class{'es' if n_classes != 1 else ''}; "
        f"store {_code(run.store.url)}.",
        "",
        *_networks(found),
        *_failures(found),
    ]
    tail = _where_to_look(found)
    room = MAX_BYTES - sum(len(line.encode()) + 1 for line in [*head, *tail])
    return "\n".join([*head, *_pictures(found, room), *tail])


def _networks(found: Findings) -> list[str]:
    """Return a table with a row for each network."""
    statuses = [each for each in STATUSES if (found.records["status"] == each).any()]
    # What is counted on the way only the table has: with it this one would be wider than the page.
    on_the_way = {column.name for column in SCHEMAS["class_runs"].columns if column.role == "step"}
    counts = [name for name in found.counts if name not in on_the_way and found.records[name].fillna(0).any()]
    has_speed = "images_per_second" in found.records and found.records["images_per_second"].notna().any()
    names = [name.removeprefix("n_") for name in counts]
    columns = ["network", *statuses, *names, "time", *(["images/s"] if has_speed else [])]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for run in found.runs[:N_NETWORKS]:
        rows = found.of(run)
        cells = [_link(run.classifier.name, found.pages.get((run.run_id, None)))]
        cells += [str(int((rows["status"] == each).sum())) for each in statuses]
        cells += [str(int(rows[name].fillna(0).sum())) for name in counts]
        cells.append(_duration(float(rows["seconds"].fillna(0).sum())))
        if has_speed:
            speed = rows["images_per_second"].dropna()
            cells.append(f"{speed.median():.3g}" if len(speed) else "–")
        lines.append(f"| {' | '.join(cells)} |")
    if len(found.runs) > N_NETWORKS:
        lines += ["", f"… and {len(found.runs) - N_NETWORKS} more networks."]
    return lines


def _failures(found: Findings) -> list[str]:
    """Return the classes that failed with their reasons, and how many more there are."""
    failed = found.records[found.records["status"] == "failed"]
    networks = {run.run_id: run.classifier.name for run in found.runs}
    lines = []
    named: set[str] = set()
    for row in records(failed):
        network = networks[row["run_id"]]
        named.add(f"{network} {row['class_id']}:")
        name = _link(row["class_name"], found.pages.get((row["run_id"], row["class_id"])))
        lines.append(f"- **{_plain(network)}** · {name}: {_code(_short(row['error'] or 'no reason is known'))}")
    lines += [f"- {_code(_short(each))}" for each in found.failures if not each.startswith(tuple(named))]
    if not lines:
        return []
    more = [f"- … and {len(lines) - N_FAILURES} more"] if len(lines) > N_FAILURES else []
    return ["", f"## {len(lines)} failed", "", *lines[:N_FAILURES], *more]


def _pictures(found: Findings, room: int) -> list[str]:
    """Return what the method shows of the runs, in turn of all networks, until so many bytes are used up."""
    chosen: dict[str, list[str]] = {}
    for heading, thumbnail, address in _in_turn(_sources(found)):
        lines = [
            "",
            _link(thumbnail.title, address) if address else _plain(thumbnail.title),
            "",
            f"![{_plain(thumbnail.title)}](data:{thumbnail.media_type};base64,{base64.b64encode(thumbnail.data).decode()})",
        ]
        is_new = [] if heading in chosen else ["", f"## {heading}"]
        size = sum(len(line.encode()) + 1 for line in [*is_new, *lines])
        n_shown = sum(line.startswith("![") for line in chosen.get(heading, ()))
        if size <= room and n_shown < N_PICTURES:
            chosen.setdefault(heading, is_new).extend(lines)
            room -= size
    return [line for lines in chosen.values() for line in lines]


Picture = tuple[str, Thumbnail, str | None]
"""A heading, a thumbnail below it, and the address of the page that has more."""


def _sources(found: Findings) -> list[Iterator[Picture]]:
    """Return the pictures of all networks together, then those of each."""
    method = pipelines[found.method]
    sources: list[Iterator[Picture]] = []
    if method.pictures_of_all and len(found.runs) > 1:
        sources.append(("All networks", each, None) for each in method.pictures_of_all(found.runs))
    if method.pictures:
        for run in found.runs:
            done = found.of(run)
            done = done[done["status"] == "complete"]
            if len(done):
                sources.append(_of_network(found, run, method.pictures(run, done)))
    return sources


def _of_network(found: Findings, run: Run[Settings], thumbnails: Iterator[Thumbnail]) -> Iterator[Picture]:
    for each in thumbnails:
        page = found.pages.get((run.run_id, each.class_id)) if each.class_id else None
        yield _plain(run.classifier.name), each, page or found.pages.get((run.run_id, None))


def _in_turn(sources: list[Iterator[Picture]]) -> Iterator[Picture]:
    """Yield the first of each source, then the second of each, and so on, some of each; a damaged one ends there."""
    for _ in range(N_TRIES):
        for source in list(sources):
            try:
                picture = next(source, None)
            except (XvError, OSError) as error:
                logger.warning("pictures of the run are left out: %s", error)
                picture = None
            if picture is None:
                sources.remove(source)
            else:
                yield picture


def _where_to_look(found: Findings) -> list[str]:
    """Return where all of the results are: the report's site, and how to read the tables."""
    store = address_of(found.runs[0].store)
    run_ids = [run.run_id for run in found.runs[:N_NETWORKS]]
    lines = ["", "## All of it", ""]
    if site := os.environ.get("XV_REPORT_URL"):
        lines += [f"The pages of the report: <{site}>, once the flow `write-report` has run.", ""]
    else:
        lines += [f"Pages: `xv report --store {store}`.", ""]
    return [
        *lines,
        "```python",
        "from xvcore.query import table",
        "from xvcore.store import Store",
        "",
        "run_ids = [",
        *(f"    {run_id!r}," for run_id in run_ids),
        "]",
        f'table(Store({store!r}), "class_runs", run_id=run_ids)',
        "```",
        "",
    ]


def _title(method: str) -> str:
    return re.sub(r"[-_]", " ", method).capitalize()


def _key(text: str) -> str:
    """Return a text as Prefect takes it for a key: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _short(text: str) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= REASON_LETTERS else line[: REASON_LETTERS - 1] + "…"


def _plain(text: str) -> str:
    """Return a text in one line with everything escaped that Markdown or HTML would take for markup."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Return a text as code, also in the cell of a table."""
    return f"`{' '.join(text.split()).replace('`', chr(39)).replace('|', '¦')}`"


def _link(text: str, address: str | None) -> str:
    return f"[{_plain(text)}]({address})" if address else _plain(text)


def _rounded(value: float | None) -> float | None:
    return None if pd.isna(value) else float(f"{value:.4g}")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}\u202fs"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
