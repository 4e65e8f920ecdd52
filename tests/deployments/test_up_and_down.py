"""Laws of `xv up` and `xv down` that need no server, and the whole service from start to stop (slow)."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.up import Service, Started, State, _processes, _write, down, up
from xvcore.errors import XvError

ROOT = Path(__file__).resolve().parents[2]
BIRD = "b00_zigzag-crest_ringed-wing_spotted-tail"
TINY = {
    "dataset": "partbirds?classes=2&images=3",
    "models": ["partbirds_narrow@random?classes=3"],
    "classes": [BIRD],
    "class_map": {BIRD: "0"},
    "batch_size": 2,
    "settings": {
        "skip_misclassified": False,
        "mask": {"smooth_steps": 4, "crisp_steps": 4},
        "proposals": {"n_boxes": 30},
    },
}


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
    free, taken = _free_ports(2)
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


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _xv(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", "from flows.cli import main; main()", *arguments]
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


class Api:
    """The server as a client sees it that has the password."""

    def __init__(self, port: int, home: Path) -> None:
        user, _, password = (home / "password").read_text().partition(":")
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}/api", auth=(user, password), timeout=60, trust_env=False
        )

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()

    def deployments(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.client.post("/deployments/filter", json={}).json()}

    def start(self, name: str, **request: object) -> httpx.Response:
        """Start a run; without a request, with the parameters that the deployment is shipped with."""
        identity = self.deployments()[name]["id"]
        body = {"parameters": {"request": request}} if request else {}
        return self.client.post(f"/deployments/{identity}/create_flow_run", json=body)

    def begins(self, flow_run: str, *, seconds: float) -> bool:
        """Wait until the run has started runs of its own."""
        children = {"flow_runs": {"parent_flow_run_id": {"any_": [flow_run]}}}
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.client.post("/flow_runs/filter", json=children).json():
                return True
            time.sleep(1)
        return False

    def end_of(self, flow_run: str, *, seconds: float) -> str:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            state = self.client.get(f"/flow_runs/{flow_run}").json()["state"]
            if state["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}:
                return f"{state['name']}: {state['message']}"
            time.sleep(2)
        return "still running"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_whole_service_comes_up_runs_a_class_serves_its_report_and_goes_down(
    tmp_path: Path, sleeper: subprocess.Popen
) -> None:
    port, report_port = _free_ports(2)
    home = tmp_path / "home"
    start = ["up", "--home", str(home), "--port", str(port), "--report-port", str(report_port)]
    with ExitStack() as stack:
        stack.callback(lambda: _xv("down", "--home", str(home), folder=tmp_path))  # also where something below fails
        first = _xv(*start, folder=tmp_path)
        assert first.returncode == 0, first.stderr
        assert f"http://127.0.0.1:{port}" in first.stdout
        processes = json.loads((home / "state.json").read_text())["processes"]
        assert {each["name"] for each in processes} == {"server", "worker", "report"}
        assert (home / "password").stat().st_mode & 0o077 == 0

        again = _xv(*start, folder=tmp_path)
        assert again.returncode == 0, again.stderr
        assert json.loads((home / "state.json").read_text())["processes"] == processes

        api = stack.enter_context(Api(port, home))
        stranger = httpx.post(f"{api.client.base_url}deployments/filter", json={}, timeout=60, trust_env=False)
        assert stranger.status_code == httpx.codes.UNAUTHORIZED
        found = api.deployments()
        assert {"summarise", "evidence", "units", "analyse", "report"} == set(found)
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
        stopped = _xv("down", "--home", str(home), folder=tmp_path)
    assert stopped.returncode == 0, stopped.stderr
    assert not {each["pid"] for each in processes} & set(_processes())
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        states = dict(database.execute("select state_type, count(*) from flow_run group by state_type").fetchall())
    assert set(states) == {"COMPLETED", "CANCELLED"}, "no run is left that the server believes to be running"
    assert sleeper.poll() is None
    assert not (home / "state.json").exists()
    assert _xv("down", "--home", str(home), folder=tmp_path).returncode == 2
