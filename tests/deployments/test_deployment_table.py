"""Laws of the table of deployments: no server needed."""

import importlib
import inspect
import pkgutil
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect import Flow
from prefect.events.schemas.automations import AutomationCore
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import validate
from prefect.utilities.schema_tools.validation import ValidationError
from pydantic import BaseModel
from typer import Context
from typer.main import get_command

import flows
from deployments.bootstrap import POOL, PREFECT_FILE, SHARDS, automations, deployments, deployments_in
from flows.classes import ClassesRequest
from flows.cli import app
from flows.orchestration import PlainFlow
from flows.up import HEARTBEAT_SECONDS
from flows.up import POOL as POOL_OF_UP
from flows.up import SHARDS as SHARDS_OF_UP
from xvcore.data import open_dataset
from xvcore.errors import XvError
from xvcore.models import load, outputs_for

pytestmark = pytest.mark.filterwarnings("default")
IDENTITIES = {f"{flow}/{name}": uuid4() for flow, name in [("write-report", "report"), ("analyse", "analyse")]}
AUTOMATIONS = [AutomationCore.model_validate(each) for each in automations(IDENTITIES)]
ENTRIES = {entry["name"]: entry for entry in deployments() if entry["name"] != POOL}
"""Of flows with a form; the others are of shards."""


def _request_type(flow: Flow) -> type[BaseModel] | None:
    parameters = list(inspect.signature(flow.fn).parameters.values())
    kind = parameters[0].annotation if [each.name for each in parameters] == ["request"] else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _flows_with_a_form() -> dict[str, Flow]:
    """Return every flow that takes a request and nothing else, by entrypoint."""
    found = {}
    for info in pkgutil.walk_packages(flows.__path__, "flows."):
        module = importlib.import_module(info.name)
        for name, made in vars(module).items():
            value = made.of_prefect if isinstance(made, PlainFlow) else made  # as a worker, which has Prefect, sees it
            if isinstance(value, Flow) and value.fn.__module__ == info.name and _request_type(value):
                found[f"{info.name}.{name}"] = value
    return found


def _module(entrypoint: str) -> str:
    return entrypoint.rpartition(".")[0]


FLOWS = _flows_with_a_form()


def _flow(name: str) -> Flow:
    return FLOWS[ENTRIES[name]["entrypoint"]]


def _change(parameters: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Return the parameters with one of the request's fields set, given by its dotted name."""
    first, _, rest = path.partition(".")
    return parameters | {first: _change(parameters.get(first, {}), rest, value) if rest else value}


def test_every_flow_with_a_form_has_exactly_one_deployment() -> None:
    assert sorted(entry["entrypoint"] for entry in ENTRIES.values()) == sorted(FLOWS)


def test_every_flow_over_classes_has_a_deployment_of_its_shards_that_fan_out_finds() -> None:
    """By the name of the pool; the worker of a queue computes one shard at a time."""
    shards = [entry for entry in deployments() if entry["name"] == POOL]
    over_classes = [name for name, flow in FLOWS.items() if issubclass(_request_type(flow), ClassesRequest)]
    assert sorted(_module(entry["entrypoint"]) for entry in shards) == sorted(map(_module, over_classes))
    for entry in shards:
        module, _, name = entry["entrypoint"].rpartition(".")
        flow = getattr(importlib.import_module(module), name)
        assert list(inspect.signature(flow.fn).parameters) == ["request", "join"]
        assert (
            entry["work_pool"]
            == {"name": POOL, "work_queue_name": SHARDS}
            == {"name": POOL_OF_UP, "work_queue_name": SHARDS_OF_UP}
        )


def test_a_second_pool_has_the_shards_alone_and_drivers_take_no_gpu_of_a_cluster() -> None:
    second = deployments_in("big-gpus", "process")
    assert {entry["name"] for entry in second} == {"big-gpus"}
    assert {entry["work_pool"]["name"] for entry in second} == {"big-gpus"}
    assert len(second) == len(deployments()) - len(ENTRIES)
    for entry in deployments_in(POOL, "kubernetes"):
        asked = entry["work_pool"].get("job_variables", {"gpus": "as the pool says"})["gpus"]
        assert asked == (0 if entry["name"] in ENTRIES else "as the pool says")


def test_every_deployment_has_the_command_of_its_name() -> None:
    menu = get_command(app)
    assert set(ENTRIES) <= set(menu.list_commands(Context(menu)))  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ENTRIES)
