"""Make a Prefect server ready: work pool, automations, deployments; done again, it changes only what has changed.

``python -m deployments.bootstrap`` with ``PREFECT_API_URL`` (and ``PREFECT_API_AUTH_STRING``) set. What was chosen in
the UI stays: schedules that were switched on stay on, automations that were switched off stay off. Default parameters
that were changed stay until the next version of xv brings its own.
"""

import argparse
import asyncio
import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import yaml  # type: ignore[import-untyped]

from xvcore.errors import XvError
from xvcore.plugins import plugins
from xvcore.version import VERSION

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events.schemas.automations import AutomationCore

FOLDER = Path(__file__).resolve().parent
PREFECT_FILE = FOLDER / "prefect.yaml"
AUTOMATIONS_FILE = FOLDER / "automations.yaml"
POOL = "xv"
SHARDS = "shards"
"""The work queue of the flows that compute; in a second pool there is nothing else."""
HIDDEN = ("PREFECT_DEFAULT_WORK_POOL_NAME", "XV_FOLDER")
"""Not to be seen while deploying: a default work pool wins over the table's, and a folder is each worker's own."""


def deployments() -> list[dict[str, Any]]:
    """Return all deployments: the entries of the table, those of commands that it does not name, and the shards'."""
    from flows import analyse, commands

    table: list[dict[str, Any]] = yaml.safe_load(PREFECT_FILE.read_text())["deployments"]
    found = commands.every()
    named = {entry["name"] for entry in table}
    others = [
        _entry(name, each.flow, [name]) | {"description": commands.names()[name], "work_pool": {"name": POOL}}
        for name, each in found.items()
        if name not in named
    ]
    tags = {entry["name"]: [tag for tag in entry["tags"] if tag != "xv"] for entry in table}
    shards = [
        _entry(POOL, each.shard_flow, [*tags.get(name, [name]), "shard"])
        | {
            "description": f"Some classes of a run, started by `{name}`.",
            "work_pool": {"name": POOL, "work_queue_name": SHARDS},
        }
        for name, each in {**found, "analyse": analyse.COMMAND}.items()
    ]
    return [*table, *others, *shards]


def _entry(name: str, flow: Any, tags: list[str]) -> dict[str, Any]:
    """Return what all deployments that the table does not have share."""
    return {
        "name": name,
        "entrypoint": f"{flow.fn.__module__}.{flow.fn.__name__}",
        "version": "{{ $XV_DEPLOYMENTS }}",
        "tags": ["xv", *tags],
        "enforce_parameter_schema": True,
    }


def deployments_in(pool: str, pool_type: str) -> list[dict[str, Any]]:
    """Return the entries as they are registered in a work pool: all in ours, those of shards alone in a second one."""
    return [
        entry | _in_pool(entry, pool, pool_type) for entry in deployments() if pool == POOL or _computes_shards(entry)
    ]


def _computes_shards(entry: dict[str, Any]) -> bool:
    return bool(entry["work_pool"].get("work_queue_name") == SHARDS)


def _in_pool(entry: dict[str, Any], pool: str, pool_type: str) -> dict[str, Any]:
    """Return what differs of an entry: shards are named by the pool, what hands them out needs no GPU."""
    if _computes_shards(entry):
        return {"name": pool, "work_pool": entry["work_pool"] | {"name": pool}}
    no_gpu = {"job_variables": {"gpus": 0, "node_selector": {}}} if pool_type == "kubernetes" else {}
    return {"work_pool": entry["work_pool"] | no_gpu}


@functools.cache
def version() -> str:
    """Return the version of xv and a digest of table, flows, library and plug-ins: what tells this code's apart."""
    digest = hashlib.sha256(PREFECT_FILE.read_bytes() + repr(plugins()).encode())
    root = FOLDER.parent
    for path in sorted([*(root / "flows").rglob("*.py"), *(root / "xvcore").rglob("*.py")]):
        digest.update(path.read_bytes())
    return f"{VERSION}+{digest.hexdigest()[:12]}"


