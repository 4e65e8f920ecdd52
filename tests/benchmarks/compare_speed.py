"""What a comparison of six networks over twelve classes costs, once their visual summaries are in the store.

    PYTHONPATH=. python tests/benchmarks/compare_speed.py --keep FOLDER

The networks are PartBirds networks of one width that differ by their seed; the classes are its twelve with decisive parts.
Trainings and summaries that are in FOLDER are not made again; only the comparison is timed, as the command ``xv compare``
in a process of its own, into a new store that holds the summaries. Prints the clock, the processor's time and the
largest memory of that process, and a digest of the tables.
Wanted: at most 60 s of the clock on two cores, and 2 GiB. Networks of which no part is accepted make it a lower bound:
nothing is matched or deleted then. Trainings and summaries are made in a process of their own: the largest memory of a
process is never told to be less than that of the one which started it.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import torch

from xvcore.data import open_dataset
from xvcore.parameters import replaced
from xvcore.runs.pipeline import complete_run, is_complete
from xvcore.runs.run import RunSpec, open_run
from xvcore.runs.train import train
from xvcore.store import Store
from xvcore.visual_summaries.settings import VisualSummaries

DATASET = "partbirds?classes=12&images={}"
METHOD = "comparison"
TABLES = (
    "part_matches",
    "cross_deletions",
    "part_deletions",
    "network_likeness",
    "part_verdicts",
    "comparison_classes",
)


def weights_of(arguments: argparse.Namespace, seed: int) -> Path:
    """Return the weights file of a network."""
    kept: Path = arguments.keep / f"{arguments.network}-{seed}.pt"
    return kept


def addresses(arguments: argparse.Namespace) -> list[str]:
    """Return the addresses of the networks."""
    seeds = range(arguments.networks)
    return [f"{arguments.network}@{weights_of(arguments, seed)}?name=seed{seed}" for seed in seeds]


def prepare(arguments: argparse.Namespace, dataset: str, class_ids: list[str]) -> None:
    """Train the networks and leave their summaries in the folder's store."""
    settings = replaced(VisualSummaries(max_images=arguments.images), dict(e.split("=", 1) for e in arguments.set))
    for seed, model in enumerate(addresses(arguments)):
        weights = weights_of(arguments, seed)
        if not weights.exists():
            training = f"{DATASET.format(arguments.train_images)}&split=train"
            train(arguments.network, training, weights, steps=arguments.steps, seed=seed)
        run = open_run(RunSpec(dataset, model, str(arguments.keep / "store"), settings, device="cpu", batch_size=32))
        complete_run(run, class_ids)
        if not all(is_complete(run, each) for each in class_ids):
            raise SystemExit(f"{run.run_id} failed")
        print(f"{model}: summarised", flush=True)


def timed(command: list[str]) -> tuple[float, float, float]:
    """Run a command and return the seconds of the clock, those of the processor, and the most memory in GiB."""
    start = time.monotonic()
    with subprocess.Popen(command) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: ended with {process.returncode}")
    return time.monotonic() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def digest(store: Store, run_id: str, class_ids: list[str]) -> str:
    """Return a digest of what the comparison says, columns of numbers rounded to six digits."""
    found = hashlib.sha256()
    for name in TABLES:
        for class_id in class_ids:
            frame = store.read(name, run_id, class_id).drop(columns="run_id")
            found.update(frame.round(6).to_csv(index=False).encode())
    return found.hexdigest()[:16]


def main() -> None:
    """Prepare, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="partbirds_narrow")
    parser.add_argument("--networks", type=int, default=6)
    parser.add_argument("--classes", type=int, default=12, help="the first so many")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--train-images", type=int, default=400)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters, as of xv summarise")
    parser.add_argument("--keep", type=Path, required=True, help="folder of weights and store")
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = DATASET.format(arguments.images)
    class_ids = [info.class_id for info in open_dataset(dataset).classes][: arguments.classes]
    if arguments.prepare:
        prepare(arguments, dataset, class_ids)
        return
    subprocess.run([sys.executable, *sys.argv, "--prepare"], check=True)
    models = addresses(arguments)
    place = arguments.keep / "compared"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(arguments.keep / "store", place)
    command = [sys.executable, "-c", "from flows.cli import main; main()", "compare", "--device", "cpu"]
    command += ["--dataset", dataset, "--store", str(place)]
    for model in models:
        command += ["--model", model]
    clock, processor, memory = timed([*command, "--classes", ",".join(class_ids)])
    print(f"{len(models)} networks, {len(class_ids)} classes, {arguments.images} images: ", end="")
    print(f"{clock:.1f} s, {processor:.1f} CPU s, {memory:.2f} GiB")
    store = Store(place)
    runs = store.runs()
    run_id = str(runs[runs["method"] == METHOD]["run_id"].iloc[-1])
    parts = pd.concat([store.read("comparison_classes", run_id, each) for each in class_ids])
    print(f"{parts['n_parts'].sum()} parts, digest {digest(store, run_id, class_ids)}")


if __name__ == "__main__":
    main()
