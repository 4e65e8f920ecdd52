"""What orchestration costs: 200 classes without a server, in a flow run, and by the workers of a pool.

Command: ``PYTHONPATH=.:tests python tests/benchmarks/fan_out.py [--classes FEW MANY] [--shard-size N] [--places …]``,
some minutes. Without ``--shard-size`` shards are cut as a run cuts them that was told nothing.
The classes have one small picture each, so that next to nothing is computed: what is left is orchestration. Everything
runs on the service that ``xv up`` starts in a temporary folder, and is done twice: with few classes, which pay for the
start of the processes and for what a run does once, and with many; no report follows. Printed are, above what the
library takes alone, milliseconds of the processor and of the clock a class (the difference of the two runs by the
difference of their classes), those of a class with all that is paid once, and what the server's process and database
have grown to. Processor time is that of all processes of the service, the server's among them; it moves little on a
loaded machine.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aviary import bird_folder
from service import Api, free_ports, xv

from flows import orchestration
from flows.classes import ClassesRequest
from flows.families.evidence import COMMAND
from xvcore.data import open_dataset
from xvcore.runs import pipeline
from xvcore.runs.run import announce, conclude, open_run

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PLACES = ("here", "pool")


@dataclass(frozen=True)
class Cost:
    """Seconds of the processor and of the clock."""

    cpu: float
    clock: float

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.cpu - other.cpu, self.clock - other.clock)

    def each(self, n: int) -> str:
        """Return milliseconds of one of n, as words."""
        return f"{1000 * self.cpu / n:.0f} ms of the processor, {1000 * self.clock / n:.0f} ms of the clock"


def taken(work: Callable[[], object]) -> Cost:
    """Return what work in this process takes."""
    cpu, clock = time.process_time(), time.monotonic()
    work()
    return Cost(time.process_time() - cpu, time.monotonic() - clock)


def alone(request: ClassesRequest) -> None:
    """Run classes by the library."""
    run = open_run(request.specs()[0])
    class_ids = [info.class_id for info in run.dataset.classes]
    announce(run, class_ids)
    for class_id in class_ids:
        pipeline.complete_class(run, class_id)
    pipeline.gather(run)
    conclude(run)


class Service:
    """What :func:`xv up` started: its processes, which are asked what they took.

    Parameters
    ----------
    home : of the service
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        processes = json.loads((home / "state.json").read_text())["processes"]
        self.pids = {each["name"]: int(each["pid"]) for each in processes}

    def cpu(self) -> float:
        """Return processor seconds of all processes, those of the flow runs that have ended among them."""
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.pids.values()]
        return TICK_S * sum(int(number) for each in fields for number in each[11:15])

    def is_at_work(self) -> bool:
        """Return whether a worker has a flow run's process."""
        return any(Path(f"/proc/{pid}/task/{pid}/children").read_text().strip() for pid in self.pids.values())

    def size(self) -> str:
        """Return the memory of the server and the size of its database, in words."""
        status = Path(f"/proc/{self.pids['server']}/status").read_text()
        memory = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) >> 10
        files = (self.home / "prefect").glob("prefect.db*")
        return f"server {memory} MiB, database {sum(file.stat().st_size for file in files) >> 20} MiB"

    def serve(self, api: Api, request: dict[str, Any]) -> None:
        """Have a run done, and wait until its processes are gone."""
        answer = api.start("evidence", **request)
        answer.raise_for_status()
        end = api.end_of(answer.json()["id"], seconds=3600)
        if not end.startswith("Completed"):
            raise SystemExit(end)
        while self.is_at_work():
            time.sleep(0.2)


def without_report(api: Api) -> None:
    """Switch off the automation that writes a report after each run: pages are no orchestration."""
    for each in api.client.post("/automations/filter", json={}).raise_for_status().json():
        if each["name"] == "xv-report-after-run":
            api.client.patch(f"/automations/{each['id']}", json={"enabled": False}).raise_for_status()


def birds(folder: Path, n_classes: int) -> dict[str, Any]:
    """Draw classes of one picture each, and return the fields of a request for all of them."""
    dataset = bird_folder(folder / f"birds{n_classes}", n_classes=n_classes, n_images=1)
    return {
        "dataset": dataset,
        "models": [f"partbirds_bagnet17@random?classes={n_classes}"],
        "class_map": {info.class_id: str(info.class_idx) for info in open_dataset(dataset).classes},
    }


def say(name: str, cost: dict[int, Cost], base: dict[int, Cost]) -> None:
    """Print what a place takes above the library alone, by the costs of few and of many classes."""
    few, many = sorted(cost)
    above = {n: cost[n] - base[n] for n in (few, many)}
    print(f"{name}: a class more {(above[many] - above[few]).each(many - few)} above the library")
    print(f"{name}: a class of {many}, with what is paid once, {above[many].each(many)} above the library", flush=True)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--classes", type=int, nargs=2, default=[20, 200], metavar=("FEW", "MANY"))
    parser.add_argument("--shard-size", type=int)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--places", nargs="*", default=PLACES, choices=PLACES, help="none: without a server alone")
    options = parser.parse_args()
    few, many = sorted(options.classes)
    costs: dict[str, dict[int, Cost]] = {name: {} for name in ("alone", "no server", *options.places)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        asked = {n: birds(folder, n) for n in (few, many)}
        taken(lambda: alone(COMMAND.request(store=str(folder / "warm"), **asked[few])))
        for n, fields in asked.items():
            for name in ("alone", "no server"):
                request = COMMAND.request(store=str(folder / f"{name}{n}"), **fields)
                work = alone if name == "alone" else lambda request: orchestration.run(COMMAND.flow, request)
                costs[name][n] = taken(lambda work=work, request=request: work(request))
        print(f"library alone, {many} classes: {costs['alone'][many].each(many)} a class", flush=True)
        say("no server", costs["no server"], costs["alone"])
        if options.places:
            port, report_port = free_ports(2)
            home = folder / "home"
            stack.callback(lambda: xv("down", "--home", str(home), folder=folder))
            workers = [word for number in range(options.workers) for word in ("--gpu", str(number))]
            ports = ("--port", str(port), "--report-port", str(report_port))
            up = xv("up", *workers, "--home", str(home), *ports, folder=folder)
            if up.returncode:
                raise SystemExit(up.stderr)
            api = stack.enter_context(Api(port, home))
            without_report(api)
            service = Service(home)
            print(f"after its start: {service.size()}", flush=True)
        for place in options.places:
            for n, fields in asked.items():
                fan_out = {"to": place, "shard_size": options.shard_size}
                before = Cost(service.cpu(), time.monotonic())
                service.serve(api, {**fields, "store": str(folder / f"{place}{n}"), "fan_out": fan_out})
                costs[place][n] = Cost(service.cpu(), time.monotonic()) - before
                print(f"{place}, {n} classes: {service.size()}", flush=True)
            say(place, costs[place], costs["alone"])


if __name__ == "__main__":
    main()
