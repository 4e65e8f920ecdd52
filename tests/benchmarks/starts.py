"""What commands cost until they begin: processor seconds of six of them, the servers that they start included.

Command: ``OMP_NUM_THREADS=1 PYTHONPATH=. python tests/benchmarks/starts.py [--rounds N]``, about two minutes.
Commands over classes have begun when the record of their first class is opened to be written; the others when they have
ended. Work is a drawn bird of an untrained network: next to nothing. Printed is the least of the rounds, in processor
seconds (which a loaded machine moves little) and in seconds of the clock.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
import os, sys, time

def used():
    total = sum(os.times()[:4])
    hertz = os.sysconf("SC_CLK_TCK")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            total += sum(map(int, fields[11:15])) / hertz
    return total

def begun(event, arguments):
    global is_told
    if event == "open" and not is_told and "/parts/class_runs/" in str(arguments[0]) and "w" in str(arguments[1] or ""):
        is_told = True
        say()

def say():
    print(f"begun {used():.2f} {time.monotonic() - started:.2f}", file=sys.__stderr__, flush=True)

is_told = False
started = float(os.environ["STARTED"])
sys.addaudithook(begun)
from flows.cli import main
sys.argv[0] = "xv"
try:
    main()
finally:
    if not is_told:
        say()
"""
BIRDS = ["--dataset", "partbirds?classes=2&images=2", "--class-map", "plain=0", "--classes", "plain", "--device", "cpu"]
NARROW, BAGNET = "partbirds_narrow@random?classes=3", "partbirds_bagnet17@random?classes=3"
COMMANDS = {
    "--version": [],
    "status": [],
    "query": ["select count(*) from predictions"],
    "evidence": [*BIRDS, "--model", BAGNET],
    "summarise": [*BIRDS, "--model", NARROW, "--set", "skip_misclassified=false", "--set", "least_drop=none"],
    "units": [*BIRDS, "--model", NARROW, "--set", "units_shown=1"],
}


def start(name: str, folder: Path) -> tuple[float, float]:
    """Run a command and return processor seconds and seconds of the clock until it has begun."""
    import time

    store = [] if name == "--version" else ["--store", str(folder / ("read" if name in ("status", "query") else name))]
    path = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, *COMMANDS[name], *store],
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": path, "PREFECT_HOME": str(folder / "prefect"), "STARTED": str(time.monotonic())},
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line.split()[1:] for line in done.stderr.splitlines() if line.startswith("begun ")]
    if done.returncode or not told:
        raise SystemExit(f"xv {name}: {done.returncode}\n{done.stderr}")
    processor, clock = map(float, told[0])
    return processor, clock


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--commands", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    options = parser.parse_args()
    from xvcore.store import Store

    for name in options.commands:
        found = []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                Store(Path(folder) / "read").write("predictions", "r", "c", [])
                found.append(start(name, Path(folder)))
        processor, clock = (min(values) for values in zip(*found, strict=True))
        print(f"xv {name:10} {processor:6.2f} s of the processor, {clock:6.2f} s of the clock", flush=True)


if __name__ == "__main__":
    main()
