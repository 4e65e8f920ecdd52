"""A node of a Ray cluster and a worker of a pool that are killed in the middle: the tables are those of one process."""

import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pandas as pd
import pytest
import torch
from aviary import bird_folder
from results import results, told
from service import Api, free_ports, xv

from flows.classes import ClassesRequest
from flows.families import evidence, summarise
from flows.fanout import FanOut
from flows.up import _family, _processes
from xvcore.data import open_dataset
from xvcore.runs import pipeline
from xvcore.runs.run import announce, conclude, open_run
from xvcore.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=240):
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute as a task of Ray does that has one processor: sums over two threads are rounded otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _alone(request: ClassesRequest) -> str:
    """Do the same with the library, in this process."""
    run = open_run(request.specs()[0])
    class_ids = [info.class_id for info in run.dataset.classes]
    announce(run, class_ids)
    for class_id in class_ids:
        pipeline.complete_class(run, class_id)
    pipeline.gather(run)
    conclude(run)
    return run.run_id


def _assert_same(one: Path, other: Path) -> None:
    first, second = results(Store(one)), results(Store(other))
    assert first["runs"]["status"].tolist() == ["complete"]
    for name, rows in first.items():
        pd.testing.assert_frame_equal(rows, second[name], obj=name)


def test_a_ray_cluster_of_two_nodes_does_twenty_classes_though_one_node_is_killed(
    server: None, one_thread: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("prefect_ray", reason="pip install 'xv[ray]'")
    from ray.cluster_utils import Cluster

    dataset = bird_folder(tmp_path / "birds", n_classes=20, n_images=4)
    birds = {
        "dataset": dataset,
        "models": ["partbirds_bagnet17@random?classes=20"],
        "class_map": {info.class_id: str(info.class_idx) for info in open_dataset(dataset).classes},
        "batch_size": 4,
    }
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    on_ray = FanOut(to="ray", ray_address=cluster.address, shard_size=1)
    request = evidence.COMMAND.request(store=str(tmp_path / "ray"), fan_out=on_ray, **birds)
    run_id = open_run(request.specs()[0]).run_id
    store = Store(request.store)

    def kill_in_the_middle() -> None:
        raylet = second.all_processes["raylet"][0].process.pid
        while len(store.classes_of("class_runs", run_id)) < 6 or not _is_at_work(raylet):
            time.sleep(0.02)
        cluster.remove_node(second, allow_graceful=False)

    killer = Thread(target=kill_in_the_middle)
    started = time.monotonic()
    try:
        killer.start()
        with caplog.at_level(logging.WARNING, logger="flows.fanout"):
            done = evidence.flow(request)
        killer.join()
    finally:
        cluster.shutdown()
    assert len(done[run_id]) == 20
    lost = [record.getMessage() for record in caplog.records if "is lost" in record.getMessage()]
    assert lost
    told("a Ray node killed", time.monotonic() - started, lost[0], "20 classes done by the other node")
    assert _alone(evidence.COMMAND.request(store=str(tmp_path / "alone"), **birds)) == run_id
    _assert_same(tmp_path / "ray", tmp_path / "alone")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, Path]]:
    """A service with two workers of shards, and the folder where its runs work."""
    folder = tmp_path_factory.mktemp("service")
    port, report_port = free_ports(2)
    home = folder / "home"
    ports = ["--port", str(port), "--report-port", str(report_port)]
    with ExitStack() as stack:
        stack.callback(lambda: xv("down", "--home", str(home), folder=folder))
        up = xv("up", "--home", str(home), *ports, "--gpu", "0", "--gpu", "1", folder=folder)
        assert up.returncode == 0, up.stderr
        yield stack.enter_context(Api(port, home)), folder


