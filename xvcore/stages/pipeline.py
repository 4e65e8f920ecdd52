"""The stages of visual summaries in their order, and the record of each class: ``class_runs`` is written last."""

import datetime
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from xvcore.stages.images import records
from xvcore.stages.mask import mask
from xvcore.stages.match import match
from xvcore.stages.parts import locate_parts
from xvcore.stages.predict import predict
from xvcore.stages.propose import propose
from xvcore.stages.run import Progress, Run
from xvcore.stages.summarise import summarise

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """A verb and the table that it writes last; where the class has that table, the stage is done.

    ``table`` is None for a stage that looks into a cache of its own.
    """

    verb: str
    table: str | None
    work: Callable[[Run, str, Progress | None], int]


STAGES = (
    Stage("predict", "predictions", predict),
    Stage("mask", "masks", mask),
    Stage("propose", None, propose),
    Stage("match", "candidates", match),
    Stage("summarise", "clusters", summarise),
    Stage("locate_parts", "summary_parts", locate_parts),
)


def is_complete(run: Run, class_id: str) -> bool:
    """Say whether the class needs no more work: its record exists and is neither failed nor unfinished."""
    return _record(run, class_id).get("status") in ("complete", "skipped")


def begin(run: Run, class_id: str) -> None:
    """Record that work on a class has started; counts the attempts."""
    before = _record(run, class_id)
    _write_record(
        run,
        class_id,
        {
            "status": "running",
            "error": None,
            "attempt": int(before.get("attempt") or 0) + 1,
            "seconds_by_stage": before.get("seconds_by_stage") or "{}",
        },
    )


def run_stage(run: Run, class_id: str, verb: str, progress: Progress | None = None) -> int | None:
    """Run one stage of one class unless its table is there; return what it counted, None where it was done before."""
    stage = next(each for each in STAGES if each.verb == verb)
    if stage.table and run.store.has(stage.table, run.run_id, class_id):
        logger.info("%s %s: %s was done before", run.classifier.name, class_id, verb)
        return None
    started = time.monotonic()
    count = stage.work(run, class_id, progress)
    seconds = time.monotonic() - started
    logger.info("%s %s: %s counted %d in %.1f s", run.classifier.name, class_id, verb, count, seconds)
    record = _record(run, class_id)
    times = json.loads(record.get("seconds_by_stage") or "{}")
    times[verb] = round(seconds, 3)
    _write_record(run, class_id, {**record, "seconds_by_stage": json.dumps(times, sort_keys=True)})
    return count


def finish(run: Run, class_id: str) -> dict[str, Any]:
    """Count what the stages left, write the commit record of the class and return it.

    A class without a single image past the gate is ``skipped``, and the record says so.
    """
    _trim_similarity(run, class_id)
    record = {**_record(run, class_id), **_counts(run, class_id)}
    record["status"] = "complete" if record["n_masks"] else "skipped"
    record["error"] = None if record["n_masks"] else "no image passed the gate"
    _write_record(run, class_id, record)
    return record


def fail(run: Run, class_id: str, error: BaseException) -> None:
    """Record why a class failed; the next run tries it again and keeps the stages that are done."""
    record = {**_record(run, class_id), "status": "failed", "error": f"{type(error).__name__}: {error}"}
    _write_record(run, class_id, record)


def summarise_class(run: Run, class_id: str, progress: Callable[[str, int, int], None] | None = None) -> dict[str, Any]:
    """Do all stages of one class that are not done, and return its record.

    ``progress`` is called with the stage's verb, items done and their total.
    """
    if is_complete(run, class_id):
        return _record(run, class_id)
    begin(run, class_id)
    try:
        for stage in STAGES:
            run_stage(run, class_id, stage.verb, _named(progress, stage.verb))
        return finish(run, class_id)
    except BaseException as error:
        fail(run, class_id, error)
        raise


def _named(progress: Callable[[str, int, int], None] | None, verb: str) -> Progress | None:
    return (lambda done, total: progress(verb, done, total)) if progress else None


def _record(run: Run, class_id: str) -> dict[str, Any]:
    if not run.store.has("class_runs", run.run_id, class_id):
        return {}
    rows = records(run.store.read("class_runs", run.run_id, class_id))
    return {name: None if pd.isna(value) else value for name, value in rows[0].items()}


def _write_record(run: Run, class_id: str, record: dict[str, Any]) -> None:
    times = json.loads(record.get("seconds_by_stage") or "{}")
    row = {
        **record,
        **run.keys(class_id),
        "class_name": run.class_info(class_id).class_name,
        "seconds": float(sum(times.values())),
        "finished_at": datetime.datetime.now(datetime.UTC),
    }
    run.store.write("class_runs", run.run_id, class_id, [row])


def _counts(run: Run, class_id: str) -> dict[str, int]:
    def read(table: str, columns: list[str]) -> pd.DataFrame:
        return run.store.read(table, run.run_id, class_id, columns=columns)

    predictions = read("predictions", ["correct", "error"])
    clusters = read("clusters", ["accepted"])
    return {
        "n_images": len(predictions),
        "n_errors": int(predictions["error"].notna().sum()),
        "n_correct": int(predictions["correct"].fillna(value=False).astype(bool).sum()),
        "n_masks": int((read("masks", ["kind"])["kind"] == "sharp").sum()),
        "n_regions": len(read("regions", ["region_id"])),
        "n_clusters": len(clusters),
        "n_summaries": int(clusters["accepted"].astype(bool).sum()),
    }


def _trim_similarity(run: Run, class_id: str) -> None:
    """Keep of the pairs what ``similarity`` asks for; doing it twice changes nothing."""
    wish = run.settings.similarity
    if wish == "full":
        return
    pairs = run.store.read("similarity", run.run_id, class_id)
    kept = pairs.iloc[:0] if wish == "none" else pairs[_among_best(pairs, 50)]
    run.store.write("similarity", run.run_id, class_id, records(kept))


def _among_best(pairs: pd.DataFrame, n_best: int) -> np.ndarray:
    both = pd.concat(
        [
            pairs[["region_i", "score"]].rename(columns={"region_i": "region"}),
            pairs[["region_j", "score"]].rename(columns={"region_j": "region"}),
        ]
    )
    best = both.groupby("region")["score"].rank(method="first", ascending=False).to_numpy() <= n_best
    return best[: len(pairs)] | best[len(pairs) :]
