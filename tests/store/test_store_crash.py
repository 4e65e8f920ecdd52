"""Kill -9 at random moments, and readers beside writers in other processes."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from xvcore.store import Store

ROOT = Path(__file__).resolve().parents[2]
N_ROWS = 20_000
N_KILLS = 30

# Writes one class over and over; every file has one value throughout, and the rows go with the value.
WRITER = """
import sys
import numpy as np, pyarrow as pa
from xvcore.store import Store
url, first, step, n_rows = sys.argv[1], *map(int, sys.argv[2:])
store = Store(url)
k = first
print("ready", flush=True)
while True:
    n = n_rows + k % 7
    prob = np.random.default_rng(k).random(n)
    rows = {"image_id": [str(i) for i in range(n)], "prob_target": np.full(n, k), "prob_pred": prob, "model": ["m"] * n}
    store.write("predictions", "r", "a", pa.table(rows))
    k += step
"""

PUBLISHING = "import sys; from xvcore.store import Store; Store(sys.argv[1]).publish('r')"
PUBLISHER = """
import sys
from xvcore.store import Store
store = Store(sys.argv[1])
print("ready", flush=True)
while True:
    store.publish("r")
"""


def start(program, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def value_of(frame):
    """Return the one value of a whole file."""
    (value,) = frame["prob_target"].unique()
    assert len(frame) == N_ROWS + int(value) % 7
    return int(value)


@pytest.mark.slow
def test_a_killed_writer_leaves_the_old_file_or_the_new_one_whole(tmp_path):
    store = Store(tmp_path)
    moments = random.Random(0)
    values, left_over = [], 0
    for trial in range(N_KILLS):
        process = start(WRITER, tmp_path, 1000 * trial, 1, N_ROWS)
        time.sleep(moments.uniform(0.05, 0.4))
        kill(process)
        for path in tmp_path.rglob("*.parquet"):
            assert pq.read_table(path).num_rows > 0
        if store.has("predictions", "r", "a"):
            values.append(value_of(store.read("predictions", "r", "a")))
        left_over = len(list(tmp_path.rglob(".*.tmp")))
    assert len(values) > N_KILLS / 2
    assert values == sorted(values)
    store.place.sweep(older_than=-60.0)
    assert list(tmp_path.rglob(".*.tmp")) == []
    assert left_over <= N_KILLS


@pytest.mark.slow
def test_a_killed_publisher_leaves_the_old_file_or_the_new_one_whole(tmp_path):
    store = Store(tmp_path)
    store.write_run({"run_id": "r", "model": "m", "status": "running", "method": "x", "dataset": "d"})
    for class_id in ("a", "b"):
        rows = [{"image_id": str(i), "prob_target": i / N_ROWS} for i in range(N_ROWS)]
        store.write("predictions", "r", class_id, rows)
        store.write("class_runs", "r", class_id, [{"status": "complete"}])
    # By a process like those that are killed: counts of families are columns of class_runs in the order of import.
    subprocess.run([sys.executable, "-c", PUBLISHING, str(tmp_path)], cwd=ROOT, check=True)
    expected = {path: path.read_bytes() for path in Path(tmp_path, "tables").rglob("*.parquet")}
    moments = random.Random(1)
    for _ in range(10):
        process = start(PUBLISHER, tmp_path)
        time.sleep(moments.uniform(0.05, 0.5))
        kill(process)
        assert {path: path.read_bytes() for path in Path(tmp_path, "tables").rglob("*.parquet")} == expected


@pytest.mark.slow
def test_a_reader_beside_two_writers_of_one_class_never_sees_a_torn_file(tmp_path):
    store = Store(tmp_path)
    writers = [start(WRITER, tmp_path, first, 2, N_ROWS) for first in (0, 1)]
    try:
        while not store.has("predictions", "r", "a"):
            time.sleep(0.01)
        values = [value_of(store.read("predictions", "r", "a", ["prob_target"])) for _ in range(300)]
    finally:
        for process in writers:
            kill(process)
    assert {value % 2 for value in values} == {0, 1}
    assert len(set(values)) > 5
