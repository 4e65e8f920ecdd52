"""Laws of cutting: every class in one shard, in order; minutes of work each where a shard starts a process."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.fanout import FanOut
from flows.shards import SHARD_SECONDS, UNKNOWN_SIZE, cut

ELSEWHERE = [FanOut(to="pool"), FanOut(to="ray")]


@given(
    st.lists(st.floats(0, 1000), max_size=40),
    st.sampled_from([FanOut(), *ELSEWHERE, FanOut(shard_size=3), FanOut(to="pool", shard_size=1)]),
    st.booleans(),
)
def test_every_class_is_in_one_shard_in_order(seconds: list[float], fan_out: FanOut, is_known: bool) -> None:
    classes = [f"c{number}" for number in range(len(seconds))]
    found = cut(classes, fan_out, lambda: seconds if is_known else None)
    assert [class_id for shard in found for class_id in shard] == classes
    assert all(found)
    assert all(len(shard) <= (fan_out.shard_size or len(classes)) for shard in found)


def test_here_one_shard_is_enough_and_what_it_takes_is_not_looked_for() -> None:
    def nobody_asks() -> None:
        raise AssertionError

    classes = [f"c{number}" for number in range(7)]
    assert cut(classes, FanOut(), nobody_asks) == [classes]
    assert list(map(len, cut(classes, FanOut(to="pool", shard_size=3), nobody_asks))) == [3, 3, 1]


@pytest.mark.parametrize("fan_out", ELSEWHERE)
@pytest.mark.parametrize("rate", [0.001, 0.5, 20.0, 1000.0])
def test_elsewhere_a_shard_is_minutes_of_work(fan_out: FanOut, rate: float) -> None:
    took = {f"c{number}": rate * (1 + number % 7) for number in range(500)}
    found = cut(list(took), fan_out, lambda: list(took.values()))
    seconds = [sum(took[class_id] for class_id in shard) for shard in found]
    assert all(each <= SHARD_SECONDS or len(shard) == 1 for each, shard in zip(seconds, found, strict=True))
    assert all(one + other > SHARD_SECONDS for one, other in itertools.pairwise(seconds))


@pytest.mark.parametrize("fan_out", ELSEWHERE)
def test_where_nothing_was_measured_shards_are_small(fan_out: FanOut) -> None:
    found = cut([str(number) for number in range(50)], fan_out, lambda: None)
    assert {len(shard) for shard in found[:-1]} == {UNKNOWN_SIZE}
