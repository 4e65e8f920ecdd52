"""A command that a signal ends says one line, leaves a store that tells the truth, and goes on when asked again."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import compared_networks
import pandas as pd
import pytest
import torch
from compared_networks import CLASS, NARROW, QUICK, WIDE, summaries
from results import CLASSES, DATASET, SLOW, assert_same_results, assert_whole, request, results, summarise, told
from service import ROOT

from xvcore.report import build
from xvcore.store import Store

__all__ = ["summaries"]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
PATIENCE = 240.0
MODEL = "partbirds_narrow@random?classes=3"
HEADS = {"recipe.epochs": 300, "recipe.batch_size": 4, "held_out": 0.25, "tested": 0.25}
BEGUN = {
    "evidence": ({"top_patches.n_kept": 3}, "predictions/*-evidence-*/*"),
    "units": ({"top.kept": 5, "top.shown": 2, "deconvnet.rule.degenerate": "allow"}, "units/*/relu1"),
    "analyse occlusion": ({}, "predictions/*-occlusion-*/*"),
    "disentangle": (HEADS, f"features/*/{CLASSES[-1]}"),
    "prototypes": ({"n_patches": 3, "n_measured": 6}, "predictions/*-prototypes-*/*"),
}
"""Of each command its settings, and the part by whose writing it is told to be at work."""


def started(command: Sequence[str], store: Path) -> subprocess.Popen[str]:
    """Start a command that a user types, in a terminal's process group of its own."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    threads = str(torch.get_num_threads())  # other sums would be rounded otherwise
    return subprocess.Popen(
        [sys.executable, "-c", "from flows.cli import main; main()", *command, "--store", str(store)],
        cwd=store.parent,
        env=os.environ
        | {"PYTHONPATH": path, "PREFECT_HOME": str(store.parent / "prefect"), "OMP_NUM_THREADS": threads},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def words(command: str, settings: Mapping[str, object], model: str = MODEL, batch_size: int = 4) -> list[str]:
    """Return a command over both classes of drawn birds."""
    found = [command, "--dataset", DATASET, "--model", model, "--classes", ",".join(CLASSES), "--device", "cpu"]
    found += ["--batch-size", str(batch_size)]
    for output, class_id in enumerate(CLASSES):
        found += ["--class-map", f"{class_id}={output}"]
    for name, value in settings.items():
        found += ["--set", f"{name}={value}"]
    return found


def summarising() -> list[str]:
    given = request("", SLOW)["settings"]
    settings = {"skip_misclassified": False, "least_drop": "none"}
    for group in ("mask", "proposals", "pruning"):
        settings |= {f"{group}.{name}": value for name, value in given[group].items()}
    return words("summarise", settings)


def waited(process: subprocess.Popen[str], folder: Path, pattern: str) -> None:
    until = time.monotonic() + PATIENCE
    while not any(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, f"no {pattern}"
        time.sleep(0.05)


def beside_progress(text: str) -> list[str]:
    return [line for line in text.splitlines() if not re.search(r": \d+/\d+ after \d+ s$| \| INFO ", line)]


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
    process = started(summarising(), store)
    waited(process, store, "parts/predictions/*/*.parquet")
    time.sleep(0.5)
    assert not any(store.glob("parts/masks/*/*.parquet")), "too late: the masks are done"
    since = time.monotonic()
    os.killpg(process.pid, number) if to_all else process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    seconds = time.monotonic() - since
    assert process.returncode == code, err
    assert out == ""
    said = beside_progress(err)
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


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head of prototypes that a command made, in the store of its undisturbed run."""
    store = tmp_path_factory.mktemp("heads") / "store"
    ended_well(words("disentangle", HEADS), store)
    (found,) = store.glob("heads/*/*.pt")
    return found


def ended_well(command: Sequence[str], store: Path) -> None:
    process = started(command, store)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err


def stopped(command: Sequence[str], store: Path, part: str) -> None:
    """Start a command, end it by SIGTERM once a part is there, and check what it says and leaves."""
    process = started(command, store)
    waited(process, store, f"parts/{part}.parquet")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (143, ""), err
    said = beside_progress(err)
    assert said == ["stopped by SIGTERM: what is done is kept; run the same command again to go on"], err
    assert_whole(store)
    states = Store(store).status()
    assert not states["n_running"].any()
    assert not states["n_failed"].any()


def compared(one: Store, other: Store) -> None:
    first, second = results(one), results(other)
    assert set(first["runs"]["status"]) == {"complete"}
    for name, rows in first.items():
        pd.testing.assert_frame_equal(
            rows.drop(columns="svg", errors="ignore"), second[name].drop(columns="svg", errors="ignore"), obj=name
        )


@pytest.mark.parametrize("name", list(BEGUN))
def test_any_command_that_is_stopped_goes_on_to_the_tables_of_an_undisturbed_run(
    name: str, head: Path, tmp_path: Path
) -> None:
    settings, part = BEGUN[name]
    model = f"infodisent@{head}" if name == "prototypes" else MODEL
    verb, *rest = name.split()
    command = [verb, *rest, *words(verb, settings, model)[1:]]
    stopped(command, tmp_path / "store", part)
    ended_well(command, tmp_path / "store")
    whole = head.parents[2]
    if name != "disentangle":
        whole = tmp_path / "whole"
        ended_well(command, whole)
    compared(Store(tmp_path / "store"), Store(whole))


def test_a_comparison_that_is_stopped_goes_on_to_the_tables_of_an_undisturbed_run(
    summaries: Path, tmp_path: Path
) -> None:
    stores = [Path(shutil.copytree(summaries, tmp_path / name)) for name in ("store", "whole")]
    command = ["compare", "--dataset", compared_networks.DATASET, "--model", WIDE, "--model", NARROW, "--device", "cpu"]
    command += ["--classes", CLASS, "--class-map", f"{CLASS}=0", "--batch-size", "4"]
    for name, value in QUICK.items():
        command += ["--set", f"{name}={value}"]
    stopped(command, stores[0], "*/*-comparison-*/*")
    for store in stores:
        ended_well(command, store)
    compared(*map(Store, stores))
