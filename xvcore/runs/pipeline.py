"""The stages of a method in their order, and the record of each class: ``class_runs`` is written last."""

import dataclasses
import datetime
import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch

from xvcore.errors import DamagedError, StoreError, XvError
from xvcore.runs import summaries
from xvcore.runs.ahead import in_turn
from xvcore.runs.device import device_name, forget_peak, peak_bytes
from xvcore.runs.images import DecodedClass, are_copies
from xvcore.runs.run import (
    Progress,
    Run,
    announce,
    chosen_classes,
    conclude,
    has_ended,
    is_concluded,
    known_row,
    watched,
)
from xvcore.runs.settings import Settings
from xvcore.runs.stage import Counts, Stage, pipelines
from xvcore.runs.whole import are_whole, is_done, is_part_whole, lost_joins

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


def predicted(run: Run[Any], class_id: str, **columns: int) -> Counts:
    """Return the counts of a class whose images went through the stage *predict*, with further columns.

    A copy of another image counts nowhere.

    Raises
    ------
    XvError
        Images could be read, but the network's output is finite for none.
    """
    names = ["image_id", "width", "correct", "skipped", "error"]
    predictions = run.store.read("predictions", run.run_id, class_id, columns=names)
    predictions = predictions[~are_copies(predictions["skipped"])]
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


def in_order(methods: Iterable[str]) -> list[str]:
    """Return names of methods in the order of their pipelines; those that no pipeline is known of come last."""
    return sorted(methods, key=lambda name: (pipelines[name].order if name in pipelines else math.inf, name))


def stages_of(run: Run[Settings]) -> tuple[Stage, ...]:
    """Return the stages of the run's method in their order."""
    return pipelines[run.settings.method].stages


def is_complete(run: Run[Settings], class_id: str) -> bool:
    """Say whether the class needs no more work: its record says so, and each part that it must have can be read."""
    return is_done(run, class_id, _record(run, class_id))


def reason_of_failure(run: Run[Settings], class_id: str) -> str | None:
    """Return why the class failed or was stopped; None where it was not, or is not known to have been."""
    record = _record(run, class_id)
    return record["error"] if record.get("status") in ("failed", "stopped") else None


def begin(run: Run[Settings], class_id: str) -> None:
    """Record that work on a class has started; counts the attempts. One that another process completed stays so.

    Where a part was lost since it was written, or is damaged, the parts that were computed from it go: the stages from
    there on are done again.
    """
    if is_complete(run, class_id):
        return
    before = _record(run, class_id)
    again = _clear(run, class_id, before)
    times = json.loads(before.get("seconds_by_stage") or "{}")
    _write_record(
        run,
        class_id,
        {
            "status": "running",
            "error": None,
            "attempt": int(before.get("attempt") or 0) + 1,
            "seconds_by_stage": json.dumps({verb: took for verb, took in times.items() if verb not in again}),
            "gpu_bytes": before.get("gpu_bytes"),
            "device": before.get("device"),
        },
    )


def run_stage(run: Run[Settings], class_id: str, verb: str, progress: Progress | None = None) -> int | None:
    """Run one stage of one class unless its tables are whole; return what it counted, None where it was done before."""
    stage = next(each for each in stages_of(run) if each.verb == verb)
    if (stage.tables or stage.summary) and _is_done(run, class_id, stage):
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

    Raises
    ------
    StoreError
        A part that a stage has written is not there any more, or is damaged.
    """
    tables = [table for stage in stages_of(run) for table in stage.tables]
    rows = {table: run.store.n_rows(table, run.run_id, class_id) for table in tables}
    if lost := [table for table, count in rows.items() if count is None]:
        raise StoreError(f"class {class_id!r} has lost its {', '.join(lost)} in {run.store.url}; run it again")
    counts = pipelines[run.settings.method].count(run, class_id)
    before = _record(run, class_id)
    seconds = sum(json.loads(before.get("seconds_by_stage") or "{}").values())
    record = {
        **before,
        **counts.columns,
        "images_per_second": counts.n_read / seconds if seconds else None,
        "rows_by_table": rows,
        "status": "complete" if counts.n_used else "skipped",
        "error": None
        if counts.n_used
        else "no image could be read"
        if not counts.n_read
        else "no image passed the gate",
    }
    _write_record(run, class_id, record)
    run.memo.pop(DecodedClass, None)
    summaries.merge_neighbours(run, class_id)
    return record


def has_gather(run: Run[Settings]) -> bool:
    """Say whether the run's method has something to join once its classes are done."""
    return pipelines[run.settings.method].gather is not None


