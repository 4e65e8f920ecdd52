"""Shards at a place: lost ones are started again, others are not; and a Ray cluster of two nodes that loses one."""

import logging
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from aviary import bird_folder
from prefect.client.schemas.objects import State, StateType

from flows.evidence import EvidenceRequest, bagnet_evidence
from flows.fanout import FanOut, is_lost, place_of, run_shards
from flows.summarise import summarise_shard
from xvcore.data import open_dataset
from xvcore.errors import XvError
from xvcore.stages import pipeline
from xvcore.stages.run import announce, conclude, open_run
from xvcore.store import SCHEMAS, Store

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
    with pytest.raises(XvError, match=r"127\.0\.0\.1:9"), place_of(fan_out, summarise_shard):
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=240):
        yield


def _request(store: Path, dataset: str, fan_out: FanOut) -> EvidenceRequest:
    classes = open_dataset(dataset).classes
    return EvidenceRequest(
        dataset=dataset,
        models=[f"partbirds_bagnet17@random?classes={len(classes)}"],
        store=str(store),
        class_map={info.class_id: str(info.class_idx) for info in classes},
        batch_size=4,
        fan_out=fan_out,
    )


def _alone(request: EvidenceRequest) -> str:
    """Do the same with the library alone, in this process."""
    run = open_run(request.specs()[0])
    class_ids = [info.class_id for info in run.dataset.classes]
    announce(run, class_ids)
    for class_id in class_ids:
        pipeline.complete_class(run, class_id)
    pipeline.gather(run)
    conclude(run)
    return run.run_id


def _differences(first: Path, second: Path, run_id: str) -> list[str]:
    """Return the tables of a run that differ in more than time."""
    timed = {"seconds", "seconds_by_stage", "finished_at", "attempt", "images_per_second", "gpu_bytes"}
    found = []
    for name in SCHEMAS:
        tables = []
        for url in (first, second):
            store = Store(url)
            parts = [store.read(name, run_id, each) for each in store.classes_of(name, run_id)]
            tables.append(pd.concat(parts).drop(columns=timed, errors="ignore") if parts else pd.DataFrame())
        if not tables[0].reset_index(drop=True).equals(tables[1].reset_index(drop=True)):
            found.append(name)
    return found


@pytest.mark.slow
def test_two_ray_nodes_do_twenty_classes_though_one_is_killed(
    server: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("prefect_ray", reason="pip install 'xv[ray]'")
    from ray.cluster_utils import Cluster

    dataset = bird_folder(tmp_path / "birds", n_classes=20, n_images=4)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    request = _request(tmp_path / "ray", dataset, FanOut(to="ray", ray_address=cluster.address))
    run_id = open_run(request.specs()[0]).run_id
    store = Store(request.store)

    def kill_in_the_middle() -> None:
        while len(store.classes_of("class_runs", run_id)) < 6:
            time.sleep(0.1)
        cluster.remove_node(second, allow_graceful=False)

    killer = Thread(target=kill_in_the_middle)
    started = time.monotonic()
    try:
        killer.start()
        with caplog.at_level(logging.WARNING, logger="flows.fanout"):
            done = bagnet_evidence(request)
        killer.join()
    finally:
        cluster.shutdown()
    print(f"20 classes on two Ray nodes, one killed: {time.monotonic() - started:.0f} s")
    assert len(done[run_id]) == 20
    assert "is lost" in caplog.text
    alone = _request(tmp_path / "alone", dataset, FanOut())
    assert _alone(alone) == run_id
    assert _differences(tmp_path / "ray", tmp_path / "alone", run_id) == []
    assert len(store.read("evidence", run_id, done[run_id][0])) == 4
