"""A command that a signal ends says one line, leaves a store that tells the truth, and goes on when asked again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from results import CLASSES, DATASET, SLOW, assert_same_results, assert_whole, request, summarise, told
from service import ROOT

from xvcore.report import build
from xvcore.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
PATIENCE = 240.0


def summarising(store: Path, folder: Path) -> subprocess.Popen[str]:
    """Start the command that a user types, in a terminal's process group of its own."""
    given = request(store, SLOW)
    words = ["--dataset", DATASET, "--model", given["models"][0], "--store", str(store), "--batch-size", "4"]
    words += ["--classes", ",".join(CLASSES), "--device", "cpu"]
    for name, output in given["class_map"].items():
        words += ["--class-map", f"{name}={output}"]
    settings = {"skip_misclassified": False, "least_drop": "none"}
    for group in ("mask", "proposals", "pruning"):
        settings |= {f"{group}.{name}": value for name, value in given["settings"][group].items()}
    for name, value in settings.items():
        words += ["--set", f"{name}={value}"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    threads = str(torch.get_num_threads())  # other sums would be rounded otherwise
    return subprocess.Popen(
        [sys.executable, "-c", "from flows.cli import main; main()", "summarise", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "PREFECT_HOME": str(folder / "prefect"), "OMP_NUM_THREADS": threads},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def waited(process: subprocess.Popen[str], folder: Path, pattern: str) -> None:
    until = time.monotonic() + PATIENCE
    while not any(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, f"no {pattern}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("undisturbed")
    summarise(folder, SLOW, batch_size=4)
    return Store(folder)


@pytest.mark.parametrize(
    ("number", "to_all", "code"), [(signal.SIGTERM, False, 143), (signal.SIGINT, True, 130)], ids=["term", "ctrl-c"]
)
def test_a_command_that_is_stopped_while_it_makes_masks_says_one_line_and_goes_on(
    number: signal.Signals, to_all: bool, code: int, undisturbed: Store, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    process = summarising(store, tmp_path)
    waited(process, store, "parts/predictions/*/*.parquet")
    time.sleep(0.5)
    assert not any(store.glob("parts/masks/*/*.parquet")), "too late: the masks are done"
    started = time.monotonic()
    os.killpg(process.pid, number) if to_all else process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    seconds = time.monotonic() - started
    assert process.returncode == code, err
    assert out == ""
    said = [line for line in err.splitlines() if "/4 after" not in line]  # but for the lines of progress
    assert said == [f"stopped by {number.name}: what is done is kept; run the same command again to go on"], err
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert_whole(store)
    (state,) = Store(store).status().to_dict("records")
    assert (state["status"], state["n_stopped"], state["n_pending"], state["n_running"]) == ("stopped", 1, 1, 0)
    site = build(Store(store), tmp_path / "site").parent
    for page in ("index.html", "about.html"):
        text = (site / page).read_text()
        assert "badge stopped" in text
        assert "badge running" not in text
        assert "badge failed" not in text
    summarise(store, SLOW, batch_size=4)
    assert_same_results(Store(store), undisturbed)
    told(f"{number.name} while masks are made", seconds, said[0], "resumed: the tables of an undisturbed run")
