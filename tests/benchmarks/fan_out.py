"""What orchestration costs: 200 classes without a server, in a flow run, and by the workers of a pool.

Command: ``PYTHONPATH=.:tests python tests/benchmarks/fan_out.py [--classes N] [--shard-size N] [--plain-only]``, some
minutes. Without ``--shard-size`` shards are cut as a run cuts them that was told nothing.
The classes have one small picture each, so that next to nothing is computed: what is left is orchestration. Everything
runs on the service that ``xv up`` starts in a temporary folder. Printed are milliseconds per class above the library's
own, and what the server's process and database have grown to.
"""

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
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


def alone(request: ClassesRequest) -> float:
    """Return the seconds that the library takes."""
    started = time.monotonic()
    run = open_run(request.specs()[0])
    class_ids = [info.class_id for info in run.dataset.classes]
    announce(run, class_ids)
    for class_id in class_ids:
        pipeline.complete_class(run, class_id)
    pipeline.gather(run)
    conclude(run)
    return time.monotonic() - started


def plain(request: ClassesRequest) -> float:
    """Return the seconds that the flow takes where no server is set."""
    started = time.monotonic()
    orchestration.run(COMMAND.flow, request)
    return time.monotonic() - started


def served(api: Api, request: dict[str, Any]) -> tuple[float, float]:
    """Return the seconds from the request to the end of a run, and those from its start."""
    asked = time.monotonic()
    answer = api.start("evidence", **request)
    answer.raise_for_status()
    end = api.end_of(answer.json()["id"], seconds=3600)
    if not end.startswith("Completed"):
        raise SystemExit(end)
    run = api.client.get(f"/flow_runs/{answer.json()['id']}").json()
    return time.monotonic() - asked, float(run["total_run_time"])


def memory_of(pid: int) -> int:
    """Return the resident memory of a process in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) // 1024


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--shard-size", type=int)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--plain-only", action="store_true", help="without a server, in this process alone")
    options = parser.parse_args()
    n = options.classes
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        dataset = bird_folder(folder / "birds", n_classes=n, n_images=1)
        birds: dict[str, Any] = {
            "dataset": dataset,
            "models": [f"partbirds_bagnet17@random?classes={n}"],
            "class_map": {info.class_id: str(info.class_idx) for info in open_dataset(dataset).classes},
        }
        base = alone(COMMAND.request(store=str(folder / "alone"), **birds))
        print(f"library alone: {n} classes in {base:.1f} s ({1000 * base / n:.0f} ms each)", flush=True)
        total = plain(COMMAND.request(store=str(folder / "plain"), **birds))
        print(f"no server: {total:.1f} s, {1000 * (total - base) / n:.0f} ms a class above the library", flush=True)
        if options.plain_only:
            return
        port, report_port = free_ports(2)
        home = folder / "home"
        stack.callback(lambda: xv("down", "--home", str(home), folder=folder))
        workers = [word for number in range(options.workers) for word in ("--gpu", str(number))]
        up = xv(
            "up", *workers, "--home", str(home), "--port", str(port), "--report-port", str(report_port), folder=folder
        )
        if up.returncode:
            raise SystemExit(up.stderr)
        api = stack.enter_context(Api(port, home))
        processes = json.loads((home / "state.json").read_text())["processes"]
        server = next(each["pid"] for each in processes if each["name"] == "server")
        print(f"server: {memory_of(server)} MiB after its start", flush=True)
        for to in ("here", "pool"):
            fan_out = {"to": to, "shard_size": options.shard_size}
            total, running = served(api, {**birds, "store": str(folder / to), "fan_out": fan_out})
            print(
                f"{to}, shards of {options.shard_size or 'what a run cuts'}: {total:.0f} s ({running:.0f} s running), "
                f"{1000 * (running - base) / n:.0f} ms a class above the library; "
                f"server {memory_of(server)} MiB, database {(home / 'prefect' / 'prefect.db').stat().st_size >> 20} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