def wait_for_server(api_url: str, *, seconds: float) -> None:
    """Return as soon as the server answers.

    Raises
    ------
    XvError
        It did not within that many seconds.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            answer = httpx.get(f"{api_url}/health", timeout=10).status_code
        except httpx.HTTPError as error:
            reason: object = error
        else:
            if answer == httpx.codes.OK:
                return
            reason = f"status {answer}"
        if time.monotonic() > until:
            raise XvError(f"no Prefect server at {api_url} within {seconds:.0f} seconds: {reason}")
        time.sleep(1)


async def bootstrap(pool: str = POOL, pool_type: str = "process", job_template: Path | None = None) -> None:
    """Bring a work pool, its deployments and the automations of the server to what this version of xv ships.

    Parameters
    ----------
    pool : name of the work pool; another than ``xv`` computes shards for runs that fan out to it by name
    pool_type : process or kubernetes
    job_template : base job template of the work pool (JSON); none: Prefect's own for that type
    """
    from prefect.client.orchestration import get_client

    entries = deployments_in(pool, pool_type)
    async with get_client() as client:
        await _make_pool(client, pool, pool_type, job_template)
        before = await _registered(client, pool)
        if set(before) == _keys(entries) and {each.version for each in before.values()} == {version()}:
            if pool == POOL:
                await _offer(client, before)
                await _make_automations(client)
            sys.stdout.write("deployments: unchanged\n")
            return
        _deploy(entries)
        after = await _registered(client, pool)
        _check(entries, after)
        await _keep_active(client, before, after)
        if pool == POOL:
            await _offer(client, after)
            await _make_automations(client)
    sys.stdout.write(f"deployments: {', '.join(sorted(_keys(entries)))} ({version()})\n")


async def _make_pool(client: "PrefectClient", name: str, pool_type: str, job_template: Path | None) -> None:
    """Create the work pool, or bring its template to the given one."""
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    template = json.loads(job_template.read_text()) if job_template else None
    try:
        pool = await client.read_work_pool(name)
    except ObjectNotFound:
        given = {"base_job_template": template} if template else {"base_job_template": await _own_template(pool_type)}
        await client.create_work_pool(WorkPoolCreate(name=name, type=pool_type, **given))
        return
    if pool.type != pool_type:
        raise XvError(f"work pool {name!r} is of type {pool.type}, not {pool_type}: delete it first, or give its type")
    if template and pool.base_job_template != template:
        await client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))


async def _own_template(pool_type: str) -> dict[str, Any]:
    """Return Prefect's own job template of a type of work pool."""
    from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

    template = await get_default_base_job_template_for_infrastructure_type(pool_type)
    if not template:
        raise XvError(f"no job template is known for work pools of type {pool_type!r}: give one by --job-template")
    return template


def automations(identities: Mapping[str, object]) -> list[dict[str, Any]]:
    """Return the entries of the table of automations, deployments in it named by their ids.

    Parameters
    ----------
    identities : id of each deployment by ``FLOW/DEPLOYMENT``, the name that the table has

    Raises
    ------
    XvError
        The table names a deployment that there is not.
    """
    entries: list[dict[str, Any]] = yaml.safe_load(AUTOMATIONS_FILE.read_text())["automations"]
    for action in (action for entry in entries for action in entry["actions"] if "deployment" in action):
        name = action.pop("deployment")
        if name not in identities:
            raise XvError(f"no deployment {name!r} (known: {', '.join(sorted(identities))}); see {AUTOMATIONS_FILE}")
        action["deployment_id"] = str(identities[name])
    return entries


async def _make_automations(client: "PrefectClient") -> None:
    """Create each automation once; one that is there is left as it is, but for a deployment that was made anew."""
    from prefect.events.schemas.automations import AutomationCore

    flow_names = {each.id: each.name for each in await client.read_flows()}
    identities = {f"{flow_names[each.flow_id]}/{each.name}": each.id for each in await client.read_deployments()}
    for entry in automations(identities):
        automation = AutomationCore.model_validate(entry)
        known = await client.read_automations_by_name(automation.name)
        if not known:
            await client.create_automation(automation)
        for each in known:
            if _deployments_of(each) - set(identities.values()):
                await client.update_automation(each.id, automation.model_copy(update={"enabled": each.enabled}))


