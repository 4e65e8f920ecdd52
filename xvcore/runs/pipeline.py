"""The stages of a method in their order, and the record of each class: ``class_runs`` is written last."""

import dataclasses
import datetime
import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import pandas as pd
import torch

from xvcore.errors import XvError
from xvcore.registry import Registry
from xvcore.runs.device import device_name, forget_peak, peak_bytes
from xvcore.runs.images import records
from xvcore.runs.run import Progress, Run, announce, chosen_classes, conclude, has_ended, is_concluded
from xvcore.runs.settings import Settings
from xvcore.runs.thumbnails import Thumbnail
from xvcore.store.schema import Growth

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Stage:
    """A verb and the table that it writes last; where the class has that table, the stage is done.

    ``table`` is None for a stage that looks into a cache of its own. ``growth``: what its time is proportional to.
    """

    verb: str
    table: str | None
    work: Callable[[Run[Any], str, Progress | None], int]
    growth: Growth = "images"


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


def predicted(run: Run[Any], class_id: str, **columns: int) -> Counts:
    """Return the counts of a class whose images went through the stage *predict*, with further columns.

    Raises
    ------
    XvError
        Images could be read, but the network's output is finite for none.
    """
    names = ["image_id", "width", "correct", "skipped", "error"]
    predictions = run.store.read("predictions", run.run_id, class_id, columns=names)
    is_predicted = predictions["error"].isna()
    is_read = is_predicted | predictions["width"].notna()
    if is_read.any() and not is_predicted.any():
        first = predictions[is_read].iloc[0]
        raise XvError(
            f"{run.classifier.name} says nothing of any of the {int(is_read.sum())} images of {class_id} that could be "
            f"read ({first['image_id']}: {first['error']}): do its weights, and the range of its input, fit?"
        )
    found = {
        "n_images": len(predictions),
        "n_errors": int((~is_predicted).sum()),
        "n_correct": int(predictions["correct"].fillna(value=False).astype(bool).sum()),
    }
    n_used = int((is_predicted & predictions["skipped"].isna()).sum())
    return Counts(int(is_read.sum()), n_used, {**found, **columns})


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
    order : place in lists and on pages, the lowest first; equals go by name
    """

    settings: type[Any]
    stages: tuple[Stage, ...]
    count: Callable[[Run[Any], str], Counts]
    gather: Callable[[Run[Any]], None] | None = None
    gathers_by: Literal["class", "run"] = "run"
    pictures: Callable[[Run[Any], pd.DataFrame], Iterator[Thumbnail]] | None = None
    pictures_of_all: Callable[[Sequence[Run[Any]]], Iterator[Thumbnail]] | None = None
    caches: Callable[[Run[Any]], Mapping[str, str]] | None = None
    order: int = 100


pipelines: Registry[Pipeline] = Registry("method", "xvcore.*.pipeline")
"""The pipeline of each family and analysis, under the name that its settings give."""


def in_order(methods: Iterable[str]) -> list[str]:
    """Return names of methods in the order of their pipelines; those that no pipeline is known of come last."""
    return sorted(methods, key=lambda name: (pipelines[name].order if name in pipelines else math.inf, name))


def stages_of(run: Run[Settings]) -> tuple[Stage, ...]:
    """Return the stages of the run's method in their order."""
    return pipelines[run.settings.method].stages


def is_complete(run: Run[Settings], class_id: str) -> bool:
    """Say whether the class needs no more work: its record exists and is neither failed nor unfinished."""
    return _record(run, class_id).get("status") in ("complete", "skipped")


def reason_of_failure(run: Run[Settings], class_id: str) -> str | None:
    """Return why the class failed; None where it did not, or is not known to have."""
    record = _record(run, class_id)
    return record["error"] if record.get("status") == "failed" else None


def begin(run: Run[Settings], class_id: str) -> None:
    """Record that work on a class has started; counts the attempts. One that another process completed stays so."""
    if is_complete(run, class_id):
        return
    before = _record(run, class_id)
    _write_record(
        run,
        class_id,
        {
            "status": "running",
            "error": None,
            "attempt": int(before.get("attempt") or 0) + 1,
            "seconds_by_stage": before.get("seconds_by_stage") or "{}",
            "gpu_bytes": before.get("gpu_bytes"),
            "device": before.get("device"),
        },
    )


def run_stage(run: Run[Settings], class_id: str, verb: str, progress: Progress | None = None) -> int | None:
    """Run one stage of one class unless its table is there; return what it counted, None where it was done before."""
    stage = next(each for each in stages_of(run) if each.verb == verb)
    if stage.table and run.store.has(stage.table, run.run_id, class_id):
        logger.info("%s: was done before", _title(run, class_id, verb))
        return None
    device = run.classifier.device
    forget_peak(device)
    started = time.monotonic()
    count = _in_memory(run, f"{class_id}: {verb}", lambda fitting: stage.work(fitting, class_id, progress))
    seconds = time.monotonic() - started
    logger.info("%s: %d in %.1f s", _title(run, class_id, verb), count, seconds)
    record = _record(run, class_id)
    times = json.loads(record.get("seconds_by_stage") or "{}")
    times[verb] = round(seconds, 3)
    measured = {
        "seconds_by_stage": json.dumps(times, sort_keys=True),
        "gpu_bytes": max(filter(None, (record.get("gpu_bytes"), peak_bytes(device))), default=None),
        "device": device_name(device),
    }
    _write_record(run, class_id, {**record, **measured})
    return count


