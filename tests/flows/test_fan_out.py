"""Shards at a place: lost ones are started again, others are not."""

from collections.abc import Collection, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.schemas.objects import State, StateType

from flows.families.summarise import shard_flow
from flows.fanout import FanOut, is_lost, place_of, run_shards
from xvcore.errors import XvError

pytestmark = pytest.mark.filterwarnings("default")

COMPLETED = State(type=StateType.COMPLETED)
CRASHED = State(type=StateType.CRASHED, message="no heartbeat")
OUT_OF_MEMORY = State(type=StateType.FAILED, message="Flow run encountered an exception: OutOfMemoryError: CUDA …")
FAILED = State(type=StateType.FAILED, message="Flow run encountered an exception: XvError: unknown class")
CANCELLED = State(type=StateType.CANCELLED)


class Planned:
    """A place where each shard ends as planned, one look at a time, the last that was started first."""

    def __init__(self, **states: list[State]) -> None:
        self.states = states
        self.started: list[tuple[str, int]] = []
        self.most_at_work = 0
        self.cancelled: list[str] = []

    def start(self, shard: Any, attempt: int, *, join: bool) -> str:
        self.started.append((shard.title, attempt))
        return str(shard.title)

    def ended(self, handles: Collection[str]) -> Iterator[tuple[str, State]]:
        self.most_at_work = max(self.most_at_work, len(handles))
        handle = list(handles)[-1]
        yield handle, self.states[handle].pop(0)

    def cancel(self, handles: Collection[str]) -> None:
        self.cancelled = sorted(handles)


def _shards(*names: str) -> list[Any]:
    return [SimpleNamespace(title=name) for name in names]


def test_what_is_lost_is_started_again_and_what_failed_is_not() -> None:
    place = Planned(a=[CRASHED, COMPLETED], b=[FAILED], c=[OUT_OF_MEMORY, CRASHED, CRASHED], d=[CANCELLED])
    ends = {shard.title: state for shard, state in run_shards(place, _shards(*"abcd"), FanOut(attempts=3, at_once=2))}
    assert ends == {"a": COMPLETED, "b": FAILED, "c": CRASHED, "d": CANCELLED}
    assert sorted(place.started) == [("a", 1), ("a", 2), ("b", 1), ("c", 1), ("c", 2), ("c", 3), ("d", 1)]
    assert place.most_at_work == 2


@pytest.mark.parametrize(
    ("state", "lost"),
    [(COMPLETED, False), (FAILED, False), (CANCELLED, False), (CRASHED, True), (OUT_OF_MEMORY, True)],
)
def test_lost_is_what_ended_through_no_fault_of_its_own(state: State, lost: bool) -> None:
    assert is_lost(state) is lost


def test_whoever_is_stopped_cancels_what_is_at_work() -> None:
    place = Planned(a=[], b=[], c=[COMPLETED])
    shards = run_shards(place, _shards(*"abc"), FanOut())
    next(shards)
    with pytest.raises(KeyboardInterrupt):
        shards.throw(KeyboardInterrupt())
    assert place.cancelled == ["a", "b"]


def test_ray_that_is_not_there_is_said_at_once() -> None:
    pytest.importorskip("prefect_ray", reason="pip install 'xv[ray]'")
    fan_out = FanOut(to="ray", ray_address="127.0.0.1:9")
    with pytest.raises(XvError, match=r"127\.0\.0\.1:9"), place_of(fan_out, shard_flow):
        pass
