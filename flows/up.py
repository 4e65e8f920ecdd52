"""The service of one machine: Prefect server, worker, deployments and report site, started and stopped together.

Everything that belongs to it lies in one folder, its *home*: the server's database, logs, the password and the state
file with the processes it consists of. :func:`down` stops exactly those.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xvcore.errors import XvError

if TYPE_CHECKING:
    import httpx

POOL, SHARDS = "xv", "shards"
USER = "xv"
EVERYWHERE = "0.0.0.0"
STARTUP_SECONDS = 600
"""Until the server answers; it takes 10 seconds alone and minutes on a loaded machine."""
GRACE_SECONDS = 30
"""Until a process that was asked to end is killed."""
RETENTION_SECONDS = 60 * 24 * 3600
"""Flow runs that ended longer ago leave the server's database; the store keeps the results."""
HEARTBEAT_SECONDS = 30
"""Of flow runs; ``deployments/automations.yaml`` calls a run crashed that is silent for five of them."""
DRIVERS = 8
"""Runs at a time that only hand out shards."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Service:
    """What :func:`up` starts, and where.

    ``folder``: where flow runs work: relative addresses in a form are relative to it, as on the command line.
    ``gpus``: one worker for each, which sees that GPU alone; none: one worker that sees whatever there is.
    """

    home: Path
    folder: Path
    report: Path
    host: str = "127.0.0.1"
    port: int = 4200
    report_port: int = 4280
    gpus: tuple[str, ...] = ()

    @property
    def ui_url(self) -> str:
        """Address of the server for a browser, also on another machine where the service listens for those."""
        return f"http://{self._name}:{self.port}"

    @property
    def report_url(self) -> str:
        """Address of the report for a browser."""
        return f"http://{self._name}:{self.report_port}/"

    @property
    def local(self) -> str:
        """Address of the service for programs of this machine."""
        return "127.0.0.1" if self._listens_everywhere else self.host

    @property
    def api_url(self) -> str:
        """Address of the server for programs of this machine."""
        return f"http://{self.local}:{self.port}/api"

    @property
    def _listens_everywhere(self) -> bool:
        return self.host == EVERYWHERE

    @property
    def _name(self) -> str:
        return socket.gethostname() if self._listens_everywhere else self.host

    def log(self, name: str) -> Path:
        """Return the file that a process writes to."""
        return self.home / "logs" / f"{name}.log"


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker of the pool; ``gpu``: the only one it sees, as in ``CUDA_VISIBLE_DEVICES``, None: whatever there is."""

    name: str
    queue: str
    limit: int
    gpu: str | None


@dataclass(frozen=True, slots=True)
class Started:
    """A process of the service; ``born`` tells it from a later process with the same number."""

    name: str
    pid: int
    born: str


@dataclass(frozen=True, slots=True)
class State:
    """What runs, where: the content of the state file."""

    service: Service
    processes: tuple[Started, ...] = field(default=())


class Process(NamedTuple):
    """An entry of the system's table of processes."""

    parent: int
    born: str


def up(service: Service, say: Say) -> None:
    """Start what does not run yet, register the deployments, and print the addresses; called again, it mends.

    Raises
    ------
    XvError
        A port is taken, the service is up with other settings, or a process ended at once; what was started is stopped.
    """
    service = replace(
        service, home=service.home.resolve(), folder=service.folder.resolve(), report=service.report.resolve()
    )
    with _alone(service.home):
        state = _alive(_read(service.home)) or State(service)
        if state.processes and state.service != service:
            raise XvError(
                f"the service in {service.home} is up with other settings ({_differences(state.service, service)}): "
                "xv down first"
            )
        known = {each.name for each in state.processes}
        try:
            _start_all(State(service, state.processes), say)
        except BaseException:
            _stop_some(_read(service.home), without=known, say=say)
            raise
    say(f"Prefect      {service.ui_url}   (user and password: {_password_file(service.home)})")
    say(f"report       {service.report_url}   ({service.report})")
    say(f"runs work in {service.folder}, logs are in {service.home / 'logs'}")
    say(f"from a shell export PREFECT_API_URL={service.api_url}")
    say(f'             export PREFECT_API_AUTH_STRING="$(cat {_password_file(service.home)})"')
    say(f"stop it      xv down --home {service.home}")


