"""Runs of every method, killed at random moments until they come through: the tables are those of undisturbed runs.

By hand: ``OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/faults/kills.py --kills 200``. What is at work is kept as
often as it can be (masks at every step that is worth it, heads after every epoch), so that more is gone on from. A run is a process that is
forked off one which has imported everything, so that it is hit at work and not while it starts. Half of the kills come
at a random time, half at a random step of writing: before a file is opened to be written, before one is renamed or
removed, or a folder made; of these are a run's announcement and its publishing.
"""

import argparse
import dataclasses
import logging
import mmap
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import compared_networks
import pandas as pd
from results import CLASSES, DATASET, assert_whole, request, results

from flows.families import evidence, summarise, units
from xvcore.analyses.analysis import analyses
from xvcore.evidence.method.top_patches import TopPatches
from xvcore.evidence.settings import PatchEvidence
from xvcore.parameters import replaced
from xvcore.prototypes.settings import Disentangle, Prototypes
from xvcore.prototypes.stages import train_heads
from xvcore.runs import pipeline
from xvcore.runs.run import RunSpec, open_run
from xvcore.store import Store
from xvcore.units.settings import TopUnits
from xvcore.visual_summaries.stages import draft

SETTINGS = {
    "evidence": PatchEvidence(top_patches=TopPatches(n_kept=3)),
    "units": replaced(
        TopUnits(), {"top.kept": "5", "top.shown": "2", "units_shown": "2", "deconvnet.rule.degenerate": "allow"}
    ),
    "accuracy": analyses["accuracy"].settings(),
    "disentangle": replaced(
        Disentangle(), {"recipe.epochs": "3", "recipe.batch_size": "4", "held_out": "0.25", "tested": "0.25"}
    ),
    "prototypes": replaced(Prototypes(), {"n_patches": "3", "n_measured": "6"}),
}
METHODS = ("summaries", *SETTINGS, "comparison")
DRAWN = ["svg"]
"""Columns whose text tells when it was drawn."""
PATIENCE = 1800.0
"""Seconds after which a run hangs, on a machine that has much else to do."""


def spec(method: str, store: Path, whole: Path) -> RunSpec:
    """Return a run of two classes of four drawn birds on a random network; it takes seconds.

    Parameters
    ----------
    method : one of :data:`METHODS`
    store : where it writes
    whole : folder of the undisturbed runs; the heads that prototypes are of were made by that of disentangle
    """
    given = {each: value for each, value in request(store, steps=12).items() if each != "settings"}
    if method == "summaries":
        (found,) = summarise.COMMAND.request(**request(store, steps=12)).specs()
        return dataclasses.replace(found, batch_size=4)
    (found,) = (evidence if method == "evidence" else units).COMMAND.request(**given).specs()
    assert found.dataset == DATASET
    changes = {"settings": SETTINGS[method]}
    if method == "prototypes":
        changes["model"] = f"infodisent@{next(whole.glob('disentangle/heads/*/*.pt'))}"
    return dataclasses.replace(found, **changes)


def prepared(method: str, store: Path, whole: Path) -> None:
    """Put what a method starts from into its store: of comparisons the visual summaries of both networks."""
    if method != "comparison" or store.exists():
        return
    compared = whole / "compared"
    if not compared.exists():
        done(lambda: [compared_networks.write_summaries(model, compared) for model in compared_networks.SHOWN])
    shutil.copytree(compared, store)


def complete(method: str, store: Path, whole: Path) -> None:
    """Do a run from its announcement to its publishing."""
    draft.LEAST_SECONDS, draft.MOST_TIME, train_heads.EVERY = 0, 1e9, 1
    if method == "comparison":
        run, classes = open_run(compared_networks.spec_of(store)), [compared_networks.CLASS]
    else:
        run, classes = open_run(spec(method, store, whole)), CLASSES
    status = pipeline.complete_run(run, classes)
    assert status == "complete", status


def forked(work: Callable[[], object]) -> int:
    """Start work in a process of its own and return its id; it ends with 0, or prints why not."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001  its end is told to the parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(process: int, seconds: float) -> int | None:
    """Wait for a process, and return its exit code; None where it is still at work."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def killed(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def done(work: Callable[[], object]) -> None:
    """Do work in a process of its own, to its end."""
    process = forked(work)
    code = ended(process, PATIENCE)
    if code is None:
        killed(process)
        raise AssertionError(f"hangs: still at work after {PATIENCE:g} s")
    assert code == 0, f"ended with {code}"