def test_the_form_shows_types_and_descriptions_and_is_filled_in(name: str) -> None:
    schema = parameter_schema(_flow(name)).model_dump_for_openapi()
    request = schema["definitions"][_request_type(_flow(name)).__name__]
    assert request["additionalProperties"] is False
    assert all(field.get("description") for field in request["properties"].values())
    parameters = ENTRIES[name]["parameters"]
    assert validate(parameters, schema) == []
    assert _request_type(_flow(name)).model_validate(parameters["request"])


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        *((name, "request.nonsense", 1) for name in ENTRIES),
        ("summarise", "request.batch_size", 0),
        ("summarise", "request.models", []),
        ("summarise", "request.settings.mask", {"smooth_steps": -1}),
        ("summarise", "request.settings.similarity", "some"),
        ("units", "request.settings.units_shown", "many"),
    ],
)
def test_a_wrong_parameter_is_refused_by_the_name_of_its_field(name: str, field: str, value: object) -> None:
    """As the server and ``prefect deployment run`` do it, before anything is run."""
    schema = parameter_schema(_flow(name)).model_dump_for_openapi()
    with pytest.raises(ValidationError, match=field.rsplit(".", maxsplit=1)[-1]):
        validate(_change(ENTRIES[name]["parameters"], field, value), schema, raise_on_error=True)


@pytest.mark.parametrize("name", ENTRIES)
def test_schedules_are_shipped_inactive_and_parameters_enforced(name: str) -> None:
    entry = ENTRIES[name]
    assert entry["schedules"]
    for schedule in entry["schedules"]:
        assert schedule["active"] is False
        assert {"slug", "cron", "timezone"} <= set(schedule)
    assert entry["enforce_parameter_schema"] is True
    assert entry["work_pool"] == {"name": POOL} == {"name": POOL_OF_UP}
    assert "xv" in entry["tags"]


def test_every_key_of_the_table_is_one_that_prefect_knows() -> None:
    """Prefect drops unknown keys, and with a wrong value the whole table, with no more than a printed line."""
    from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel

    table = yaml.safe_load(PREFECT_FILE.read_text())
    assert set(table) - {"definitions", "prefect-version"} <= set(PrefectYamlModel.model_fields)
    whole = PrefectYamlModel.model_validate({**table, "deployments": deployments()})
    assert len(whole.deployments) == len(deployments())
    for entry in deployments():
        assert set(entry) <= set(DeploymentConfig.model_fields)


def test_no_healthy_run_is_called_crashed() -> None:
    """Measured: with a window below three heartbeats, runs that were well were marked crashed."""
    silent = next(each for each in AUTOMATIONS if each.name == "xv-runs-that-fell-silent")
    assert silent.trigger.within.total_seconds() >= 3 * HEARTBEAT_SECONDS
    assert len({each.name for each in AUTOMATIONS}) == len(AUTOMATIONS)


@pytest.mark.parametrize("name", [each for each in ENTRIES if issubclass(_request_type(_flow(each)), ClassesRequest)])
def test_no_form_is_filled_in_with_the_class_map_of_a_data_set(name: str) -> None:
    """It would stay when another data set is chosen: what outputs stand for is the networks' to say."""
    request = _request_type(_flow(name)).model_validate(ENTRIES[name]["parameters"]["request"])
    assert request.class_map == {}
    dataset = open_dataset(request.dataset)
    for model in request.models:
        if "RUN" not in model:  # of prototypes, which somebody has to train first
            assert sorted(outputs_for(load(model), dataset.classes, {}).values()) == list(range(len(dataset.classes)))


def test_a_report_follows_every_complete_run() -> None:
    (after,) = [each for each in AUTOMATIONS if each.name == "xv-report-after-run"]
    (action,) = after.actions
    assert after.enabled
    assert after.trigger.expect == {"xv.run.complete"}
    assert action.deployment_id == IDENTITIES["write-report/report"]
    schema = parameter_schema(_flow("report")).model_dump_for_openapi()
    assert validate(action.parameters, schema) == []


def test_an_automation_of_a_deployment_that_is_not_there_is_refused() -> None:
    with pytest.raises(XvError, match="write-report/report"):
        automations({})