def finish(run: Run[Settings], class_id: str) -> dict[str, Any]:
    """Count what the stages left, write the commit record of the class and return it.

    A class without a single image past the gate is ``skipped``, and the record says so.
    """
    counts = pipelines[run.settings.method].count(run, class_id)
    before = _record(run, class_id)
    seconds = sum(json.loads(before.get("seconds_by_stage") or "{}").values())
    record = {
        **before,
        **counts.columns,
        "images_per_second": counts.n_read / seconds if seconds else None,
        "status": "complete" if counts.n_used else "skipped",
        "error": None
        if counts.n_used
        else "no image could be read"
        if not counts.n_read
        else "no image passed the gate",
    }
    _write_record(run, class_id, record)
    return record


def has_gather(run: Run[Settings]) -> bool:
    """Say whether the run's method has something to join once its classes are done."""
    return pipelines[run.settings.method].gather is not None


def gather(run: Run[Settings]) -> None:
    """Join what the finished classes left into the tables of the whole run, where the method has such."""
    work = pipelines[run.settings.method].gather
    if work:
        _in_memory(run, "gather", work)


def fail(run: Run[Settings], class_id: str, error: BaseException) -> None:
    """Record why a class failed; the next run tries it again and keeps the stages that are done.

    One that another process has completed meanwhile stays complete.
    """
    if is_complete(run, class_id):
        return
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if not isinstance(error, Exception):
        reason = f"stopped ({reason}); the next run goes on from here"
    record = {**_record(run, class_id), "status": "failed", "error": reason}
    _write_record(run, class_id, record)


def complete_class(
    run: Run[Settings], class_id: str, progress: Callable[[str, int, int], None] | None = None
) -> dict[str, Any]:
    """Do all stages of one class that are not done, and return its record.

    ``progress`` is called with the stage's verb, items done and their total.
    """
    if is_complete(run, class_id):
        return _record(run, class_id)
    begin(run, class_id)
    try:
        for stage in stages_of(run):
            run_stage(run, class_id, stage.verb, _named(progress, stage.verb))
        return finish(run, class_id)
    except BaseException as error:
        fail(run, class_id, error)
        raise


def complete_run(run: Run[Settings], class_ids: Sequence[str] | None = None) -> str:
    """Do all classes of a run one after another in this process, join and publish them, and return the run's status.

    What a notebook calls; :mod:`flows` does the same in shards. A class that fails is recorded as failed with its
    reason, and the others go on; what is done already is not done again.

    Parameters
    ----------
    run : the run
    class_ids : ids or names of classes; None: all of the dataset
    """
    chosen = [info.class_id for info in chosen_classes(run.dataset, class_ids)]
    if is_concluded(run, chosen):
        return "complete"
    announce(run, chosen)
    for class_id in chosen:
        try:
            complete_class(run, class_id)
        except Exception as error:  # noqa: BLE001  whatever it was, it is in the record of the class
            logger.warning("%s: failed: %s", _title(run, class_id, "all"), error)
    try:
        if has_ended(run):
            gather(run)
    except BaseException:
        conclude(run, joined=False)
        raise
    return conclude(run)


def _in_memory(run: Run[Settings], what: str, work: Callable[[Run[Settings]], Result]) -> Result:
    """Do work again with half the batch size as often as the memory of the GPU does not suffice, down to 1."""
    try:
        return work(run)
    except torch.OutOfMemoryError:
        if run.spec.batch_size == 1:
            raise
    # Not in the handler: as long as the error lives, so do the tensors of the frames that it came through.
    torch.cuda.empty_cache()
    half = run.spec.batch_size // 2
    message = "%s %s: out of GPU memory with a batch size of %d; again with %d"
    logger.warning(message, run.classifier.name, what, run.spec.batch_size, half)
    return _in_memory(dataclasses.replace(run, spec=dataclasses.replace(run.spec, batch_size=half)), what, work)


def _title(run: Run[Settings], class_id: str, verb: str) -> str:
    return f"{run.classifier.name} · {run.class_info(class_id).class_name} · {verb}"


def _named(progress: Callable[[str, int, int], None] | None, verb: str) -> Progress | None:
    return (lambda done, total: progress(verb, done, total)) if progress else None


def _record(run: Run[Settings], class_id: str) -> dict[str, Any]:
    if not run.store.has("class_runs", run.run_id, class_id):
        return {}
    rows = records(run.store.read("class_runs", run.run_id, class_id))
    return {name: None if pd.isna(value) else value for name, value in rows[0].items()}


def _write_record(run: Run[Settings], class_id: str, record: dict[str, Any]) -> None:
    times = json.loads(record.get("seconds_by_stage") or "{}")
    row = {
        **record,
        **run.keys(class_id),
        "class_name": run.class_info(class_id).class_name,
        "seconds": float(sum(times.values())),
        "finished_at": datetime.datetime.now(datetime.UTC),
    }
    run.store.write("class_runs", run.run_id, class_id, [row])
