"""Where the shards of a run are computed: in this process, by a work pool, or on a Ray cluster.

A shard is one network and a few classes: the unit that is started, lost and started again. A work pool of type process
has one worker per GPU, with ``--limit 1``; one of type kubernetes makes a job of each shard. The place is a
parameter of a run and moves no number: the store, not the place, knows what is done.
"""

import importlib
import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from flows.forms import in_order
from flows.orchestration import Flow, State, ended, is_reported
from xvcore.errors import XvError, in_one_line
from xvcore.keys import digest

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect_ray.task_runners import PrefectRayFuture, RayTaskRunner

logger = logging.getLogger("flows.fanout")

POLL_SECONDS = 2.0
"""Between two looks at the shards that a pool works on."""
SILENCE_SECONDS = 60.0
"""Between two lines in the log about a pool that works on nothing."""
PATIENCE_SECONDS = 600.0
"""How long the server may be out of reach before a run that waits for its shards gives up."""


class FanOut(BaseModel):
    """Where the shards of a run are computed, and how they are cut; moves no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=in_order)

    to: Annotated[
        Literal["here", "pool", "ray"],
        Field(
            description="here: in the process of this run. pool: by the workers of a work pool, or as its Kubernetes "
            "jobs. ray: on a Ray cluster"
        ),
    ] = "here"
    pool: Annotated[
        str, Field(description="Name of the work pool; its type says whether a shard is a job", min_length=1)
    ] = "xv"
    ray_address: Annotated[
        str, Field(description="HOST:PORT of the Ray cluster; auto: the one that runs on this machine", min_length=1)
    ] = "auto"
    shard_size: Annotated[
        int | None,
        Field(
            description="Classes of one shard; none: here all of a network, elsewhere as many as are three minutes of "
            "work by the rates of the store (starting a process costs some seconds)",
            ge=1,
            le=1000,
        ),
    ] = None
    at_once: Annotated[int, Field(description="Shards handed out at a time, waiting ones included", ge=1, le=200)] = 32
    attempts: Annotated[
        int,
        Field(description="How often a shard is started that is lost: worker dead, job evicted, out of memory", ge=1),
    ] = 3


class Shard(Protocol):
    """A request for one network and a few classes."""

    @property
    def title(self) -> str:
        """Name of its flow run."""
        ...

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Return the request as plain values."""
        ...


ShardT = TypeVar("ShardT", bound=Shard)
Answer = TypeVar("Answer")


class Place(Protocol):
    """Computes shards."""

    def start(self, shard: Shard, attempt: int, *, join: bool) -> object:
        """Hand a shard out and return a handle of it."""
        ...

    def ended(self, handles: Collection[Any]) -> Iterable[tuple[Any, State]]:
        """Wait a little and return those that have ended, with their states."""
        ...

    def cancel(self, handles: Collection[Any]) -> None:
        """End what is still at work."""
        ...


def run_shards(
    place: Place,
    shards: Sequence[ShardT],
    fan_out: FanOut,
    *,
    join: bool = False,
    meanwhile: Callable[[], None] | None = None,
) -> Iterator[tuple[ShardT, State]]:
    """Compute shards at a place and yield each as it ends; what is lost on the way is started again, elsewhere.

    Whoever stops asking, or is cancelled, cancels the shards at work. ``meanwhile`` is called now and then.
    """
    waiting = deque((shard, 1) for shard in shards)
    at_work: dict[Any, tuple[ShardT, int]] = {}
    try:
        while waiting or at_work:
            while waiting and len(at_work) < fan_out.at_once:
                shard, attempt = waiting.popleft()
                at_work[place.start(shard, attempt, join=join)] = (shard, attempt)
            for handle, state in place.ended(at_work):
                shard, attempt = at_work.pop(handle)
                if is_lost(state) and attempt < fan_out.attempts:
                    logger.warning(
                        "%s is lost (%s): started again, %d of %d",
                        shard.title,
                        state.message,
                        attempt + 1,
                        fan_out.attempts,
                    )
                    waiting.append((shard, attempt + 1))
                else:
                    yield shard, state
            if meanwhile:
                meanwhile()
    finally:
        if at_work:
            place.cancel(at_work)


