"""How long classes take and how many bytes they leave: measured, in earlier runs of a store or on this machine now."""

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pandas as pd

from xvcore.errors import XvError
from xvcore.parameters import as_dict, replaced
from xvcore.runs import pipeline
from xvcore.runs.costs import Cost, Rates, Sample, fitted, images_at_bound, through_origin
from xvcore.runs.device import device_name
from xvcore.runs.images import records
from xvcore.runs.run import Run, announce, open_run
from xvcore.runs.settings import Settings
from xvcore.runs.stage import pipelines
from xvcore.runs.summaries import summary_of
from xvcore.store import SCHEMAS, Store
from xvcore.store.schema import Growth

CLASSES_TRIED = 5
"""Classes that a measurement tries until one has images past the gate."""


def rates_of_store(run: Run[Settings]) -> Rates | None:
    """Return the rates of finished classes of the same method and network, None where the store has none.

    Of this run, else of one with the same parameters, else of the latest with others: then the source names the
    parameters that differ. Classes that were computed in one go count, those of the device with most images.
    """
    for row in _like(run):
        samples = _samples(run, row)
        if samples:
            device = max(samples, key=lambda name: sum(each.n_images for each in samples[name]))
            chosen = samples[device]
            n_images = sum(each.n_images for each in chosen)
            source = f"{len(chosen)} finished classes, {n_images} images of {row['run_id']}"
            others = _different(as_dict(run.settings), json.loads(row["params"]))
            if others:
                source += f"; settings differ: {', '.join(others)}"
            rates = _rates(run, device, source, chosen, through_origin)
            return dataclasses.replace(rates, gather_bytes=Cost((_gathered_bytes(run.store, row["run_id"]),)))
    return None


