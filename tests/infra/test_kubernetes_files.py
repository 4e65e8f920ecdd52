"""Laws of the files for Kubernetes; no cluster, no Helm and no container engine needed."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.bootstrap import POOL

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "infra" / "kubernetes"
TEMPLATE = json.loads((FOLDER / "base-job-template.json").read_text())
KUBERNETES = "1.32"
PREFECT = re.search(r"^prefect==(\S+)", (ROOT / "infra" / "constraints.txt").read_text(), re.MULTILINE).group(1)  # type: ignore[union-attr]
AUTH = "xv-prefect-auth"

pytestmark = pytest.mark.filterwarnings("default")


def _validate(manifest: dict[str, Any]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def _rendered(**values: object) -> dict[str, Any]:
    """Return the job of a flow run: Prefect's rendering, then what its Kubernetes worker makes of the result."""
    from prefect.utilities.templating import apply_values

    variables = TEMPLATE["variables"]["properties"]
    defaults = {name: variable["default"] for name, variable in variables.items() if "default" in variable}
    given = {"name": "summarise", "command": "prefect flow-run execute", **defaults, **values}
    configuration = apply_values(TEMPLATE["job_configuration"], given)
    job: dict[str, Any] = configuration["job_manifest"]
    container = job["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": name, "value": value} for name, value in container["env"].items()]
    container["args"] = container["args"].split()
    return job


def _helm(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((FOLDER / f"values-{name}.yaml").read_text())
    return values


@pytest.mark.parametrize("gpus", [0, 1, 2])
def test_the_job_of_a_flow_run_is_a_job_that_kubernetes_takes(gpus: int) -> None:
    job = _rendered(gpus=gpus, node_selector={"nvidia.com/gpu.product": "NVIDIA-H200"})
    _validate(job)
    assert "{{" not in json.dumps(job)
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == gpus
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H200"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["restartPolicy"] == "Never"


def test_every_variable_of_the_template_is_used_described_and_shown_as_a_typed_field() -> None:
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(TEMPLATE["job_configuration"])))
    variables = TEMPLATE["variables"]["properties"]
    assert used == set(variables)
    assert all(variable["type"] and variable["title"] and variable["description"] for variable in variables.values())


def test_the_worker_s_own_surroundings_do_not_reach_the_job() -> None:
    """A job inherits the worker's PREFECT settings; its home and address are said anew."""
    env = {each["name"]: each["value"] for each in _rendered()["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["PREFECT_HOME"].startswith("/home/xv")
    assert "localhost" not in env["PREFECT_API_URL"]
    assert env["XV_FOLDER"] == "/data"


def test_a_wrong_variable_is_refused_by_name() -> None:
    from prefect.utilities.schema_tools import validate
    from prefect.utilities.schema_tools.validation import ValidationError

    with pytest.raises(ValidationError, match="gpus"):
        validate({"gpus": -1}, TEMPLATE["variables"], raise_on_error=True)
    assert validate({"gpus": 2}, TEMPLATE["variables"]) == []


def test_plain_manifests_are_complete_and_kubernetes_takes_them() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([kubectl, "kustomize", str(FOLDER)], capture_output=True, text=True, check=True)
    manifests = list(yaml.safe_load_all(done.stdout))
    kinds = [manifest["kind"] for manifest in manifests]
    assert sorted(kinds) == sorted(
        ["Namespace", "ConfigMap", "PersistentVolumeClaim", "PersistentVolumeClaim", "Job", "Deployment", "Service"]
    )
    for manifest in manifests:
        _validate(manifest)
    (template,) = [each for each in manifests if each["kind"] == "ConfigMap"]
    assert json.loads(template["data"]["base-job-template.json"]) == TEMPLATE


def test_claims_and_secrets_are_called_alike_everywhere() -> None:
    claims = {each["metadata"]["name"] for each in yaml.safe_load_all((FOLDER / "volumes.yaml").read_text())}
    variables = TEMPLATE["variables"]["properties"]
    assert claims == {variables["data_claim"]["default"], variables["datasets_claim"]["default"]}
    assert _helm("server")["server"]["basicAuth"] == {"enabled": True, "existingSecret": AUTH}
    worker = _helm("worker")["worker"]
    assert worker["selfHostedServerApiConfig"]["basicAuth"] == {"enabled": True, "existingSecret": AUTH}
    assert AUTH in [each["value"] for each in worker["extraEnvVars"]]
    assert f"name: {AUTH}" in (FOLDER / "bootstrap.yaml").read_text()


def test_no_file_holds_a_secret() -> None:
    """Names of secrets only; the example of an object store's settings has empty values."""
    for path in FOLDER.iterdir():
        content = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
        assert "kind: Secret" not in content, path
        assert not re.search(
            r"(password|authString|auth-string|AWS_SECRET_ACCESS_KEY)['\"]?:\s*\S", content, re.IGNORECASE
        ), path
    lines = (ROOT / "infra" / "object-store.env.example").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    assert settings["AWS_ACCESS_KEY_ID"] == settings["AWS_SECRET_ACCESS_KEY"] == ""
    assert all(re.match(r"(AWS|FSSPEC)_[A-Z0-9_]+$", name) for name in settings)


def test_server_worker_and_code_are_of_one_version_of_prefect() -> None:
    assert _helm("server")["global"]["prefect"]["image"]["prefectTag"].startswith(f"{PREFECT}-")
    assert _helm("worker")["worker"]["image"]["prefectTag"].startswith(f"{PREFECT}-")


def test_the_worker_polls_the_pool_of_the_deployments() -> None:
    config = _helm("worker")["worker"]["config"]
    assert config["workPool"] == POOL
    assert config["type"] == "kubernetes"
    assert _helm("worker")["worker"]["livenessProbe"]["enabled"] is True
    assert _helm("server")["postgresql"]["enabled"] is False
