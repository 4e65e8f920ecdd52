"""How the classes of a network are cut into shards, and those into tasks.

A shard is started, lost and started again in one go; a task shows on the server what is at work.
"""

import time
from collections.abc import Callable, Iterator, Sequence

from flows.fanout import FanOut
from xvcore.runs.plan import image_count
from xvcore.runs.rates import rates_of_store
from xvcore.runs.run import Run
from xvcore.runs.settings import Settings

SHARD_SECONDS = 180.0
"""Work of a shard that is computed elsewhere: much more than the start of its process, little enough to be lost."""
TASK_SECONDS = 60.0
"""Work of a task: much more than the server has to do for it, little enough to see how far a shard is."""
MEASURED_FIRST = 2
"""Classes of the shard that tells how long a class takes; the first one pays for what a process loads once."""
UNKNOWN_SIZE = 4
"""Classes of a shard where that one did not tell either: they failed."""
Seconds = Callable[[Sequence[str]], Sequence[float] | None]
"""How long each of some classes takes, None where that is not known."""


def rounds(classes: Sequence[str], fan_out: FanOut, seconds: Seconds) -> Iterator[list[list[str]]]:
    """Yield the shards that can be handed out at once, then those that can be when these have ended.

    Where nobody knows how long a class takes, the first shard is small and tells; the others are cut by what it told.

    Parameters
    ----------
    classes : of one network
    fan_out : where shards are computed, and their size where it was chosen
    seconds : asked for where it decides
    """
    if fan_out.shard_size is None and fan_out.to != "here" and classes and seconds(classes) is None:
        yield [list(classes[:MEASURED_FIRST])]
        classes = classes[MEASURED_FIRST:]
    yield cut(classes, fan_out, seconds)


def in_tasks(classes: Sequence[str], clock: Callable[[], float] = time.monotonic) -> Iterator[list[str]]:
    """Yield classes in their order: one, then as many as take :data:`TASK_SECONDS` by those before, at most doubled.

    What those before took is the time until the next are asked for.
    """
    left, size = list(classes), 1
    while left:
        started = clock()
        yield left[:size]
        left = left[size:]
        as_many = size * TASK_SECONDS / max(clock() - started, 1e-3)
        size = max(1, min(2 * size, int(as_many)))


def cut(classes: Sequence[str], fan_out: FanOut, seconds: Seconds) -> list[list[str]]:
    """Return classes in shards, in their order, none of them empty.

    A shard that is computed here starts nothing, so one is enough. Elsewhere each starts a process, which pays where it
    has minutes to do.

    Parameters
    ----------
    classes : of one network
    fan_out : where shards are computed, and their size where it was chosen
    seconds : asked for where it decides
    """
    if fan_out.shard_size is not None:
        return _by_number(classes, fan_out.shard_size)
    if not classes or fan_out.to == "here":
        return _by_number(classes, max(len(classes), 1))
    known = seconds(classes)
    return _by_number(classes, UNKNOWN_SIZE) if known is None else list(_by_time(classes, known))


def seconds_of(run: Run[Settings], classes: Sequence[str]) -> list[float] | None:
    """Return how long each class takes, by those that the store has of this run or one like it; None without such."""
    rates = rates_of_store(run)
    if rates is None:
        return None
    return [sum(cost.of(image_count(run, class_id)) for cost in rates.seconds.values()) for class_id in classes]


def _by_number(classes: Sequence[str], size: int) -> list[list[str]]:
    return [list(classes[first : first + size]) for first in range(0, len(classes), size)]


def _by_time(classes: Sequence[str], seconds: Sequence[float]) -> Iterator[list[str]]:
    shard: list[str] = []
    used = 0.0
    for class_id, each in zip(classes, seconds, strict=True):
        if shard and used + each > SHARD_SECONDS:
            yield shard
            shard, used = [], 0.0
        shard.append(class_id)
        used += each
    if shard:
        yield shard