def measured(runs: Sequence[Run[Settings]], left: Sequence[Sequence[str]], n_images: int) -> list[Rates | None]:
    """Return rates measured on this machine now: a class of three sizes, each with a store that is thrown away.

    The sizes are a quarter and a half of ``n_images``, and all of them: what a class costs once is then told from what
    its images cost, and pairs of images from both. A run on the smallest size comes before: what the first images of
    a process cost (loading, compiling) is told from both. Networks share the stores, as they would share the cache of
    proposals.
    """
    with ExitStack() as stack:
        stores = {
            size: stack.enter_context(tempfile.TemporaryDirectory())
            for size in sorted({max(1, n_images // 4), max(1, n_images // 2), n_images})
        }
        return [_measured(run, classes, stores) if classes else None for run, classes in zip(runs, left, strict=True)]


def _measured(run: Run[Settings], class_ids: Sequence[str], stores: Mapping[int, str]) -> Rates:
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        class_id = _first_past_gate(_elsewhere(run, folder, min(stores)), class_ids)
        start = time.monotonic() - started
    found = [_computed(_elsewhere(run, folder, size), class_id) for size, folder in stores.items()]
    samples, (gather_seconds, gather_bytes, once) = [each.sample for each in found], found[-1].gather
    source = f"measured now: {samples[-1].n_images} images of {class_id}, {found[-1].n_used} past the gate"
    rates = _rates(run, device_name(run.classifier.device), source, samples, fitted)
    power = 1 if pipelines[run.settings.method].gathers_by == "class" else 0
    return dataclasses.replace(
        rates,
        gather_seconds=rates.gather_seconds or Cost((*[0.0] * power, gather_seconds)),
        gather_bytes=Cost((once, gather_bytes) if power else (once + gather_bytes,)),
        start_seconds=max(0.0, start - sum(cost.of(samples[0].n_images) for cost in rates.seconds.values())),
    )


def _elsewhere(run: Run[Settings], folder: str, n_images: int) -> Run[Settings]:
    """Return the run with at most so many images a class and another store."""
    settings = replaced(run.settings, {"max_images": n_images})
    return open_run(dataclasses.replace(run.spec, settings=settings, store=folder))


def _first_past_gate(run: Run[Settings], class_ids: Sequence[str]) -> str:
    """Compute classes until one has images past the gate, and return it."""
    for class_id in class_ids[:CLASSES_TRIED]:
        announce(run, [class_id])
        if pipeline.complete_class(run, class_id)["status"] == "complete":
            return class_id
    tried = ", ".join(class_ids[:CLASSES_TRIED])
    raise XvError(f"nothing to measure: {run.classifier.name} has no image past the gate in {tried}; name --classes")


@dataclass(frozen=True, slots=True)
class _Computed:
    """A sample, its images past the gate; seconds and bytes of gathering it, and bytes of a summary over classes."""

    sample: Sample
    n_used: int
    gather: tuple[float, float, float]


def _computed(run: Run[Settings], class_id: str) -> _Computed:
    """Compute a class and gather it."""
    before = _bytes_by_table(run.store)
    announce(run, [class_id])
    record = pipeline.complete_class(run, class_id)
    then = _bytes_by_table(run.store)
    started = time.monotonic()
    pipeline.gather(run)
    seconds = time.monotonic() - started
    after = _bytes_by_table(run.store)
    summary = summary_of(run)
    others = [table for table in after if not summary or table != summary.table]
    gathered = sum((1 + SCHEMAS[table].is_published) * (after[table] - then[table]) for table in others)
    n_bytes = {table: then[table] - before[table] for table in others if then[table] > before[table]}
    once = after[summary.table] if summary else 0
    n_used = pipelines[run.settings.method].count(run, class_id).n_used
    return _Computed(_sample(record, n_bytes), n_used, (seconds, gathered, once))


def _rates(
    run: Run[Settings],
    device: str,
    source: str,
    samples: Sequence[Sample],
    fit: Callable[[Sequence[tuple[int, float]], Growth, float], Cost],
) -> Rates:
    def cost(growth: Growth, values: Sequence[float]) -> Cost:
        points = [(each.n_images, value) for each, value in zip(samples, values, strict=True)]
        return fit(points, growth, images_at_bound(run.settings, growth, samples))

    tables = sorted({table for each in samples for table in each.n_bytes})
    return Rates(
        device=device,
        source=source,
        samples=tuple(samples),
        seconds={
            stage.verb: cost(stage.growth, [each.seconds[stage.verb] for each in samples])
            for stage in pipeline.stages_of(run)
        },
        n_bytes={
            table: cost(SCHEMAS[table].growth, [each.n_bytes.get(table, 0) for each in samples]) for table in tables
        },
        gather_seconds=None if pipelines[run.settings.method].gather else Cost(()),
    )


def _like(run: Run[Settings]) -> Iterator[dict[str, Any]]:
    """Yield the rows of runs of the same method, network and input, those nearest to this run first."""
    rows = records(run.store.runs())
    params = as_dict(run.settings)
    alike = [
        row
        for row in rows
        if (row["method"], row["model"], row["input_px"]) == (run.settings.method, run.classifier.name, run.size[0])
    ]
    latest_first = alike[::-1]
    yield from sorted(
        latest_first, key=lambda row: (row["run_id"] != run.run_id, bool(_different(json.loads(row["params"]), params)))
    )


def _samples(run: Run[Settings], row: Mapping[str, Any]) -> dict[str, list[Sample]]:
    """Return the classes of a run that were computed in one go, by device, with the bytes of their parts."""
    store, run_id = run.store, row["run_id"]
    verbs = {stage.verb for stage in pipeline.stages_of(run)}
    sizes = {table: store.sizes(table, run_id) for table in SCHEMAS if SCHEMAS[table].shard == "class_id"}
    caches = pipelines[run.settings.method].caches
    if caches:  # what networks share counts for each of them
        sizes.update({table: store.sizes(table, owner) for table, owner in caches(run).items()})
    found: dict[str, list[Sample]] = {}
    for class_id in store.classes_of("class_runs", run_id):
        record = store.record(run_id, class_id).to_pylist()[0]
        is_whole = verbs <= set(json.loads(record["seconds_by_stage"] or "{}"))
        if record["status"] == "complete" and record["attempt"] == 1 and is_whole and record["n_images"]:
            device = record["device"] or json.loads(row["env"]).get("device", "unknown device")
            n_bytes = {table: of_class[class_id] for table, of_class in sizes.items() if class_id in of_class}
            found.setdefault(device, []).append(_sample(record, n_bytes))
    return found


def _sample(record: Mapping[str, Any], n_bytes: Mapping[str, int]) -> Sample:
    counts = {
        str(name).removeprefix("n_"): int(value)
        for name, value in record.items()
        if str(name).startswith("n_") and not pd.isna(value)
    }
    return Sample(int(record["n_images"]), json.loads(record["seconds_by_stage"]), n_bytes, counts)


def _bytes_by_table(store: Store) -> dict[str, int]:
    """Return the bytes of all parts of each table."""
    return {
        table: sum(sum(store.sizes(table, owner).values()) for owner in store.owners_of(table)) for table in SCHEMAS
    }


def _gathered_bytes(store: Store, run_id: str) -> float:
    """Return the bytes of what a run has beside the parts of its classes, with the published copies."""
    tables = [SCHEMAS[name] for name in SCHEMAS if SCHEMAS[name].shard not in ("class_id", None)]
    return sum((1 + table.is_published) * sum(store.sizes(table.name, run_id).values()) for table in tables)


def _different(ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the parameters whose values differ, by dotted name, with the values there and here."""
    found: list[str] = []
    for name in sorted({*ours, *theirs}):
        one, other = theirs.get(name), ours.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += _different(other, one, f"{prefix}{name}.")
        elif one != other:
            found.append(f"{prefix}{name} = {one}, not {other}")
    return found
