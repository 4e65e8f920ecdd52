"""Laws of `xv up` and `xv down` that need no server, and the whole service from start to stop (slow)."""

import json
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from service import TINY, Api, free_ports, xv

from flows import commands
from flows.up import Service, Started, State, _processes, _write, down, up
from xvcore.errors import XvError


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def _service(folder: Path, **changes: Any) -> Service:
    return Service(**({"home": folder / "home", "folder": folder, "report": folder / "xv-report"} | changes))


def _running_as(folder: Path, *processes: Started) -> Service:
    service = _service(folder.resolve())
    service.home.mkdir()
    _write(State(service, processes))
    return service


def _born(pid: int) -> str:
    return _processes()[pid].born


def test_down_stops_what_the_state_file_names_and_that_alone(
    tmp_path: Path, sleeper: subprocess.Popen, said: list[str]
) -> None:
    with subprocess.Popen(["sleep", "600"]) as ours:
        service = _running_as(tmp_path, Started("worker", ours.pid, _born(ours.pid)))
        down(service.home, said.append)
        assert ours.wait(10) == -signal.SIGTERM
    assert sleeper.poll() is None
    with pytest.raises(XvError, match="nothing to stop"):
        down(service.home, said.append)


def test_a_later_process_with_the_same_number_is_left_alone(
    tmp_path: Path, sleeper: subprocess.Popen, said: list[str]
) -> None:
    service = _running_as(tmp_path, Started("worker", sleeper.pid, "before this machine was built"))
    down(service.home, said.append)
    assert sleeper.poll() is None


def test_what_a_process_started_ends_with_it_even_in_another_session(tmp_path: Path, said: list[str]) -> None:
    """As flow runs do, which the worker puts into sessions of their own."""
    script = "import subprocess, time; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as ours:
        assert ours.stdout
        child = int(ours.stdout.readline())
        service = _running_as(tmp_path, Started("worker", ours.pid, _born(ours.pid)))
        down(service.home, said.append)
        assert child not in _processes()


@pytest.mark.parametrize(("option", "field"), [("--port", "port"), ("--report-port", "report_port")])
def test_a_port_that_is_taken_is_said_before_anything_is_started(
    tmp_path: Path, option: str, field: str, said: list[str]
) -> None:
    free, taken = free_ports(2)
    ports = {"port": free, "report_port": free} | {field: taken}
    with socket.socket() as other:
        other.bind(("127.0.0.1", taken))
        other.listen()
        with pytest.raises(XvError, match=rf"port {taken} .*{option}"):
            up(_service(tmp_path, **ports), said.append)
    assert not (tmp_path / "home" / "state.json").exists()
    assert said == []


def test_a_service_that_is_up_is_not_changed_under_way(
    tmp_path: Path, sleeper: subprocess.Popen, said: list[str]
) -> None:
    _running_as(tmp_path, Started("server", sleeper.pid, _born(sleeper.pid)))
    with pytest.raises(XvError, match=r"port 4200, not 4711.*xv down"):
        up(_service(tmp_path, port=4711), said.append)
    assert sleeper.poll() is None


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_whole_service_comes_up_runs_a_class_serves_its_report_and_goes_down(
    tmp_path: Path, sleeper: subprocess.Popen
) -> None:
    port, report_port = free_ports(2)
    home = tmp_path / "home"
    start = ["up", "--home", str(home), "--port", str(port), "--report-port", str(report_port)]
    with ExitStack() as stack:
        stack.callback(lambda: xv("down", "--home", str(home), folder=tmp_path))  # also where something below fails
        first = xv(*start, folder=tmp_path)
        assert first.returncode == 0, first.stderr
        assert f"http://127.0.0.1:{port}" in first.stdout
        processes = json.loads((home / "state.json").read_text())["processes"]
        assert {each["name"] for each in processes} == {"server", "driver", "worker", "report"}
        assert (home / "password").stat().st_mode & 0o077 == 0

        again = xv(*start, folder=tmp_path)
        assert again.returncode == 0, again.stderr
        assert json.loads((home / "state.json").read_text())["processes"] == processes

        api = stack.enter_context(Api(port, home))
        stranger = httpx.post(f"{api.client.base_url}deployments/filter", json={}, timeout=60, trust_env=False)
        assert stranger.status_code == httpx.codes.UNAUTHORIZED
        found = api.deployments()
        assert set(found) == {*commands.names(), "analyse", "report", "study", "xv"}, "xv: those of shards"
        assert all(each["work_pool_name"] == "xv" for each in found.values())
        assert not any(schedule["active"] for each in found.values() for schedule in each["schedules"])

        wrong = api.start("summarise", **TINY, nonsense=1)
        assert wrong.status_code == httpx.codes.CONFLICT
        assert "nonsense" in wrong.text

        run = api.start("summarise", **TINY).json()["id"]
        assert api.end_of(run, seconds=600).startswith("Completed")
        assert list((tmp_path / "xv-store").rglob("class_runs/**/*.parquet"))

        run = api.start("report").json()["id"]
        assert api.end_of(run, seconds=600).startswith("Completed")
        page = httpx.get(f"http://127.0.0.1:{report_port}/index.html", timeout=60, trust_env=False)
        assert page.status_code == httpx.codes.OK
        assert "partbirds_narrow" in page.text

        at_work = api.start("summarise").json()["id"]
        assert api.begins(at_work, seconds=300)
        stopped = xv("down", "--home", str(home), folder=tmp_path)
    assert stopped.returncode == 0, stopped.stderr
    assert not {each["pid"] for each in processes} & set(_processes())
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        states = dict(database.execute("select state_type, count(*) from flow_run group by state_type").fetchall())
    assert set(states) == {"COMPLETED", "CANCELLED"}, "no run is left that the server believes to be running"
    assert sleeper.poll() is None
    assert not (home / "state.json").exists()
    assert xv("down", "--home", str(home), folder=tmp_path).returncode == 2
