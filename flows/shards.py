"""How the classes of a network are cut into shards: what is started, lost and started again in one go."""

from collections.abc import Callable, Iterator, Sequence

from flows.fanout import FanOut
from xvcore.runs.plan import image_count
from xvcore.runs.rates import rates_of_store
from xvcore.runs.run import Run
from xvcore.runs.settings import Settings

SHARD_SECONDS = 180.0
"""Work of a shard that is computed elsewhere: much more than the start of its process, little enough to be lost."""
UNKNOWN_SIZE = 4
"""Classes of such a shard where the store does not tell how long a class takes."""


def cut(classes: Sequence[str], fan_out: FanOut, seconds: Callable[[], Sequence[float] | None]) -> list[list[str]]:
    """Return classes in shards, in their order, none of them empty.

    A shard that is computed here starts nothing, so one is enough. Elsewhere each starts a process, which pays where it
    has minutes to do.

    Parameters
    ----------
    classes : of one network
    fan_out : where shards are computed, and their size where it was chosen
    seconds : returns how long each class takes, None where that is not known; asked for where it decides
    """
    if fan_out.shard_size is not None:
        return _by_number(classes, fan_out.shard_size)
    if not classes or fan_out.to == "here":
        return _by_number(classes, max(len(classes), 1))
    known = seconds()
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
