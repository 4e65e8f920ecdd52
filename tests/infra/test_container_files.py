"""Laws of the container files and of the compose file; no container engine needed."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.bootstrap import POOL, SHARDS

ROOT = Path(__file__).resolve().parents[2]
CONTAINER = ROOT / "infra" / "container"
COMPOSE = ROOT / "infra" / "compose" / "compose.yaml"
FILES = sorted(path for path in CONTAINER.iterdir() if path.suffix != ".dockerignore")


def _instructions(path: Path) -> list[tuple[str, str]]:
    """Return the instructions of a container file, continued lines joined."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]


def _allowed(path: Path) -> list[str]:
    ignore = path.with_name(f"{path.name}.dockerignore").read_text().splitlines()
    return [line.removeprefix("!") for line in ignore if line.startswith("!")]


def test_there_is_one_file_for_cpu_and_one_for_cuda() -> None:
    assert [path.name for path in FILES] == ["Containerfile.cpu", "Containerfile.cuda"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_image_runs_as_a_user_without_rights_by_number(path: Path) -> None:
    """Kubernetes can only check a number against runAsNonRoot."""
    last_stage = _instructions(path)[max(i for i, (word, _) in enumerate(_instructions(path)) if word == "FROM") :]
    users = [value for word, value in last_stage if word == "USER"]
    assert users == ["10001:10001"]
    assert [word for word, _ in last_stage].index("USER") > max(
        i for i, (word, _) in enumerate(last_stage) if word == "RUN"
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_everything_installed_is_pinned(path: Path) -> None:
    installs = [
        step
        for word, value in _instructions(path)
        if word == "RUN"
        for step in value.split("&&")
        if "pip install" in step
    ]
    assert installs
    assert all(re.search(r" -c (infra|/tmp)/constraints\.txt", step) for step in installs)
    pinned = (ROOT / "infra" / "constraints.txt").read_text()
    assert all(
        re.search(rf"^{name}==", pinned, re.MULTILINE) for name in ("torch", "torchvision", "prefect", "fastapi")
    )
    arguments = dict(value.split("=") for word, value in _instructions(path) if word == "ARG")
    assert re.match(r"\d+\.\d+", arguments["PYTHON"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_context_is_what_is_copied_and_no_more(path: Path) -> None:
    ignore = path.with_name(f"{path.name}.dockerignore").read_text().splitlines()
    assert next(line for line in ignore if not line.startswith("#")) == "*"
    copied = [
        source
        for word, value in _instructions(path)
        if word == "COPY" and not value.startswith("--from")
        for source in value.split()[:-1]
    ]
    assert sorted(copied) == sorted(_allowed(path))
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_secret_gets_into_an_image(path: Path) -> None:
    assert not re.search(r"AUTH_STRING|PASSWORD|SECRET|TOKEN|AWS_", path.read_text(), re.IGNORECASE)


def _compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return content


def test_the_compose_file_follows_the_specification() -> None:
    pytest.importorskip("check_jsonschema", reason="pip install check-jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_secrets_come_from_the_environment_and_are_asked_for_by_name() -> None:
    text = COMPOSE.read_text()
    required = set(re.findall(r"\$\{(\w+):\?", text))
    assert required == {"POSTGRES_PASSWORD", "PREFECT_AUTH"}
    example = dict(
        line.split("=", 1)
        for line in (COMPOSE.parent / "env.example").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    assert set(re.findall(r"\$\{(\w+)", text)) - {"XV_IMAGE"} == set(example)
    assert example["POSTGRES_PASSWORD"] == ""
    assert example["PREFECT_AUTH"] == "xv:"
    assert ".env" in (COMPOSE.parent / ".gitignore").read_text().split()


def test_the_server_asks_for_a_password_and_everybody_has_it() -> None:
    services = _compose()["services"]
    assert services["server"]["environment"]["PREFECT_SERVER_API_AUTH_STRING"].startswith("${PREFECT_AUTH:?")
    for name in ("bootstrap", "driver", "gpu-worker", "cpu-worker"):
        assert services[name]["environment"]["PREFECT_API_AUTH_STRING"].startswith("${PREFECT_AUTH:?")


def test_nothing_is_open_to_other_machines_unless_asked_for() -> None:
    for name, service in _compose()["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("${XV_BIND:-127.0.0.1}:"), name
    assert "ports" not in _compose()["services"]["postgres"]


def test_a_gpu_belongs_to_one_worker_that_runs_one_flow_at_a_time() -> None:
    services = _compose()["services"]
    workers = {name: service for name, service in services.items() if "worker" in service.get("command", [])}
    assert set(workers) == {"driver", "gpu-worker", "cpu-worker"}
    for name, worker in workers.items():
        command = worker["command"]
        assert command[command.index("--work-queue") + 1] == ("default" if name == "driver" else SHARDS)
        assert (command[command.index("--limit") + 1] == "1") == (name != "driver")
        assert ("deploy" in worker) == (name == "gpu-worker")
        assert command[command.index("--pool") + 1] == POOL
        assert worker["depends_on"]["bootstrap"]["condition"] == "service_completed_successfully"
        assert worker["volumes"][0].endswith(":/data")
    (device,) = services["gpu-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}


def test_images_are_built_from_the_files_that_are_there() -> None:
    for service in _compose()["services"].values():
        if build := service.get("build"):
            assert (COMPOSE.parent / build["context"] / build["dockerfile"]).resolve() in FILES
        else:
            assert re.search(r":\d", service["image"])