def _birds(folder: Path, n_classes: int) -> dict[str, Any]:
    """Draw classes that take some seconds each, and return what a request says of them."""
    dataset = bird_folder(folder / "birds", n_classes=n_classes, n_images=4)
    return {
        "dataset": dataset,
        "models": [f"partbirds_narrow@random?classes={n_classes}"],
        "class_map": {info.class_id: str(info.class_idx) for info in open_dataset(dataset).classes},
        "batch_size": 1,
        "settings": {
            "skip_misclassified": False,
            "least_drop": None,
            "mask": {"smooth_steps": 400, "crisp_steps": 4},
            "proposals": {"n_boxes": 60},
        },
    }


def test_two_workers_do_the_classes_of_a_run_though_one_is_killed_in_the_middle_of_a_class(
    service: tuple[Api, Path], tmp_path: Path
) -> None:
    """The run does not have to be started again: it hands the lost shard to the other worker."""
    api, folder = service
    birds = _birds(tmp_path, n_classes=6)
    started = time.monotonic()
    answer = api.start("summarise", **birds, store=str(tmp_path / "pool"), fan_out={"to": "pool", "shard_size": 1})
    assert answer.status_code == httpx.codes.CREATED, answer.text
    run = answer.json()["id"]
    _wait_for_masks_of(tmp_path / "pool", n_classes=2)
    family = _family(_pid(folder / "home", "worker-gpu1"), _processes())
    assert len(family) > 1, "the worker was killed between two classes"
    for pid in family:
        os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    assert api.end_of(run, seconds=900).startswith("Completed")
    lost = [line for line in (folder / "home" / "logs" / "driver.log").read_text().splitlines() if "is lost" in line]
    assert len(lost) == 1
    told(
        "one of two workers killed -9 with its flow run",
        time.monotonic() - started,
        f"run complete {time.monotonic() - killed:.0f} s after the kill",
        lost[0],
    )
    _alone(summarise.COMMAND.request(store=str(tmp_path / "alone"), **birds))
    _assert_same(tmp_path / "pool", tmp_path / "alone")


def test_a_run_that_is_cancelled_takes_its_shards_with_it(service: tuple[Api, Path], tmp_path: Path) -> None:
    api, _ = service
    birds = _birds(tmp_path, n_classes=3)
    answer = api.start("summarise", **birds, store=str(tmp_path / "pool"), fan_out={"to": "pool", "shard_size": 1})
    assert answer.status_code == httpx.codes.CREATED, answer.text
    run = answer.json()["id"]
    _wait_for_masks_of(tmp_path / "pool", n_classes=1)
    asked = time.monotonic()
    body = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    api.client.post(f"/flow_runs/{run}/set_state", json=body).raise_for_status()
    assert api.end_of(run, seconds=120).startswith("Cancelled")
    until = time.monotonic() + 60
    while "RUNNING" in (states := _states_of_shards(api, run)) or "CANCELLING" in states:
        assert time.monotonic() < until, states
        time.sleep(0.5)
    seconds = time.monotonic() - asked
    assert len(states) == 3
    assert set(states) <= {"CANCELLED", "COMPLETED"}
    told("a run on two workers is cancelled", seconds, f"its shards: {', '.join(states)}", "")


def _states_of_shards(api: Api, run: str) -> list[str]:
    children = {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}}
    return sorted(each["state_type"] for each in api.client.post("/flow_runs/filter", json=children).json())


def _is_at_work(raylet: int) -> bool:
    """Say whether a worker of a Ray node has a task; its title is the name of the task then."""
    for pid in _family(raylet, _processes()):
        with suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_text().startswith("ray::shard"):
                return True
    return False


def _wait_for_masks_of(store: Path, *, n_classes: int) -> None:
    """Wait until so many classes are at work, each within its masks."""
    until = time.monotonic() + 300
    while len(list(store.glob("parts/predictions/*/*.parquet"))) < n_classes:
        assert time.monotonic() < until, "the workers have not begun"
        time.sleep(0.05)


def _pid(home: Path, name: str) -> int:
    processes = json.loads((home / "state.json").read_text())["processes"]
    return int(next(each["pid"] for each in processes if each["name"] == name))