def is_lost(state: State) -> bool:
    """Say whether a shard ended through no fault of its own: its process or node is gone, or memory ran out."""
    return state.is_crashed() or (state.is_failed() and "MemoryError" in (state.message or ""))


@contextmanager
def place_of(fan_out: FanOut, shard_flow: Flow) -> Iterator[Place]:
    """Open the place that a run was told to compute at.

    The flow is that of one shard: called with the shard's request, and with ``join`` to join what the shards left.

    Raises
    ------
    XvError
        The pool does not know the flow, no server is set that has pools, or there is no such Ray cluster.
    """
    if fan_out.to == "pool":
        if not is_reported():
            raise XvError(
                f"fan-out to the work pool {fan_out.pool!r} needs the Prefect server that has it: set PREFECT_API_URL "
                "(`xv up` starts one and prints it); else fan out to here or ray"
            )
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            yield Pool(shard_flow, fan_out.pool, client)
    elif fan_out.to == "ray":
        with _ray_runner(fan_out.ray_address) as runner:
            yield Ray(shard_flow, runner)
    else:
        yield Here(shard_flow)


class Here:
    """One shard after the other, in this process."""

    def __init__(self, shard_flow: Flow) -> None:
        self._flow = shard_flow
        self._started: dict[int, tuple[Shard, bool]] = {}
        self._count = 0

    def start(self, shard: Shard, attempt: int, *, join: bool) -> int:
        """Remember the shard."""
        self._count += 1
        self._started[self._count] = (shard, join)
        return self._count

    def ended(self, handles: Collection[int]) -> Iterator[tuple[int, State]]:
        """Compute the shard that was started first."""
        handle = min(handles)
        shard, join = self._started.pop(handle)
        yield handle, ended(self._flow, shard, join=join)

    def cancel(self, handles: Collection[int]) -> None:
        """Forget what was not computed."""
        for handle in handles:
            self._started.pop(handle, None)


class Pool:
    """Flow runs of the deployment of the shard's flow in a work pool: workers take them, or they become jobs.

    Parameters
    ----------
    shard_flow : flow of a shard
    pool : name of the work pool
    client : of the server; it stays open, since to open one costs more than all that is asked

    Raises
    ------
    XvError
        The server knows no such deployment.
    """

    def __init__(self, shard_flow: Flow, pool: str, client: "SyncPrefectClient") -> None:
        from prefect.exceptions import ObjectNotFound

        self._client = client
        self._deployment = f"{shard_flow.name}/{pool}"
        self._said = self._heard = time.monotonic()
        try:
            client.read_deployment_by_name(self._deployment)
        except ObjectNotFound as error:
            raise XvError(
                f"no deployment {self._deployment!r} on the Prefect server in use, so nobody takes shards there: "
                "`xv up` or `python -m deployments.bootstrap --pool NAME` brings it; else fan out to here or ray"
            ) from error

    def start(self, shard: Shard, attempt: int, *, join: bool) -> UUID:
        """Create a flow run."""
        from prefect.deployments import run_deployment
        from prefect.runtime import flow_run

        parameters = {"request": shard.model_dump(mode="json"), "join": join}
        create = partial(
            run_deployment,
            self._deployment,
            parameters=parameters,
            idempotency_key=f"{flow_run.id}-{attempt}-{digest(parameters)}",
            flow_run_name=f"join {shard.title}" if join else shard.title,
            timeout=0,
            tags=[f"of:{flow_run.name}", f"attempt:{attempt}"],
        )
        while (created := self._answer(create)) is None:
            time.sleep(POLL_SECONDS)
        return cast("FlowRun", created).id

    def ended(self, handles: Collection[UUID]) -> Iterator[tuple[UUID, State]]:
        """Ask the server, at most once in :data:`POLL_SECONDS`; a server out of reach is waited for."""
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
        from prefect.client.schemas.objects import State, StateType

        asked = FlowRunFilter(id=FlowRunFilterId(any_=list(handles)))
        time.sleep(POLL_SECONDS)
        found = self._answer(partial(self._client.read_flow_runs, flow_run_filter=asked))
        if found is None:
            return
        self._say_if_idle(found)
        for each in found:
            if each.state and each.state.is_final():
                yield each.id, each.state
        for gone in set(handles) - {each.id for each in found}:
            yield gone, State(type=StateType.CRASHED, message="its flow run was deleted")

    def cancel(self, handles: Collection[UUID]) -> None:
        """Ask the workers to end the flow runs; those that nobody took are cancelled at once."""
        from prefect.client.schemas.objects import State, StateType

        for handle in handles:
            self._client.set_flow_run_state(handle, State(type=StateType.CANCELLING))

    def _answer(self, ask: Callable[[], Answer]) -> Answer | None:
        """Return what the server answers; ``None`` where it is out of reach or overloaded, and may be asked again.

        Raises
        ------
        httpx.HTTPError
            It has not answered for :data:`PATIENCE_SECONDS`, or refuses what is asked.
        """
        import httpx

        try:
            found = ask()
        except httpx.HTTPError as error:
            is_refused = isinstance(error, httpx.HTTPStatusError) and error.response.is_client_error
            if is_refused or time.monotonic() - self._heard > PATIENCE_SECONDS:
                raise
            logger.warning(
                "the Prefect server does not answer (%s): asked again", in_one_line(error) or type(error).__name__
            )
            return None
        self._heard = time.monotonic()
        return found

    def _say_if_idle(self, found: "Sequence[FlowRun]") -> None:
        """Log now and then that nobody works on anything."""
        now = time.monotonic()
        if any(each.state and not each.state.is_scheduled() for each in found):
            self._said = now
        elif now - self._said > SILENCE_SECONDS:
            self._said = now
            logger.warning("%d shards wait for %s: no worker takes them", len(found), self._deployment)