def down(home: Path, say: Say) -> None:
    """Stop the processes that :func:`up` started, and those alone; a flow run at work is cancelled, and resumable.

    Raises
    ------
    XvError
        There is no service in that folder.
    """
    home = home.resolve()
    if not _state_file(home).exists():
        raise XvError(f"no service in {home}: nothing to stop")
    with _alone(home):
        _stop_some(_read(home), without=(), say=say)


def _start_all(state: State, say: Say) -> None:
    service = state.service
    for folder in (_made(service.home) / "logs", service.home / "prefect", service.report):
        folder.mkdir(parents=True, exist_ok=True)
    if not service.folder.is_dir():
        raise XvError(f"folder {service.folder} of the flow runs: there is no such folder")
    password = _password(service.home)
    environment = _environment(service, password)
    running = {each.name for each in state.processes}
    for name, port in (("server", service.port), ("report", service.report_port)):
        if name not in running:
            _check_free(service.host, port, "--port" if name == "server" else "--report-port")
    python = sys.executable
    if "server" not in running:
        say("starting the Prefect server …")
        serve = ["server", "start", "--host", service.host, "--port", str(service.port)]
        state = _start(state, "server", [python, "-m", "prefect", *serve], environment)
    _wait_for(state, "server", f"{service.api_url}/health")
    say("registering the deployments …")
    _register(service, environment)
    for worker in _workers(service):
        if worker.name not in running:
            limits = ["--work-queue", worker.queue, "--limit", str(worker.limit)]
            start = ["worker", "start", "--pool", POOL, "--type", "process", "--name", worker.name, *limits]
            seen = {} if worker.gpu is None else {"CUDA_VISIBLE_DEVICES": worker.gpu}
            state = _start(state, worker.name, [python, "-m", "prefect", *start], environment | seen)
    if "report" not in running:
        serve = [str(service.report_port), "--bind", service.host, "--directory", str(service.report)]
        state = _start(state, "report", [python, "-m", "flows.site", *serve], _of_site(environment))
    _wait_for(state, "report", f"http://{service.local}:{service.report_port}/")
    for each in state.processes:
        _check_lives(state, each.name)


def _made(home: Path) -> Path:
    """Return the folder of the service, which its owner alone may enter: database, password and logs lie there."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.chmod(0o700)
    return home


def _of_site(environment: dict[str, str]) -> dict[str, str]:
    """Return the surroundings of the report's server, which asks nobody for anything: without the password."""
    return {name: value for name, value in environment.items() if not name.endswith("API_AUTH_STRING")}


def _workers(service: Service) -> list[Worker]:
    """Return a worker for each GPU, one process on a GPU, and the driver, which hands out shards and sees no GPU.

    The driver is last, hence stopped first: else it would hand out again what its workers lose.
    """
    of_gpus = [Worker(f"worker-gpu{gpu}", SHARDS, 1, gpu) for gpu in service.gpus]
    return [*(of_gpus or [Worker("worker", SHARDS, 1, None)]), Worker("driver", "default", DRIVERS, gpu="")]


def _environment(service: Service, password: str) -> dict[str, str]:
    """Return the surroundings of all processes of the service; nothing of another server's leaks in."""
    inherited = {key: value for key, value in os.environ.items() if key != "PREFECT_DEFAULT_WORK_POOL_NAME"}
    unproxied = ",".join(filter(None, [os.environ.get("NO_PROXY", os.environ.get("no_proxy")), service.local]))
    return inherited | {
        "NO_PROXY": unproxied,
        "no_proxy": unproxied,
        "PREFECT_HOME": str(service.home / "prefect"),
        "PREFECT_API_URL": service.api_url,
        "PREFECT_UI_API_URL": f"{service.ui_url}/api",
        "PREFECT_SERVER_API_AUTH_STRING": password,
        "PREFECT_API_AUTH_STRING": password,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(RETENTION_SECONDS),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "xvcore,flows",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        "XV_FOLDER": str(service.folder),
        "XV_REPORT": str(service.report),
        "XV_REPORT_URL": service.report_url,
    }


