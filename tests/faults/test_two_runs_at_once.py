"""Two processes that do the same classes on one store at the same moment."""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from results import CLASSES, assert_same_results, assert_whole, spec, summarise, told

from xvcore.runs import pipeline
from xvcore.runs.run import announce, conclude, open_run
from xvcore.store import Store

pytestmark = pytest.mark.slow

# Ready, it waits for a line.
WORKER = """
import sys
sys.path.insert(0, sys.argv[2])
from results import spec, summarise
from xvcore.runs.run import opened
opened(spec(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
summarise(sys.argv[1])
"""


def worker(store: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "default", "-c", WORKER, str(store), str(Path(__file__).parent)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},  # other sums would be rounded otherwise
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def wait_for(folder: Path, pattern: str) -> None:
    until = time.monotonic() + 120
    while not any(folder.glob(pattern)):
        assert time.monotonic() < until, f"no {pattern}"
        time.sleep(0.01)


@pytest.mark.parametrize("sign", ["xvstore.json", "parts/masks_so_far/*/*.parquet"])
def test_two_processes_with_the_same_classes_make_the_tables_of_one(
    undisturbed: Store, tmp_path: Path, sign: str
) -> None:
    workers = [worker(tmp_path) for _ in range(2)]
    started = time.monotonic()
    for index, process in enumerate(workers):
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
        if index == 0:
            wait_for(tmp_path, sign)
    ends = [(*process.communicate(timeout=900), process.returncode) for process in workers]
    seconds = time.monotonic() - started
    assert [code for _, _, code in ends] == [0, 0], ends
    assert not any("Traceback" in log for _, log, _ in ends), ends
    assert_whole(tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))
    assert_same_results(Store(tmp_path), undisturbed)
    told(f"two runs at once, the second at the sign of {sign}", seconds, "both end well", "tables of one run")


class Met(Store):
    """A store at which something happens, once, while this process looks for a part or reads it."""

    def __init__(self, folder: Path, table: str, then: Callable[[], object]) -> None:
        super().__init__(folder)
        self._table = table
        self._then = then

    def has(self, table: str, run_id: str, class_id: str) -> bool:
        found = super().has(table, run_id, class_id)
        self._meet(table)
        return found

    def read_arrow(self, table: str, run_id: str, class_id: str, columns: Sequence[str] | None = None) -> pa.Table:
        found = super().read_arrow(table, run_id, class_id, columns)
        self._meet(table)
        return found

    def _meet(self, table: str) -> None:
        if table == self._table:
            self._table = ""
            self._then()


def test_another_process_may_end_the_masks_while_they_are_taken_up(undisturbed: Store, tmp_path: Path) -> None:
    other = open_run(spec(tmp_path))
    announce(other, CLASSES)

    class Stopped(BaseException):
        pass

    def stopped(_class_id: str, verb: str) -> None:
        if verb == "mask":
            raise Stopped

    with pytest.raises(Stopped):
        summarise(tmp_path, progress=stopped)
    assert other.store.has("masks_so_far", other.run_id, CLASSES[0])
    met = Met(tmp_path, "masks_so_far", lambda: pipeline.run_stage(other, CLASSES[0], "mask"))
    pipeline.complete_class(dataclasses.replace(other, store=met), CLASSES[0])
    summarise(tmp_path)
    assert_same_results(Store(tmp_path), undisturbed)


def test_a_run_that_ends_while_another_joins_its_part_is_joined_whole(undisturbed: Store, tmp_path: Path) -> None:
    """The slower of the two has seen fewer classes, and must not have the last word."""
    other = open_run(spec(tmp_path))
    announce(other, CLASSES)
    pipeline.complete_class(other, CLASSES[0])

    def ends() -> None:
        pipeline.complete_class(other, CLASSES[1])
        assert conclude(other) == "complete"

    assert conclude(dataclasses.replace(other, store=Met(tmp_path, "clusters", ends))) == "complete"
    assert_same_results(Store(tmp_path), undisturbed)


def test_a_class_that_another_process_has_completed_stays_complete(tmp_path: Path) -> None:
    """Whoever was late and is stopped, or has no memory left, does not call it failed."""
    run = open_run(spec(tmp_path))
    announce(run, CLASSES)
    pipeline.begin(run, CLASSES[0])

    def completes(class_id: str, verb: str) -> None:
        if verb == "mask":
            pipeline.complete_class(open_run(spec(tmp_path)), class_id)
            raise MemoryError

    with pytest.raises(MemoryError):
        summarise(tmp_path, progress=completes)
    record = run.store.read("class_runs", run.run_id, CLASSES[0]).iloc[0]
    assert (record["status"], record["error"]) == ("complete", None)
    pipeline.begin(run, CLASSES[0])
    assert pipeline.is_complete(run, CLASSES[0])
