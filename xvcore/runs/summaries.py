"""Summaries over all classes: what each class adds is kept, merged with its neighbours, and at the end one file.

A *piece* is a file of one row: the summary of the images of some classes, with a digest of the images of each. Its name
follows from these, so that whoever writes it writes the same. Pieces of neighbouring classes are merged as soon as all
of them are there: on the disk are at most :data:`AT_ONCE` pieces of each length (1, 16, 256, … classes), whatever the
number of classes. Nothing is lost and nothing counts twice, whenever a process is killed: a piece is written before
those go that it was made of, one whose classes are in a larger one is passed over, and what is merged has no class in
common. A class whose piece is lost, damaged, or of other images than the class has now is computed again, with those
that share the piece: nothing can be taken out of a summary.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

from xvcore.errors import DamagedError, StoreError, XvError
from xvcore.keys import digest
from xvcore.runs.stage import DONE, Summary, pipelines

if TYPE_CHECKING:
    from xvcore.runs.run import Run

logger = logging.getLogger(__name__)

AT_ONCE = 16
"""Neighbouring classes, or pieces, that are merged."""
TRIES = 5
"""How often pieces are looked for that go while they are read: another process merges them."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the summary: its name, and its classes with the digest of the images of each."""

    name: str
    digests: Mapping[str, str]


def summary_of(run: "Run[Any]") -> Summary | None:
    """Return the summary that a stage of the run's method adds to, None where there is none."""
    return next((stage.summary for stage in pipelines[run.settings.method].stages if stage.summary), None)


def images_digest(run: "Run[Any]", class_id: str) -> str:
    """Return what tells the images of a class that count: their ids, files and numbers in the dataset."""
    columns = ["image_id", "sha256", "skipped", "error"]
    seen = run.store.read_arrow("predictions", run.run_id, class_id, columns).to_pydict()
    images = [
        [number, image_id, sha256]
        for number, (image_id, sha256, skipped, error) in enumerate(zip(*seen.values(), strict=True))
        if skipped is None and error is None
    ]
    return digest([run.class_number(class_id), run.classes_digest, images], 16)


def keep(run: "Run[Any]", class_id: str, value: Any) -> None:
    """Write what a class adds to the summary, unless it is in a piece already; None where no image counts."""
    of_class = images_digest(run, class_id)
    if not _holds(_pieces(run), class_id, of_class):
        _write(run, {class_id: of_class}, value)


def is_kept(run: "Run[Any]", class_id: str) -> bool:
    """Say whether a piece has what a class, as it is now, adds to the summary; or a part of an older version has."""
    return _holds(_pieces(run), class_id, images_digest(run, class_id)) or _has_older(run, class_id)


def forget(run: "Run[Any]") -> None:
    """Let pieces be read anew that this process has read: they may be damaged since."""
    run.memo.pop(_pieces, None)


def merge_neighbours(run: "Run[Any]", class_id: str) -> None:
    """Merge the piece of a class with those of its neighbours among the classes asked for, once all are there."""
    if summary_of(run) is None or len(_pieces(run)) < AT_ONCE:
        return
    (row,) = run.store.run(run.run_id).to_pylist() or [{}]
    asked = {*(row.get("class_ids") or [])}
    order = [info.class_id for info in run.dataset.classes if info.class_id in asked]
    place = order.index(class_id) if class_id in asked else len(order)
    size = AT_ONCE
    while (first := place - place % size) + size <= len(order):
        block = set(order[first : first + size])
        within = [piece for piece in _pieces(run) if not block.isdisjoint(piece.digests)]
        chosen = _disjoint(within)
        if set(_classes(chosen)) != block or not _agree(within):
            return
        if len(chosen) > 1 and _merged(run, chosen) is None:
            return
        size *= AT_ONCE


def lost(run: "Run[Any]") -> list[str]:
    """Return the classes that are done, but of which no piece can be used; pieces that cannot be used are removed."""
    if summary_of(run) is None:
        return []
    forget(run)
    table = _summary(run).table
    current, pieces = _current(run), _pieces(run)
    readable = {piece.name for piece in pieces}
    for name in run.store.classes_of(table, run.run_id):
        if name not in readable and run.store.n_rows(table, run.run_id, name) is None:
            run.store.remove(table, run.run_id, name)
    usable = [piece for piece in pieces if _is_current(piece, current)]
    chosen = _disjoint(usable)
    there = set(_classes(chosen))
    for piece in pieces:
        if piece not in chosen and (piece not in usable or not there.isdisjoint(piece.digests)):
            run.store.remove(table, run.run_id, piece.name)
    return [class_id for class_id in current if class_id not in there and not _has_older(run, class_id)]


