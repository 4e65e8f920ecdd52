"""The automations on a real server: a report follows a run, and a run without a process is called crashed (slow)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from service import TINY, Api, free_ports, xv

from deployments import bootstrap

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
SILENT = "xv-runs-that-fell-silent"
WITHIN_SECONDS = 95
"""Three times the shortest heartbeat that Prefect allows, and a little: the shipped window is longer."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[Api, Path, int]]:
    port, report_port = free_ports(2)
    home = tmp_path / "home"
    with ExitStack() as stack:
        stack.callback(lambda: xv("down", "--home", str(home), folder=tmp_path))
        ports = ["--port", str(port), "--report-port", str(report_port)]
        started = xv("up", "--home", str(home), *ports, folder=tmp_path)
        assert started.returncode == 0, started.stderr
        yield stack.enter_context(Api(port, home)), tmp_path, report_port


def runs_of(api: Api, flow: str) -> list[dict[str, Any]]:
    return api.client.post("/flow_runs/filter", json={"flows": {"name": {"any_": [flow]}}}).json()


def wait_for(found: Any, *, seconds: float) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if result := found():
            return result
        time.sleep(1)
    pytest.fail(f"not within {seconds} s")


def test_a_report_follows_a_complete_run_and_the_log_says_what_was_done(service: tuple[Api, Path, int]) -> None:
    api, _, report_port = service
    run = api.start("summarise", **TINY).json()["id"]
    assert api.end_of(run, seconds=600).startswith("Completed")
    (report,) = wait_for(lambda: runs_of(api, "write-report"), seconds=120)
    assert report["parameters"]["request"] == {"store": "xv-store"}
    assert api.end_of(report["id"], seconds=300).startswith("Completed")
    page = httpx.get(f"http://127.0.0.1:{report_port}/index.html", timeout=60, trust_env=False)
    assert "partbirds_narrow" in page.text

    query = {"filter": {"event": {"prefix": ["xv."]}}}
    (event,) = api.client.post("/events/filter", json=query).json()["events"]
    assert event["event"] == "xv.run.complete"
    assert event["payload"]["classes"] == {"complete": 1}
    assert f"prefect.flow-run.{run}" in {each["prefect.resource.id"] for each in event["related"]}

    lines = wait_for(lambda: _library_lines(api), seconds=60)
    stages = [line.split(" · ") for line in lines if line.count(" · ") == 2]  # network, class, stage
    verbs = ["predict", "mask", "propose", "match", "summarise", "trim", "locate_parts"]
    assert [stage[2].split(":")[0] for stage in stages] == verbs
    assert all(" in " in stage[2] and stage[2].endswith(" s") for stage in stages)


def _library_lines(api: Api) -> list[str]:
    lines = api.client.post("/logs/filter", json={"limit": 200, "sort": "TIMESTAMP_ASC"}).json()
    found = [each["message"] for each in lines if each["name"].startswith(("xvcore", "flows"))]
    return found if any("locate_parts" in each for each in found) else []


def test_a_run_whose_process_is_gone_is_called_crashed(service: tuple[Api, Path, int]) -> None:
    """By the shipped automation with a shorter window and no other difference."""
    api, folder, _ = service
    (shipped,) = [
        each for each in yaml.safe_load(bootstrap.AUTOMATIONS_FILE.read_text())["automations"] if each["name"] == SILENT
    ]
    copy = {**shipped, "name": f"{SILENT}-soon", "trigger": {**shipped["trigger"], "within": WITHIN_SECONDS}}
    assert {key for key in shipped if copy[key] != shipped[key]} == {"name", "trigger"}
    assert {key for key in shipped["trigger"] if copy["trigger"][key] != shipped["trigger"][key]} == {"within"}
    assert api.client.post("/automations/", json=copy).status_code == httpx.codes.CREATED

    script = folder / "silent.py"
    script.write_text(
        "import sys, time\nfrom prefect import flow\n\n\n@flow(name='silent')\ndef silent() -> None:\n"
        "    time.sleep(600)\n\n\n@flow(name='healthy')\ndef healthy() -> None:\n    time.sleep(240)\n\n\n"
        "{'silent': silent, 'healthy': healthy}[sys.argv[1]]()\n"
    )
    environment = os.environ | {
        "PREFECT_API_URL": str(api.client.base_url).rstrip("/"),
        "PREFECT_API_AUTH_STRING": _password(service),
        "PREFECT_HOME": str(folder / "elsewhere"),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "NO_PROXY": "127.0.0.1",
    }
    with ExitStack() as stack:
        processes = []
        for name in ("silent", "healthy"):
            process = subprocess.Popen([sys.executable, str(script), name], env=environment)
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        silent, healthy = (
            wait_for(lambda name=name: [e for e in runs_of(api, name) if e["state_type"] == "RUNNING"], seconds=120)[0]
            for name in ("silent", "healthy")
        )
        wait_for(lambda: _heartbeats(api, silent["id"]), seconds=90)
        processes[0].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        assert api.end_of(silent["id"], seconds=WITHIN_SECONDS + 120).startswith("Crashed: no heartbeat")
        assert time.monotonic() - killed > WITHIN_SECONDS - 35
        state = api.client.get(f"/flow_runs/{healthy['id']}").json()["state"]
        assert state["type"] == "RUNNING"


def _heartbeats(api: Api, flow_run: str) -> list[dict[str, Any]]:
    resource = {"id": [f"prefect.flow-run.{flow_run}"]}
    query = {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": resource}}
    return api.client.post("/events/filter", json=query).json()["events"]


def test_a_deployment_that_was_made_anew_is_run_by_the_automation_again(service: tuple[Api, Path, int]) -> None:
    api, _, _ = service
    (automation,) = api.client.post("/automations/filter", json=_named("xv-report-after-run")).json()
    before = automation["actions"][0]["deployment_id"]
    assert before == api.deployments()["report"]["id"]
    api.client.patch(f"/automations/{automation['id']}", json={"enabled": False})
    api.client.delete(f"/deployments/{before}")
    environment = os.environ | {
        "PREFECT_API_URL": str(api.client.base_url).rstrip("/"),
        "PREFECT_API_AUTH_STRING": _password(service),
        "NO_PROXY": "127.0.0.1",
    }
    subprocess.run(
        [sys.executable, "-m", "deployments.bootstrap"],
        check=True,
        env=environment,
        cwd=Path(bootstrap.__file__).parents[1],
    )
    (automation,) = api.client.post("/automations/filter", json=_named("xv-report-after-run")).json()
    assert automation["actions"][0]["deployment_id"] == api.deployments()["report"]["id"] != before
    assert automation["enabled"] is False


def _named(name: str) -> dict[str, Any]:
    return {"automations": {"name": {"any_": [name]}}}


def _password(service: tuple[Api, Path, int]) -> str:
    return (service[1] / "home" / "password").read_text().strip()
