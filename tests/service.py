"""The whole service as tests start it: `xv` in a process of its own, and its server as a client sees it."""

import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
BIRD = "b00_zigzag-crest_ringed-wing_spotted-tail"
TINY = {
    "dataset": "partbirds?classes=2&images=3",
    "models": ["partbirds_narrow@random?classes=3"],
    "classes": [BIRD],
    "class_map": {BIRD: "0"},
    "batch_size": 2,
    "settings": {
        "skip_misclassified": False,
        "least_drop": None,
        "mask": {"smooth_steps": 4, "crisp_steps": 4},
        "proposals": {"n_boxes": 30},
    },
}


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def xv(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", "from flows.cli import main; main()", *arguments]
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


class Patient(httpx.HTTPTransport):
    """Asks again where the server's database is locked (503), as the UI and Prefect's own client do."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        for _ in range(30):
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            answer.close()
            time.sleep(1)
            answer = super().handle_request(request)
        return answer


class Api:
    """The server as a client sees it that has the password."""

    def __init__(self, port: int, home: Path) -> None:
        user, _, password = (home / "password").read_text().partition(":")
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}/api", auth=(user, password), timeout=60, transport=Patient()
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