def _start(state: State, name: str, command: list[str], environment: dict[str, str]) -> State:
    """Start a process that outlives us, write it down at once, and return the new state."""
    with state.service.log(name).open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=state.service.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    entry = _processes().get(process.pid)
    if entry is None:
        raise XvError(f"{name} ended at once; the end of {state.service.log(name)}:\n{_tail(state.service.log(name))}")
    state = State(state.service, (*state.processes, Started(name, process.pid, entry.born)))
    _write(state)
    return state


def _register(service: Service, environment: dict[str, str]) -> None:
    """Tell the server of work pool, automations and deployments."""
    command = [sys.executable, "-m", "deployments.bootstrap", "--wait", "60"]
    root = Path(__file__).resolve().parent.parent
    with service.log("bootstrap").open("ab") as log:
        done = subprocess.run(
            command, cwd=root, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
        )
    if done.returncode:
        raise XvError(f"the deployments were not registered; the end of {log.name}:\n{_tail(service.log('bootstrap'))}")


def _wait_for(state: State, name: str, url: str) -> None:
    """Return as soon as a process answers; XvError if it ends or stays silent."""
    import httpx

    until = time.monotonic() + STARTUP_SECONDS
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=10, trust_env=False).status_code == httpx.codes.OK:
                return
        _check_lives(state, name)
        if time.monotonic() > until:
            raise XvError(
                f"{name} does not answer at {url} after {STARTUP_SECONDS} seconds; see {state.service.log(name)}"
            )
        time.sleep(1)


def _check_lives(state: State, name: str) -> None:
    if name not in {each.name for each in state.processes if _lives(each, _processes())}:
        log = state.service.log(name)
        raise XvError(f"{name} has ended; the end of {log}:\n{_tail(log)}")


def _check_free(host: str, port: int, option: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise XvError(
                f"port {port} of {host} cannot be had ({error.strerror}): choose another by {option}"
            ) from error


def _stop_some(state: State | None, *, without: Collection[str], say: Say) -> None:
    """Stop the processes of a service but for some, in the opposite order of their start, and write down what is left.

    Workers go before the server, which is then told that their flow runs have ended: a killed run cannot say it, and
    one that still can calls itself crashed.
    """
    if state is None:
        return
    at_work: list[str] = []
    if any(each.name == "server" and each.name not in without for each in state.processes):
        at_work = _runs_at_work(state.service)
    for each in reversed(state.processes):
        if each.name in without:
            continue
        if each.name == "server" and _lives(each, _processes()):
            _cancel_runs(state.service, at_work, say)
        _stop(each)
        say(f"stopped {each.name} ({each.pid})")
    left = tuple(each for each in state.processes if each.name in without)
    if left:
        _write(State(state.service, left))
    else:
        _state_file(state.service.home).unlink()


def _runs_at_work(service: Service) -> list[str]:
    """Return the flow runs of the pool that are running; none where the server cannot be asked: it may be gone."""
    import httpx

    try:
        with _client(service) as client:
            asked = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}, "work_pools": {"name": {"any_": [POOL]}}}
            return _ids(client, asked)
    except httpx.HTTPError:
        return []


def _client(service: Service) -> "httpx.Client":
    import httpx

    user, _, password = _password(service.home).partition(":")
    return httpx.Client(base_url=service.api_url, auth=(user, password), timeout=30, trust_env=False)


def _ids(client: "httpx.Client", asked: dict[str, Any]) -> list[str]:
    """Return the ids of the flow runs that a filter finds."""
    return [each["id"] for each in client.post("/flow_runs/filter", json=asked).raise_for_status().json()]