class Ray:
    """Tasks on a Ray cluster, handed out by its task runner; a task has a GPU to itself where the cluster has GPUs."""

    def __init__(self, shard_flow: Flow, runner: "RayTaskRunner[Any]") -> None:
        import ray
        from prefect import task
        from prefect.cache_policies import NO_CACHE

        self._entrypoint = f"{shard_flow.fn.__module__}:{shard_flow.fn.__name__}"
        self._runner = runner
        self._task = task(name="shard", cache_policy=NO_CACHE)(shard_on_ray)
        self._futures: dict[object, PrefectRayFuture[Any]] = {}
        # A lost shard is started again by us, on whatever node is left: not by Ray behind Prefect's back.
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self._needs = {"num_gpus": 1 if resources.get("GPU") else 0, "max_retries": 0}

    def start(self, shard: Shard, attempt: int, *, join: bool) -> object:
        """Submit a task."""
        from prefect_ray.context import remote_options

        parameters = {"entrypoint": self._entrypoint, "request": shard.model_dump(mode="json"), "join": join}
        with remote_options(**self._needs):
            future = self._runner.submit(self._task.with_options(task_run_name=shard.title), parameters)
        self._futures[future.wrapped_future] = future
        return future.wrapped_future

    def ended(self, handles: Collection[Any]) -> Iterator[tuple[object, State]]:
        """Wait for the next task."""
        import ray

        for handle in ray.wait(list(handles), num_returns=1, timeout=POLL_SECONDS)[0]:
            future = self._futures.pop(handle)
            future.wait()
            yield handle, future.state

    def cancel(self, handles: Collection[Any]) -> None:
        """End the tasks."""
        import ray

        for handle in handles:
            ray.cancel(handle, force=True)


def shard_on_ray(entrypoint: str, request: dict[str, Any], *, join: bool) -> object:
    """Run the flow of one shard on a node of a Ray cluster."""
    module, _, name = entrypoint.partition(":")
    shard_flow: Flow = getattr(importlib.import_module(module), name)
    return shard_flow(request, join=join)


def _ray_runner(address: str) -> "RayTaskRunner[Any]":
    """Return the task runner of a cluster; XvError where Ray is not installed or nothing answers."""
    try:
        from prefect_ray.task_runners import RayTaskRunner
    except ImportError as error:
        raise XvError("fan-out to ray needs the extra `ray`: pip install 'xv[ray]'") from error
    if address == "auto":
        return RayTaskRunner()
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        # Ray itself tries for minutes.
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise XvError(f"no Ray cluster at {address!r} ({error}): expected HOST:PORT of its head, or auto") from error
    return RayTaskRunner(address=address)