class Steps:
    """Counts the steps of writing of a process in memory that it shares with its parent, and ends it at one of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._shared = mmap.mmap(-1, 4096)

    @property
    def count(self) -> int:
        return int.from_bytes(self._shared[:8], "little")

    @property
    def last(self) -> str:
        """What was written last, as ``announcement``, ``publishing``, or the table of a part."""
        length = int.from_bytes(self._shared[8:16], "little")
        path = self._shared[16 : 16 + length].decode()
        if path.startswith("tables/"):
            return "publishing"
        table = path.removeprefix("parts/").partition("/")[0]
        return "announcement" if table in ("runs", "classes", "parts", "", "xvstore.json") else table

    def watch(self, until: int | None) -> None:
        """Count from now on, in this process; it is killed at step ``until``."""
        self._shared[:16] = bytes(16)

        def note(event: str, arguments: tuple[object, ...]) -> None:
            if event not in ("open", "os.rename", "os.remove", "os.mkdir"):
                return
            path = next((str(each) for each in arguments if str(each).startswith(f"{self._folder}/")), None)
            if path is None or (event == "open" and not _is_written(arguments)):
                return
            relative = path.removeprefix(f"{self._folder}/").encode()[:1000]
            count = self.count + 1
            self._shared[: 16 + len(relative)] = (
                count.to_bytes(8, "little") + len(relative).to_bytes(8, "little") + relative
            )
            if count == until:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(note)


def _is_written(arguments: tuple[object, ...]) -> bool:
    _, mode, flags = arguments
    return any(sign in str(mode or "") for sign in "wa+x") or bool(isinstance(flags, int) and flags & os.O_WRONLY)


def compared(one: Path, other: Path) -> None:
    """Compare every table of two stores, and look for files that nobody owns."""
    first, second = results(Store(one)), results(Store(other))
    for name, rows in first.items():
        pd.testing.assert_frame_equal(
            rows.drop(columns=DRAWN, errors="ignore"), second[name].drop(columns=DRAWN, errors="ignore"), obj=name
        )
    names = [{str(path.relative_to(each)) for path in each.rglob("*.parquet")} for each in (one, other)]
    assert names[0] == names[1], f"files of one alone: {sorted(names[0] ^ names[1])}"


def looked_at(store: Path) -> None:
    """Read all files of a store whose writer was killed: none is torn, and it can be told how far it came."""
    if list(store.rglob("*.parquet")):
        assert_whole(store)
        Store(store).status()


def disturb(folder: Path, n_kills: int, seed: int, methods: Sequence[str]) -> Counter[str]:
    """Kill runs until there were so many kills, let each come through in the end, and compare.

    Returns
    -------
    how often a run was killed, by method and by what it wrote last
    """
    chance = random.Random(seed)
    counts: Counter[str] = Counter()
    whole: dict[str, tuple[float, int]] = {}
    for method in dict.fromkeys(("disentangle", *methods) if "prototypes" in methods else methods):
        prepared(method, folder / method, folder)
        started, steps = time.monotonic(), Steps(folder / method)

        def alone(method: str = method, steps: Steps = steps) -> None:
            steps.watch(None)
            complete(method, folder / method, folder)

        done(alone)
        whole[method] = time.monotonic() - started, steps.count
        print(f"{method}: {whole[method][0]:.1f} s, {steps.count} steps of writing", flush=True)
    rounds, started = 0, time.monotonic()
    while counts.total() < n_kills:
        method = methods[rounds % len(methods)]
        rounds += 1
        store = folder / f"{method}-{rounds}"
        prepared(method, store, folder)
        left = min(chance.randint(1, 9), n_kills - counts.total())
        is_through = False
        while left and not is_through:
            steps = Steps(store)
            at = chance.randint(1, whole[method][1]) if chance.random() < 0.5 else None

            def work(steps: Steps = steps, at: int | None = at, method: str = method, store: Path = store) -> None:
                steps.watch(at)
                complete(method, store, folder)

            process = forked(work)
            code = ended(process, PATIENCE if at else chance.uniform(0, whole[method][0]))
            if code is None:
                assert not at, f"{method}: hangs"
                killed(process)
            is_through = code == 0
            if not is_through:
                assert code in (None, -signal.SIGKILL), f"{method}: ended with {code} though it was not killed"
                counts[f"{method}: {steps.last}"] += 1
                left -= 1
                done(lambda store=store: looked_at(store))
        if not is_through:
            done(lambda method=method, store=store: complete(method, store, folder))
        done(lambda method=method, store=store: compared(store, folder / method))
        seconds = time.monotonic() - started
        print(f"{counts.total()} kills in {seconds:.0f} s, run {rounds}: {method} as undisturbed", flush=True)
        shutil.rmtree(store)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"{', '.join(METHODS)}; none: all")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if unknown := set(asked.methods).difference(METHODS):
        parser.error(f"unknown method {', '.join(sorted(unknown))}: expected {', '.join(METHODS)}")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        counts = disturb(Path(folder), asked.kills, asked.seed, asked.methods or METHODS)
        for name, count in sorted(counts.items()):
            print(f"{count:5} {name}")
        print(f"{counts.total()} kills in {time.monotonic() - started:.0f} s, all tables as undisturbed")


if __name__ == "__main__":
    main()
