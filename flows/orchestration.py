"""Flows and tasks, run by Prefect where a server is set and as plain calls where none is.

Importing Prefect takes two seconds of a processor, and the server that it starts where it finds none takes a dozen. So
it is imported where somebody is to be told: ``PREFECT_API_URL`` or a profile names a server, or a worker has started
this process. Everywhere else the same functions do the same work in the same order; what they found is in the store.
"""

import functools
import importlib
import logging
import os
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO, cast, runtime_checkable
from uuid import UUID

from xvcore.errors import in_one_line

logger = logging.getLogger("flows.orchestration")

DELAYS_SECONDS = (5.0, 30.0)
"""Before each further try of work whose surroundings failed (a store or disk out of reach)."""
LINE = "%(asctime)s.%(msecs)03d | %(levelname)-7s | %(name)s - %(message)s"
"""Of the log on a terminal, as Prefect writes it."""
SECONDS_BETWEEN = 2.0
"""Between two movements of a bar: each is a call of the server."""


@runtime_checkable
class State(Protocol):
    """How a flow has ended: Prefect's state, or an :class:`End`."""

    @property
    def name(self) -> str | None:
        """One word: Completed, Failed, Crashed, …."""
        ...

    @property
    def message(self) -> str | None:
        """Why."""
        ...

    def is_completed(self) -> bool:
        """Say whether it came to its end."""
        ...

    def is_failed(self) -> bool:
        """Say whether it ended by an error."""
        ...

    def is_crashed(self) -> bool:
        """Say whether its process or its node is gone."""
        ...


@dataclass(frozen=True, slots=True)
class End:
    """How a flow has ended that was a plain call, in Prefect's words."""

    name: str = "Completed"
    message: str | None = None

    def is_completed(self) -> bool:
        """Say whether it came to its end."""
        return self.name == "Completed"

    def is_failed(self) -> bool:
        """Say whether it ended by an error."""
        return self.name == "Failed"

    def is_crashed(self) -> bool:
        """Say whether its process is gone: then so are we."""
        return False


