"""Laws of cutting: every class in one shard, in order; minutes of work each where a shard starts a process; tasks in it."""

import itertools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.fanout import FanOut
from flows.shards import MEASURED_FIRST, SHARD_SECONDS, TASK_SECONDS, UNKNOWN_SIZE, cut, in_tasks, rounds

ELSEWHERE = [FanOut(to="pool"), FanOut(to="ray")]


@given(
    st.lists(st.floats(0, 1000), max_size=40),
    st.sampled_from([FanOut(), *ELSEWHERE, FanOut(shard_size=3), FanOut(to="pool", shard_size=1)]),
    st.booleans(),
)
def test_every_class_is_in_one_shard_in_order(seconds: list[float], fan_out: FanOut, is_known: bool) -> None:
    classes = [f"c{number}" for number in range(len(seconds))]
    took = dict(zip(classes, seconds, strict=True))

    def asked(class_ids: Sequence[str]) -> list[float] | None:
        return [took[class_id] for class_id in class_ids] if is_known else None

    found = [shard for shards in rounds(classes, fan_out, asked) for shard in shards]
    assert [class_id for shard in found for class_id in shard] == classes
    assert all(found)
    assert not is_known or found == cut(classes, fan_out, asked)
    assert all(len(shard) <= (fan_out.shard_size or len(classes)) for shard in found)


def test_here_one_shard_is_enough_and_what_it_takes_is_not_looked_for() -> None:
    def nobody_asks(class_ids: Sequence[str]) -> None:
        raise AssertionError

    classes = [f"c{number}" for number in range(7)]
    assert list(rounds(classes, FanOut(), nobody_asks)) == [[classes]]
    ((*found,),) = rounds(classes, FanOut(to="pool", shard_size=3), nobody_asks)
    assert list(map(len, found)) == [3, 3, 1]


@pytest.mark.parametrize("fan_out", ELSEWHERE)
@pytest.mark.parametrize("rate", [0.001, 0.5, 20.0, 1000.0])
def test_elsewhere_a_shard_is_minutes_of_work(fan_out: FanOut, rate: float) -> None:
    took = {f"c{number}": rate * (1 + number % 7) for number in range(500)}
    found = cut(list(took), fan_out, lambda class_ids: [took[class_id] for class_id in class_ids])
    seconds = [sum(took[class_id] for class_id in shard) for shard in found]
    assert all(each <= SHARD_SECONDS or len(shard) == 1 for each, shard in zip(seconds, found, strict=True))
    assert all(one + other > SHARD_SECONDS for one, other in itertools.pairwise(seconds))


@pytest.mark.parametrize("fan_out", ELSEWHERE)
def test_where_nothing_was_measured_a_small_shard_goes_first_and_tells(fan_out: FanOut) -> None:
    classes = [str(number) for number in range(50)]
    known: list[float] = []
    shards = rounds(classes, fan_out, lambda class_ids: known * len(class_ids) or None)
    assert next(shards) == [classes[:MEASURED_FIRST]]
    known.append(1.0)
    assert list(shards) == [[classes[MEASURED_FIRST:]]]


@pytest.mark.parametrize("fan_out", ELSEWHERE)
def test_where_it_did_not_tell_shards_are_small(fan_out: FanOut) -> None:
    _, found = rounds([str(number) for number in range(50)], fan_out, lambda _: None)
    assert {len(shard) for shard in found[:-1]} == {UNKNOWN_SIZE}


def _tasks(n_classes: int, seconds: Callable[[int], float]) -> list[list[str]]:
    """Return the tasks of classes where the one of a number takes so long."""
    now, found = [0.0], []
    for some in in_tasks([str(number) for number in range(n_classes)], lambda: now[0]):
        found.append(some)
        now[0] += sum(seconds(int(class_id)) for class_id in some)
    return found


@pytest.mark.parametrize("seconds", [0.0, 0.2, 7.0, 40.0, 500.0])
def test_a_task_is_a_minute_of_classes_and_never_less_than_one(seconds: float) -> None:
    found = _tasks(1000, lambda _: seconds)
    assert [class_id for some in found for class_id in some] == [str(number) for number in range(1000)]
    assert all(len(some) == 1 or len(some) * seconds <= TASK_SECONDS for some in found)
    assert len(found) <= min(1000, 2 * 1000 * seconds / TASK_SECONDS + 11)


def test_tasks_grow_and_shrink_with_what_classes_take() -> None:
    sizes = list(map(len, _tasks(200, lambda number: 1.0 if number < 31 else 45.0)))
    assert sizes[:5] == [1, 2, 4, 8, 16]
    assert set(sizes[6:]) == {1}
