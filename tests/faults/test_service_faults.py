"""What becomes of a run of the whole service when it is cancelled, or when a part of the service is killed."""

import datetime
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from results import CLASSES, assert_same_results, assert_whole, finished, request, told
from service import ROOT, Api, free_ports, xv

from flows.up import RETENTION_SECONDS, _family, _processes, _read
from xvcore.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

AUTOMATIONS = yaml.safe_load((ROOT / "deployments" / "automations.yaml").read_text())["automations"]
SILENCE: int = AUTOMATIONS[0]["trigger"]["within"]
"""Seconds without a heartbeat from which a run is called crashed."""
POOL = {"fan_out": {"to": "pool", "shard_size": 1}}


class Running:
    """A service that is up, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.ports = free_ports(2)

    def up(self) -> float:
        """Start what does not run, and return how many seconds that took."""
        started = time.monotonic()
        ports = ["--port", str(self.ports[0]), "--report-port", str(self.ports[1])]
        done = xv("up", "--home", str(self.home), *ports, folder=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return time.monotonic() - started

    def is_whole(self) -> bool:
        """Return whether all parts live."""
        state, processes = _read(self.home), _processes()
        return state is not None and all(each.pid in processes for each in state.processes)

    def down(self) -> None:
        if (self.home / "state.json").exists():
            xv("down", "--home", str(self.home), folder=self.folder)

    def api(self) -> Api:
        return Api(self.ports[0], self.home)

    def family(self, name: str) -> list[int]:
        """Return the processes of one part of the service: itself and the flow runs that it started."""
        state = _read(self.home)
        assert state
        (part,) = (each for each in state.processes if each.name == name)
        return _family(part.pid, _processes())

    def kill(self, name: str) -> None:
        """Kill a part with all that it started."""
        for pid in reversed(self.family(name)):
            os.kill(pid, signal.SIGKILL)


def waited(condition: Callable[[], object], seconds: float, what: str) -> float:
    """Wait until a condition holds, and return how long it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"after {seconds} seconds still not: {what}"
        time.sleep(0.2)
    return time.monotonic() - started


def in_the_middle(store: Path) -> None:
    """Wait until the first class is complete and some masks of the second are there."""
    waited(lambda: any(store.glob(f"parts/masks_so_far/*/{CLASSES[1]}.parquet")), 300, "masks of the second class")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("service"))
    try:
        running.up()
        yield running
    finally:
        running.down()


@pytest.fixture
def api(service: Running) -> Iterator[Api]:
    if not service.is_whole():
        service.up()
    with service.api() as api:
        yield api


def started(api: Api, store: Path, **changes: Any) -> str:
    """Start a run and return its id."""
    answer = api.start("summarise", **(request(store) | changes))
    assert answer.status_code == httpx.codes.CREATED, answer.text
    identity: str = answer.json()["id"]
    return identity


def states(api: Api, flow_run: str) -> dict[str, str]:
    """Return the states of a run and of the runs it started, by name."""
    runs = [api.client.get(f"/flow_runs/{flow_run}").json()]
    tag = {"flow_runs": {"tags": {"all_": [f"of:{runs[0]['name']}"]}}}
    of_parent = {"flow_runs": {"parent_flow_run_id": {"any_": [flow_run]}}}
    for found in (tag, of_parent):
        runs += api.client.post("/flow_runs/filter", json=found).json()
    return {each["name"]: each["state"]["name"] for each in runs}


def resumed(api: Api, store: Path, slowly: Store, **changes: Any) -> float:
    """Ask for the same again, and return the seconds until it is complete."""
    since = time.monotonic()
    assert api.end_of(started(api, store, **changes), seconds=300).startswith("Completed")
    assert_whole(store)
    assert_same_results(Store(store), slowly)
    return time.monotonic() - since