def _cancel_runs(service: Service, at_work: Sequence[str], say: Say) -> None:
    """Mark as cancelled what the server believes at work: runs of the pool, those they started, waiting shards.

    And those of ``at_work`` that have called themselves crashed since, at the signal that ended them.
    """
    import httpx

    running = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
    cancelled = {"type": "CANCELLED", "message": "stopped by xv down; run it again, the store knows what is done"}
    try:
        with _client(service) as client:
            of_pool = {"flow_runs": running, "work_pools": {"name": {"any_": [POOL]}}}
            found = _ids(client, of_pool)
            queue = {"work_pools": {"name": {"any_": [POOL]}}, "work_pool_queues": {"name": {"any_": [SHARDS]}}}
            handed_out = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, **queue}
            found += _ids(client, handed_out)
            of_parents = {"flow_runs": running | {"parent_flow_run_id": {"any_": found}}}
            found += _ids(client, of_parents)
            ended = {"flow_runs": {"id": {"any_": list(at_work)}, "state": {"type": {"any_": ["CRASHED"]}}}}
            found += _ids(client, ended)
            for identity in found:
                body = {"state": cancelled, "force": True}
                client.post(f"/flow_runs/{identity}/set_state", json=body).raise_for_status()
    except httpx.HTTPError as error:
        say(f"the server could not be told that its flow runs have ended: {error}")


def _stop(started: Started) -> None:
    """End a process and all that it started: asked first, killed after the time of grace."""
    table = _processes()
    if not _lives(started, table):
        return
    family = {pid: table[pid].born for pid in _family(started.pid, table)}
    # Children of a worker are the flow runs, each the leader of its own processes, which it ends itself.
    for pid in [each for each in family if table[each].parent == started.pid] + [started.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + GRACE_SECONDS
    while left := [pid for pid, entry in _processes().items() if family.get(pid) == entry.born]:
        if time.monotonic() > until:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.2)


def _family(pid: int, table: dict[int, Process]) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    for each in found:
        found += [child for child, entry in table.items() if entry.parent == each and child not in found]
    return found


def _processes() -> dict[int, Process]:
    """Return the processes of this machine that have not ended."""
    if Path("/proc/self/stat").exists():
        return dict(_from_proc())
    listed = subprocess.run(["ps", "-axo", "pid=,ppid=,stat=,lstart="], capture_output=True, text=True, check=True)
    lines = [line.split(maxsplit=3) for line in listed.stdout.splitlines()]
    return {int(pid): Process(int(parent), born) for pid, parent, status, born in lines if not status.startswith("Z")}


def _from_proc() -> Iterator[tuple[int, Process]]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            # The name may hold spaces and brackets; after it: state, parent, …, ticks from boot to birth (the 22nd).
            status, parent, *rest = (folder / "stat").read_text().rpartition(")")[2].split()
            if status not in "ZX":
                yield int(folder.name), Process(int(parent), rest[17])


def _lives(started: Started, table: dict[int, Process]) -> bool:
    return started.pid in table and table[started.pid].born == started.born


def _alive(state: State | None) -> State | None:
    """Return the state without the processes that have ended."""
    if state is None:
        return None
    table = _processes()
    return State(state.service, tuple(each for each in state.processes if _lives(each, table)))


def _state_file(home: Path) -> Path:
    return home / "state.json"


def _read(home: Path) -> State | None:
    path = _state_file(home)
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        service = content["service"]
        paths = {name: Path(service[name]) for name in ("home", "folder", "report")}
        known = Service(**(service | paths | {"gpus": tuple(service["gpus"])}))
        return State(known, tuple(Started(**each) for each in content["processes"]))
    except (ValueError, KeyError, TypeError) as error:
        raise XvError(f"{path} is not a state file of this version of xv: {error}") from error


def _write(state: State) -> None:
    path = _state_file(state.service.home)
    content = {"service": asdict(state.service), "processes": [asdict(each) for each in state.processes]}
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(content, indent=2, default=str))
    beside.replace(path)


def _differences(old: Service, new: Service) -> str:
    before, after = asdict(old), asdict(new)
    return ", ".join(f"{name} {before[name]}, not {after[name]}" for name in before if before[name] != after[name])


def _password_file(home: Path) -> Path:
    return home / "password"


def _password(home: Path) -> str:
    """Return ``user:password`` of the server: drawn once, readable by the owner alone."""
    path = _password_file(home)
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{USER}:{secrets.token_urlsafe(18)}")
    return path.read_text().strip()


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the service's home; XvError if another command does."""
    import fcntl

    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise XvError(f"another xv up or xv down is at work in {home}") from error
        yield


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