def _deployments_of(automation: "AutomationCore") -> set[object]:
    """Return the ids of the deployments that an automation runs."""
    identities = (getattr(action, "deployment_id", None) for action in automation.actions)
    return {each for each in identities if each is not None}


async def _registered(client: "PrefectClient", pool: str) -> "dict[str, DeploymentResponse]":
    """Return the deployments of xv that the server has in a pool, by entrypoint."""
    known = {entry["entrypoint"] for entry in deployments()}
    entries = await client.read_deployments()
    return {str(each.entrypoint): each for each in entries if each.entrypoint in known and each.work_pool_name == pool}


async def _offer(client: "PrefectClient", registered: "dict[str, DeploymentResponse]") -> None:
    """Offer in the forms what is known in the folder of the flow runs, see :mod:`flows.offers`; nothing without one."""
    from prefect.client.schemas.actions import DeploymentUpdate

    from flows.offers import offered, offers

    folder = os.environ.get("XV_FOLDER")
    if not folder:
        return
    known = offers(Path(folder))
    for each in registered.values():
        schema = each.parameter_openapi_schema or {}
        filled = offered(schema, known)
        if filled != schema:
            await client.update_deployment(each.id, DeploymentUpdate(parameter_openapi_schema=filled))


def _deploy(entries: list[dict[str, Any]]) -> None:
    """Register entries of the table, with what must not get into it hidden: see :data:`HIDDEN`."""
    environment = {key: value for key, value in os.environ.items() if key not in HIDDEN}
    table = {**yaml.safe_load(PREFECT_FILE.read_text()), "deployments": entries}
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder) / "prefect.yaml"
        chosen.write_text(yaml.safe_dump(table, sort_keys=False))
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(chosen)]
        done = subprocess.run(
            command,
            cwd=FOLDER.parent,
            env=environment | {"XV_DEPLOYMENTS": version()},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise XvError(f"the deployments were not registered:\n{done.stdout}\n{done.stderr}")


def _check(entries: list[dict[str, Any]], registered: dict[str, "DeploymentResponse"]) -> None:
    """Refuse a table of which a part was skipped: Prefect only prints a line then."""
    missing = _keys(entries) - set(registered)
    if missing:
        raise XvError(f"not registered: {', '.join(sorted(missing))}; see {PREFECT_FILE}")
    stale = sorted(name for name, each in registered.items() if each.version != version())
    if stale:
        raise XvError(f"still of an older version: {', '.join(stale)}; see {PREFECT_FILE}")


async def _keep_active(
    client: "PrefectClient", before: dict[str, "DeploymentResponse"], after: dict[str, "DeploymentResponse"]
) -> None:
    """Switch on again the schedules that somebody had switched on; the table ships them inactive."""
    active = {(name, schedule.slug) for name, each in before.items() for schedule in each.schedules if schedule.active}
    for name, each in after.items():
        for schedule in each.schedules:
            if (name, schedule.slug) in active and not schedule.active:
                await client.update_deployment_schedule(each.id, schedule.id, active=True)


def _keys(entries: list[dict[str, Any]]) -> set[str]:
    return {entry["entrypoint"] for entry in entries}


def main() -> None:
    """Run from a terminal, a container or `xv up`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pool", default=POOL, help="another than xv: a further pool, that computes shards")
    parser.add_argument("--pool-type", choices=["process", "kubernetes"], default="process")
    parser.add_argument("--job-template", type=Path, help="base job template of the work pool, JSON")
    parser.add_argument("--wait", type=float, default=300, help="seconds until the server has to answer")
    options = parser.parse_args()
    api_url = os.environ.get("PREFECT_API_URL")
    if not api_url:
        sys.exit("error: PREFECT_API_URL is not set: which server?")
    try:
        wait_for_server(api_url, seconds=options.wait)
        asyncio.run(bootstrap(options.pool, options.pool_type, options.job_template))
    except XvError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
