"""What a run would take before it is started: classes and images to do, time of each stage, bytes, wall-clock time.

The arithmetic; the rates that it starts from are measured, see :mod:`xvcore.runs.rates`.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from xvcore.errors import XvError
from xvcore.runs import pipeline
from xvcore.runs.costs import Rates
from xvcore.runs.rates import measured, rates_of_store
from xvcore.runs.run import Run
from xvcore.runs.settings import Settings
from xvcore.store import SCHEMAS


@dataclass(frozen=True, slots=True)
class Work:
    """What is left to do of one network.

    Parameters
    ----------
    model : name of the network
    n_classes : classes asked for
    n_images : of each class that is not done
    rates : None only where nothing is left
    """

    model: str
    n_classes: int
    n_images: tuple[int, ...]
    rates: Rates | None

    @property
    def n_done(self) -> int:
        """Classes that are done already."""
        return self.n_classes - len(self.n_images)

    @property
    def seconds_by_stage(self) -> dict[str, float]:
        """Seconds of all classes, and of *gather* at the end where there is such and its time is known."""
        if self.rates is None:
            return {}
        found = {verb: sum(map(cost.of, self.n_images)) for verb, cost in self.rates.seconds.items()}
        gather = self.rates.gather_seconds
        return {**found, "gather": gather.of(self.n_classes)} if gather and gather.coefficients else found

    @property
    def bytes_by_table(self) -> dict[str, float]:
        """Bytes of the parts and of their published copies, and of what is gathered."""
        if self.rates is None:
            return {}
        found = {
            table: sum(map(cost.of, self.n_images)) * (1 + SCHEMAS[table].is_published)
            for table, cost in self.rates.n_bytes.items()
        }
        return {**found, "gather": self.rates.gather_bytes.of(self.n_classes)}

    def shards(self, size: int) -> list[float]:
        """Return the seconds of each shard of ``size`` classes."""
        rates = self.rates
        if rates is None:
            return []
        each = [sum(cost.of(n_images) for cost in rates.seconds.values()) for n_images in self.n_images]
        return [sum(shard) for shard in _cut(each, size)]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is left to do of all networks.

    Parameters
    ----------
    works : one a network
    shard_size : classes of one network that are computed in one go
    starts_each : whether each shard is a process of its own, as on a work pool; else each worker starts once
    """

    works: tuple[Work, ...]
    shard_size: int = 1
    starts_each: bool = False

    @property
    def seconds(self) -> float:
        """Seconds of one device for everything, without the start of its processes."""
        return sum(sum(work.seconds_by_stage.values()) for work in self.works)

    @property
    def n_bytes(self) -> float:
        """Bytes that the store will grow by."""
        return sum(sum(work.bytes_by_table.values()) for work in self.works)

    def wall_seconds(self, n_workers: int) -> float:
        """Return the seconds until all is done, if each worker takes the next shard as soon as it is free.

        The tables of the classes are joined at the end, one network after the other.
        """
        start = max((work.rates.start_seconds for work in self.works if work.rates), default=0.0)
        free_at = [0.0 if self.starts_each else start] * n_workers
        for work in self.works:
            for seconds in work.shards(self.shard_size):
                heapq.heapreplace(free_at, free_at[0] + seconds + (start if self.starts_each else 0.0))
        return max(free_at) + sum(work.seconds_by_stage.get("gather", 0.0) for work in self.works)


def planned(
    runs: Sequence[Run[Settings]],
    class_ids: Sequence[str],
    *,
    shard_size: int = 1,
    starts_each: bool = False,
    measure: int | None = None,
) -> Plan:
    """Return what is left to do, and what that takes.

    Parameters
    ----------
    runs : one a network, opened; nothing is written to their store
    class_ids : classes asked for
    shard_size, starts_each : see :class:`Plan`
    measure : images of one class that are computed now, in a store of their own; None: the rates come from classes
        that the store has

    Raises
    ------
    XvError
        Nothing that the rates could come from.
    """
    left = [classes_to_do(run, class_ids) for run in runs]
    if measure is None:
        rates = [rates_of_store(run) if classes else None for run, classes in zip(runs, left, strict=True)]
    else:
        rates = measured(runs, left, measure)
    unknown = [run for run, classes, of_run in zip(runs, left, rates, strict=True) if classes and of_run is None]
    if unknown:
        names = ", ".join(run.classifier.name for run in unknown)
        raise XvError(
            f"nothing to estimate from: {runs[0].store.url} has no finished class of {runs[0].settings.method} with "
            f"{names}; measure on this machine, e.g. --measure 32"
        )
    works = [
        Work(run.classifier.name, len(class_ids), tuple(image_count(run, each) for each in classes), of_run)
        for run, classes, of_run in zip(runs, left, rates, strict=True)
    ]
    return Plan(tuple(works), shard_size, starts_each)


def classes_to_do(run: Run[Settings], class_ids: Sequence[str]) -> list[str]:
    """Return the classes that the store has not got yet; one that was begun counts whole."""
    return [class_id for class_id in class_ids if not pipeline.is_complete(run, class_id)]


def image_count(run: Run[Settings], class_id: str) -> int:
    """Return how many images of a class the run would look at; none is opened."""
    n_images = len(run.dataset.images(class_id))
    return n_images if run.settings.max_images is None else min(n_images, run.settings.max_images)


def _cut(values: Sequence[float], size: int) -> Iterator[list[float]]:
    rest = iter(values)
    while part := list(islice(rest, size)):
        yield part