@runtime_checkable
class Flow(Protocol):
    """What a module offers as a flow: Prefect's own where Prefect is at work, else a :class:`PlainFlow`."""

    @property
    def name(self) -> str:
        """Name of the flow, as its deployments have it."""
        ...

    @property
    def fn(self) -> Callable[..., Any]:
        """The function itself."""
        ...

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Run it."""
        ...


class PlainFlow:
    """A flow that becomes Prefect's when it is called and somebody is to be told."""

    def __init__(self, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self.fn = function
        self.name: str = options["name"]
        self._options = options

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Run it: a call, or a flow run that takes Prefect's ``return_state`` too."""
        return (self.of_prefect if is_reported() else self.fn)(*arguments, **named)

    @functools.cached_property
    def of_prefect(self) -> Flow:
        """The same flow as Prefect has it."""
        from prefect import flow as prefect_flow

        made: Flow = prefect_flow(**self._options)(self.fn)
        return made


class Task:
    """A step of a flow: a task run of Prefect's where somebody is told, else a call; either is :func:`tried` again."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.fn = function

    def __call__(self, *arguments: Any, title: str | None = None) -> Any:
        """Do it; ``title`` is the task run's."""
        if is_reported():
            return self.of_prefect.with_options(task_run_name=title)(*arguments)
        return self._tried(*arguments)

    @functools.cached_property
    def of_prefect(self) -> Any:
        """The same task as Prefect has it."""
        from prefect import task as prefect_task
        from prefect.cache_policies import NO_CACHE

        return prefect_task(cache_policy=NO_CACHE)(self._tried)

    @functools.cached_property
    def _tried(self) -> Callable[..., Any]:
        @functools.wraps(self.fn)
        def again(*arguments: Any) -> Any:
            return tried(self.fn.__name__, functools.partial(self.fn, *arguments))

        return again


class Bar:
    """How many classes are done, as a progress artifact of the flow run at work; nothing where nobody is told."""

    def __init__(self, key: str, description: str) -> None:
        self._artifact: UUID | None = None
        self._moved = time.monotonic()
        if is_reported():
            from prefect.artifacts import create_progress_artifact

            self._artifact = cast(UUID, create_progress_artifact(progress=0.0, key=key, description=description))

    @property
    def is_due(self) -> bool:
        """Whether somebody looks at it, and it was not moved in the last :data:`SECONDS_BETWEEN`."""
        return self._artifact is not None and time.monotonic() - self._moved >= SECONDS_BETWEEN

    def move(self, done: int, total: int) -> None:
        """Move it to a part of its way; a server that is out of reach stops no work."""
        if self._artifact is None:
            return
        import httpx
        from prefect.artifacts import update_progress_artifact

        self._moved = time.monotonic()
        try:
            update_progress_artifact(self._artifact, progress=100.0 * done / total if total else 100.0)
        except httpx.HTTPError as error:
            logger.warning("the progress of the run is not shown: %s", in_one_line(error) or type(error).__name__)


def flow(**options: Any) -> Callable[[Callable[..., Any]], Flow]:
    """Return a decorator that makes a flow of a function; the options are those of :func:`prefect.flow`.

    Where Prefect is at work already (a worker, its tests) it is a flow of Prefect's, which its engine looks for.
    """

    def made(function: Callable[..., Any]) -> Flow:
        plain = PlainFlow(function, options)
        return plain.of_prefect if "prefect.flows" in sys.modules else plain

    return made


def task(function: Callable[..., Any]) -> Task:
    """Make a task of a function."""
    return Task(function)


def tried(what: str, work: Callable[[], Any]) -> Any:
    """Return what work gives; done again, after :data:`DELAYS_SECONDS`, where not it but its surroundings failed."""
    for delay in DELAYS_SECONDS:
        try:
            return work()
        except Exception as error:
            if not _is_of_surroundings(error):
                raise
            reason = f"{type(error).__name__}: {in_one_line(error)}"
        logger.warning("%s: %s: tried again in %g s", what, reason, delay)
        time.sleep(delay)
    return work()


def run(called: Flow, *arguments: Any, **named: Any) -> Any:
    """Run a flow for a terminal; where nobody is told, its function alone, and the log looks as Prefect's does."""
    if is_reported():
        return called(*arguments, **named)
    if not logging.getLogger().handlers:
        handler = _Terminal()
        handler.setFormatter(logging.Formatter(LINE, "%H:%M:%S"))
        logging.getLogger().addHandler(handler)
    return called.fn(*arguments, **named)


class _Terminal(logging.StreamHandler[TextIO]):
    """Writes to what is standard error at the time, so that lines stay above a bar that is being drawn."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Standard error."""
        return sys.stderr


def of_prefect(called: Flow) -> Flow:
    """Return a flow as Prefect has it, also where no server is set: Prefect starts one then."""
    return called.of_prefect if isinstance(called, PlainFlow) else called


def ended(called: Flow, *arguments: Any, **named: Any) -> State:
    """Run a flow to its end and return how it ended; what is no error (Ctrl-C, a signal) is raised."""
    if is_reported():
        state: State = called(*arguments, return_state=True, **named)
        return state
    try:
        called.fn(*arguments, **named)
    except Exception as error:
        logger.debug("%s: %s: %s", called.name, type(error).__name__, in_one_line(error), exc_info=error)
        return End("Failed", f"Flow run encountered an exception: {type(error).__name__}: {error}")
    return End()


def is_reported() -> bool:
    """Say whether Prefect is told of what runs here: a server is set, or this is the run of a flow of Prefect's."""
    if "prefect.context" in sys.modules:
        context = importlib.import_module("prefect.context")
        if context.FlowRunContext.get() or context.TaskRunContext.get():
            return True
    elif not _may_name_a_server():
        return False
    from prefect.settings import PREFECT_API_URL

    return bool(PREFECT_API_URL.value())


def _may_name_a_server() -> bool:
    """Say whether a server may be set where Prefect's settings come from; only Prefect knows which of them wins."""
    if os.environ.get("PREFECT_API_URL") or os.environ.get("PREFECT_PROFILE"):
        return True
    if Path("prefect.toml").exists() or "PREFECT_" in _text(Path(".env")):
        return True
    if "[tool.prefect" in _text(Path("pyproject.toml")):
        return True
    home = os.environ.get("PREFECT_HOME") or Path.home() / ".prefect"
    profiles = _text(Path(os.environ.get("PREFECT_PROFILES_PATH") or Path(home) / "profiles.toml"))
    return "API_URL" in profiles or _active(profiles) not in (None, "ephemeral")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _active(profiles: str) -> object:
    try:
        return tomllib.loads(profiles).get("active")
    except tomllib.TOMLDecodeError:
        return "a file that Prefect will complain of"


def _is_of_surroundings(error: object) -> bool:
    return isinstance(error, OSError) or isinstance(getattr(error, "__cause__", None), OSError)