def whole(run: "Run[Any]") -> tuple[Any, list[str]]:
    """Return the summary over all classes that are done, None where no image counts, and the classes; as one piece.

    Raises
    ------
    StoreError
        A class that is done has no piece, or pieces go while they are read, again and again.
    """
    summary = _summary(run)
    for _ in range(TRIES):
        current = _current(run)
        chosen = _disjoint([piece for piece in _pieces(run) if _is_current(piece, current)])
        there = _classes(chosen)
        older = [each for each in current if each not in set(there)]
        if missing := [class_id for class_id in older if not _has_older(run, class_id)]:
            raise StoreError(
                f"{len(missing)} classes have lost what they add to {summary.table} in {run.store.url} "
                f"({', '.join(missing[:5])}): run the same again, it is made anew"
            )
        found = _merged(run, chosen)
        if found is None:
            forget(run)
            continue
        values = [found[0], *(summary.older(run, class_id) for class_id in older)]
        return _reduced(summary, values), [*there, *older]
    raise StoreError(f"{summary.table} of {run.run_id} in {run.store.url}: pieces go while they are read")


def _merged(run: "Run[Any]", pieces: Sequence[Piece]) -> tuple[Any] | None:
    """Return the value of pieces together, which are replaced by one; None where one is gone, or is damaged."""
    summary = _summary(run)
    values = []
    # In the order of their images, in which summaries are merged fastest.
    numbers = {info.class_id: number for number, info in enumerate(run.dataset.classes)}
    for piece in sorted(pieces, key=lambda each: min(numbers.get(class_id, -1) for class_id in each.digests)):
        row = _row(run, piece.name)
        if row is None:
            return None
        values.append(summary.value(run, row) if row[summary.filled] is not None else None)
    value = _reduced(summary, values)
    if len(pieces) > 1:
        digests = {class_id: each for piece in pieces for class_id, each in piece.digests.items()}
        name = _write(run, digests, value)
        for piece in _pieces(run):
            if piece.name != name and piece.digests.items() <= digests.items():
                run.store.remove(summary.table, run.run_id, piece.name)
    return (value,)


def _reduced(summary: Summary, values: Iterable[Any]) -> Any:
    filled = [value for value in values if value is not None]
    return reduce(summary.merge, filled) if filled else None


def _write(run: "Run[Any]", digests: Mapping[str, str], value: Any) -> str:
    summary = _summary(run)
    ordered = dict(sorted(digests.items()))
    name = digest(list(ordered.items()), 24)
    cells = {} if value is None else summary.cells(value)
    row = {"piece": name, "class_ids": list(ordered), "digests": list(ordered.values()), **cells}
    run.store.write(summary.table, run.run_id, name, [{"model": run.classifier.name, **row}])
    return name


def _summary(run: "Run[Any]") -> Summary:
    summary = summary_of(run)
    if summary is None:
        raise XvError(f"no stage of {run.settings.method} adds to a summary over classes")
    return summary


def _pieces(run: "Run[Any]") -> list[Piece]:
    """Return the pieces that are there; each is read whole once, its content follows from its name."""
    known: dict[str, Piece] = run.memo.setdefault(_pieces, {})
    found = []
    for name in run.store.classes_of(_summary(run).table, run.run_id):
        if name not in known:
            row = _row(run, name, ["class_ids", "digests"])
            if row is None:
                continue
            known[name] = Piece(name, dict(zip(row["class_ids"], row["digests"], strict=True)))
        found.append(known[name])
    return found


def _row(run: "Run[Any]", name: str, columns: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Return the row of a piece, None where it is damaged or another process has merged it meanwhile."""
    table = _summary(run).table
    try:
        row = run.store.read(table, run.run_id, name, columns).iloc[0]
    except DamagedError as error:
        logger.warning("%s", error)
        return None
    except StoreError:
        if run.store.has(table, run.run_id, name):
            raise
        return None
    return {str(column): value for column, value in row.items()}


def _holds(pieces: Iterable[Piece], class_id: str, of_class: str) -> bool:
    return any(piece.digests.get(class_id) == of_class for piece in pieces)


def _has_older(run: "Run[Any]", class_id: str) -> bool:
    """Say whether a class has the part that versions before pieces wrote, and it is whole."""
    return run.store.n_rows(_summary(run).before, run.run_id, class_id) is not None


def _current(run: "Run[Any]") -> dict[str, str]:
    """Return the digest of each class that is done."""
    records = run.store.class_runs(run.run_id)
    return {each: images_digest(run, each) for each in records["class_id"][records["status"].isin(DONE)]}


def _is_current(piece: Piece, current: Mapping[str, str]) -> bool:
    """Say whether a piece has classes that are done, and each with the images that it has now.

    Others that were in it before they were begun again count as they did then.
    """
    is_as_now = all(current.get(class_id, each) == each for class_id, each in piece.digests.items())
    return is_as_now and not piece.digests.keys().isdisjoint(current)


def _disjoint(pieces: Iterable[Piece]) -> list[Piece]:
    """Return pieces without a class in common, the largest first."""
    chosen: list[Piece] = []
    seen: set[str] = set()
    for piece in sorted(pieces, key=lambda each: (-len(each.digests), each.name)):
        if seen.isdisjoint(piece.digests):
            chosen.append(piece)
            seen.update(piece.digests)
    return chosen


def _classes(pieces: Iterable[Piece]) -> list[str]:
    return sorted(class_id for piece in pieces for class_id in piece.digests)


def _agree(pieces: Iterable[Piece]) -> bool:
    """Say whether no two pieces have other images of a class."""
    seen: dict[str, str] = {}
    return all(seen.setdefault(class_id, each) == each for piece in pieces for class_id, each in piece.digests.items())
