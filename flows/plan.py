"""``xv plan``: what a request would take, printed before anything is started."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from flows.classes import ClassesRequest
from flows.listing import show_table
from flows.shards import cut, seconds_of
from xvcore.data.pixel_cache import cached_bytes, pixel_cache
from xvcore.runs import pipeline
from xvcore.runs.plan import Plan, Work, planned
from xvcore.runs.run import Run, chosen_classes, opened
from xvcore.runs.settings import Settings
from xvcore.store import SCHEMAS


def show_plan(request: ClassesRequest, *, workers: int | None, measure: int | None, say: Callable[[str], None]) -> None:
    """Print what is to do, how long it takes, by network and by stage, and what the store grows by.

    Parameters
    ----------
    request : what would be run
    workers : processes at once, each with a device of its own; None: the wall-clock time is not told
    measure : images that are computed now; None: the rates come from the store
    say : prints a line
    """
    request = request.ready()
    runs = [opened(spec) for spec in request.specs()]
    classes = request.mine([info.class_id for info in chosen_classes(runs[0].dataset, request.classes)])
    fan_out = request.fan_out
    shards = [shard for run in runs for shard in cut(classes, fan_out, partial(seconds_of, run))]
    size = max(map(len, shards), default=1)
    plan = planned(runs, classes, shard_size=size, starts_each=fan_out.to == "pool", measure=measure)
    method, growth = runs[0].settings.method, {each.verb: each.growth for each in pipeline.stages_of(runs[0])}
    unit = _unit(plan)
    title = f"{method} of {runs[0].dataset.name}, for {runs[0].store.url}"
    show_table(pd.DataFrame([*_networks(plan, unit), _total(plan, unit)]), title)
    stages = [row for work in plan.works for row in _stages(work, growth, unit)]
    if stages:
        say("")
        show_table(pd.DataFrame(stages), "by stage")
        say("")
    for work in plan.works:
        for line in _rates(work, plan):
            say(line)
    for line in _pixels(runs, plan):
        say(line)
    if workers is not None:
        say(f"wall-clock time with {workers} worker{'s' if workers > 1 else ''}: {_time(plan.wall_seconds(workers))}")


def _networks(plan: Plan, unit: str) -> Iterator[dict[str, object]]:
    for work in plan.works:
        yield {
            "network": work.model,
            "classes": work.n_classes,
            "done": work.n_done,
            "to do": len(work.n_images),
            "images": sum(work.n_images),
            "shards": len(work.shards(plan.shard_size)),
            unit: _time(sum(work.seconds_by_stage.values())),
            "store grows by": _size(sum(work.bytes_by_table.values())),
        }


def _total(plan: Plan, unit: str) -> dict[str, object]:
    return {
        "network": "all",
        "classes": sum(work.n_classes for work in plan.works),
        "done": sum(work.n_done for work in plan.works),
        "to do": sum(len(work.n_images) for work in plan.works),
        "images": sum(sum(work.n_images) for work in plan.works),
        "shards": sum(len(work.shards(plan.shard_size)) for work in plan.works),
        unit: _time(plan.seconds),
        "store grows by": _size(plan.n_bytes),
    }


def _stages(work: Work, growth: Mapping[str, str], unit: str) -> Iterator[dict[str, object]]:
    if work.rates is None:
        return
    for verb, seconds in work.seconds_by_stage.items():
        is_stage = verb in growth
        yield {
            "network": work.model,
            "stage": verb,
            "measured": f"{work.rates.seconds_per_image(verb):.3g} s per image" if is_stage else "",
            "grows with": growth.get(verb, ""),
            unit: _time(seconds),
        }


def _rates(work: Work, plan: Plan) -> Iterator[str]:
    rates = work.rates
    if rates is None:
        yield f"{work.model}: nothing to do"
        return
    yield f"{work.model}: {rates.source}; on {rates.device}"
    tables = sorted(rates.n_bytes, key=lambda table: -work.bytes_by_table[table])
    most = [f"{table} {_size(rates.bytes_per_image(table))}" for table in tables[:5]]
    yield f"  bytes per image, as measured, before publishing: {', '.join(most)}, …"
    bounded = [table for table in tables if SCHEMAS[table].growth != "images"]
    if bounded:
        yield f"  growing with regions or their pairs up to max_regions: {', '.join(bounded)}"
    if rates.start_seconds:
        yield f"  start of a process: {_time(rates.start_seconds)}, once a {'shard' if plan.starts_each else 'worker'}"
    if rates.gather_seconds is None:
        yield "  not in it: joining the classes at the end, which only --measure tells"


def _pixels(runs: Sequence[Run[Settings]], plan: Plan) -> Iterator[str]:
    """Say how much a pixel cache takes; networks of one preprocessing share their pictures."""
    sizes: dict[Path, int] = {}
    for run, work in zip(runs, plan.works, strict=True):
        cache = pixel_cache(run.classifier.preprocessing.key())
        if cache is not None:
            sizes[cache.folder] = max(sizes.get(cache.folder, 0), sum(work.n_images) * cached_bytes(run.size))
    if sizes:
        folder = next(iter(sizes)).parent
        yield f"pixel cache {folder}: up to {_size(sum(sizes.values()))} for pictures that it does not have yet"


def _unit(plan: Plan) -> str:
    kinds = {work.rates.device.partition(":")[0] for work in plan.works if work.rates}
    return {frozenset({"cuda"}): "GPU time", frozenset({"cpu"}): "CPU time"}.get(frozenset(kinds), "device time")


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.3g} TB"