@pytest.mark.parametrize("where", ["here", "pool"])
def test_cancel_stops_within_seconds_and_the_same_request_goes_on(
    service: Running, api: Api, slowly: Store, tmp_path: Path, where: str
) -> None:
    store, place = tmp_path / "store", {"fan_out": {"to": where}}
    run = started(api, store, **place)
    in_the_middle(store)
    before = finished(store)
    at_work = {pid for part in ("driver", "worker") for pid in service.family(part)[1:]}
    assert at_work
    button = {"state": {"type": "CANCELLING"}}
    assert api.client.post(f"/flow_runs/{run}/set_state", json=button).json()["status"] == "ACCEPT"
    gone = waited(lambda: not at_work & set(_processes()), 60, "processes gone")
    said = gone + waited(lambda: set(states(api, run).values()) <= {"Cancelled", "Completed"}, 60, "state Cancelled")
    assert states(api, run)[api.client.get(f"/flow_runs/{run}").json()["name"]] == "Cancelled"
    assert_whole(store)
    assert before.items() <= finished(store).items()
    opened = Store(store)
    (record,) = opened.read("class_runs", opened.runs()["run_id"][0], CLASSES[1]).to_dict("records")
    assert record["status"] != "complete"
    again = resumed(api, store, slowly, **place)
    assert before == finished(store)
    told(f"cancel ({where})", gone, f"*Cancelled* after {said:.0f} s; the class: {record['error']}", f"{again:.0f} s")


def test_a_run_outlives_a_restart_of_the_server(service: Running, api: Api, slowly: Store, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run = started(api, store, **POOL)
    waited(lambda: any(store.glob("parts/masks_so_far/*/*.parquet")), 300, "masks")
    service.kill("server")
    back = service.up()
    since = time.monotonic()
    end = api.end_of(run, seconds=400)
    seconds = time.monotonic() - since
    assert end.startswith("Completed")
    assert_whole(store)
    assert_same_results(Store(store), slowly)
    again = resumed(api, store, slowly, **POOL)
    told("server killed", back, f"back by `xv up`; the run goes on: {end} after {seconds:.0f} s", f"{again:.0f} s")


def test_a_killed_run_is_called_crashed_by_its_worker(
    service: Running, api: Api, slowly: Store, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    run = started(api, store)
    in_the_middle(store)
    before = finished(store)
    for pid in service.family("driver")[1:]:
        os.kill(pid, signal.SIGKILL)
    since = time.monotonic()
    end = api.end_of(run, seconds=SILENCE + 100)
    seconds = time.monotonic() - since
    assert end.startswith("Crashed")
    assert_whole(store)
    again = resumed(api, store, slowly)
    assert before == finished(store)
    told("a run's process killed", seconds, end, f"the same request completes: {again:.0f} s")


def test_a_killed_worker_and_its_runs_hold_nothing_and_are_called_crashed(
    service: Running, api: Api, slowly: Store, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    run = started(api, store, **POOL)
    in_the_middle(store)
    before = finished(store)
    for part in ("worker", "driver"):
        service.kill(part)
    killed = time.monotonic()
    assert states(api, run)[api.client.get(f"/flow_runs/{run}").json()["name"]] == "Running"
    assert_whole(store)
    back = service.up()
    again = resumed(api, store, slowly, **POOL)
    assert before == finished(store)
    left = {name: state for name, state in states(api, run).items() if state == "Running"}
    zombie = api.end_of(run, seconds=SILENCE + 100)
    assert zombie.startswith("Crashed: no heartbeat")
    waited(lambda: "Running" not in states(api, run).values(), 60, "no zombie")
    seconds = time.monotonic() - killed
    told(
        "worker, driver and their runs killed",
        seconds,
        f"back by `xv up` in {back:.0f} s; {len(left)} zombies left, then {zombie}",
        f"the same request completes beside the zombies: {again:.0f} s",
    )


def test_old_runs_leave_the_database_of_the_server_and_nothing_leaves_the_store(
    service: Running, api: Api, slowly: Store, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    old, younger = (started(api, store) for _ in range(2))
    assert all(api.end_of(each, seconds=300).startswith("Completed") for each in (old, younger))
    before = {path: path.read_bytes() for path in store.rglob("*.parquet")}
    service.kill("server")
    database = service.home / "prefect" / "prefect.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        end = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=RETENTION_SECONDS + 3600)
        changed = connection.execute(
            "update flow_run set end_time = ? where id = ?", (end.strftime("%Y-%m-%d %H:%M:%S.%f"), old)
        )
        assert changed.rowcount == 1
    back = service.up()
    seconds = waited(lambda: api.client.get(f"/flow_runs/{old}").status_code == 404, 120, "old run gone")
    assert api.client.get(f"/flow_runs/{younger}").status_code == 200
    assert {path: path.read_bytes() for path in store.rglob("*.parquet")} == before
    assert_same_results(Store(store), slowly)
    told("a run of 60 days ago", back + seconds, "gone from the server's database", "the store is as it was")