def gather(run: Run[Settings]) -> None:
    """Join what the finished classes left into the tables of the whole run, where the method has such.

    A class whose share of a summary over all classes is lost is computed again.
    """
    pipeline = pipelines[run.settings.method]
    if not pipeline.gather:
        return
    lost = lost_joins(run, known_row(run))
    for table, shard in lost:
        run.store.remove(table, run.run_id, shard)
    if lost and pipeline.joins_last:
        for shard in run.store.classes_of(pipeline.joins_last, run.run_id):
            run.store.remove(pipeline.joins_last, run.run_id, shard)
    for class_id in summaries.lost(run):
        logger.warning("%s: computed again", _title(run, class_id, "what it adds to the summary is lost"))
        try:
            complete_class(run, class_id)
        except Exception as error:  # noqa: BLE001  whatever it was, it is in the record of the class
            logger.warning("%s: failed: %s", _title(run, class_id, "all"), error)
    _in_memory(run, "gather", pipeline.gather)


def fail(run: Run[Settings], class_id: str, error: BaseException) -> None:
    """Record why a class failed, or that it was stopped: by a signal, or by whoever waits for it no more.

    The next run tries it again and keeps the stages that are done. One that another process has completed meanwhile
    stays complete.
    """
    if is_complete(run, class_id):
        return
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    status = "failed"
    if not isinstance(error, Exception):
        status, reason = "stopped", f"stopped ({reason}); the next run goes on from here"
    record = {**_record(run, class_id), "status": status, "error": reason}
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
    with watched([run]), in_turn(run, chosen):
        announce(run, chosen)
        for class_id in chosen:
            try:
                complete_class(run, class_id)
            except Exception as error:  # noqa: BLE001  whatever it was, it is in the record of the class
                logger.warning("%s: failed: %s", _title(run, class_id, "all"), error)
        try:
            if has_ended(run):
                gather(run)
        except Exception:
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


def _clear(run: Run[Settings], class_id: str, record: dict[str, Any]) -> set[str]:
    """Remove what is damaged and what was computed from a part that was lost, and return what is to be done again."""
    store, stages = run.store, stages_of(run)
    # Looked for first: another process may be at work, and write a stage after it was found missing.
    there = {table for stage in stages for table in stage.tables if store.has(table, run.run_id, class_id)}
    said = json.loads(record.get("rows_by_table") or "{}")

    def is_whole(table: str) -> bool:
        return is_part_whole(run, class_id, table, said.get(table))

    def is_lost(stage: Stage) -> bool:
        return not all(map(is_whole, stage.tables)) or (stage.summary and not summaries.is_kept(run, class_id)) or False

    first = next((n for n, stage in enumerate(stages) if is_lost(stage)), len(stages))
    times = json.loads(record.get("seconds_by_stage") or "{}")
    if first < len(stages) and (not record or stages[first].verb in times):
        altered = {table for stage in stages[first:] for table in stage.alters}
        first = min(n for n, stage in enumerate(stages) if n == first or altered.intersection(stage.tables))
    lost = [
        table
        for n, stage in reversed([*enumerate(stages)][first:])
        for table in reversed(stage.tables)
        if table in there and (n > first or table == stage.table or not is_whole(table))
    ]
    if lost:
        message = "%s: a part is lost or damaged; %s of the class are made again"
        logger.warning(message, _title(run, class_id, stages[first].verb), ", ".join(reversed(lost)))
    drafts = [table for n, stage in enumerate(stages[first:]) for table in stage.drafts if n > 0 or not is_whole(table)]
    older = [stage.summary.before for stage in stages[first:] if stage.summary]
    for table in (*lost, *drafts, *older):
        store.remove(table, run.run_id, class_id)
    caches = pipelines[run.settings.method].caches
    for table, owner in (caches(run) if caches else {}).items():
        if store.has(table, owner, class_id) and store.n_rows(table, owner, class_id) is None:
            store.remove(table, owner, class_id)
    return {stage.verb for stage in stages[first:]}


def _is_done(run: Run[Settings], class_id: str, stage: Stage) -> bool:
    is_added = stage.summary is None or summaries.is_kept(run, class_id)
    return is_added and are_whole(run, class_id, stage.tables)


def _title(run: Run[Settings], class_id: str, verb: str) -> str:
    return f"{run.classifier.name} · {run.class_info(class_id).class_name} · {verb}"


def _named(progress: Callable[[str, int, int], None] | None, verb: str) -> Progress | None:
    return (lambda done, total: progress(verb, done, total)) if progress else None


def _record(run: Run[Settings], class_id: str) -> dict[str, Any]:
    """Return the record of a class; empty where there is none, or it is damaged: it is made anew."""
    if not run.store.has("class_runs", run.run_id, class_id):
        return {}
    try:
        rows = run.store.read_arrow("class_runs", run.run_id, class_id).to_pylist()
    except DamagedError:
        return {}
    record: dict[str, Any] = rows[0]
    return record


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
