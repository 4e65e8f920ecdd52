"""Several processes that write pages into one folder, and the addresses that are known before there are pages."""

import fcntl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bird_store import CLASSES, picture_of, write_store
from method_store import PROJECTED, evidence_store, units_store

from xvcore.report import addresses, build
from xvcore.report.site import LOCK
from xvcore.store import Store

SCRIPT = """
import sys
from pathlib import Path
from bird_store import picture_of
from xvcore.report import build
from xvcore.store import Store
build(Store(sys.argv[1]), Path(sys.argv[2]), picture_of=picture_of)
"""


def _pages(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_build_waits_for_the_one_at_work_and_gives_what_it_gives_alone(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    build(store, tmp_path / "alone", picture_of=picture_of)
    out = tmp_path / "together"
    out.mkdir()
    command = [sys.executable, "-c", SCRIPT, store.url, str(out)]
    with (out / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = Path(__file__).parents[1]
        path = f"{folder}:{folder.parent}"
        processes = [subprocess.Popen(command, env={"PYTHONPATH": path, "PATH": "/usr/bin"}) for _ in range(2)]
        time.sleep(3)
        assert all(each.poll() is None for each in processes)
        assert set(_pages(out)) == {LOCK}
    assert [each.wait(120) for each in processes] == [0, 0]
    assert _pages(out) == _pages(tmp_path / "alone")


@pytest.mark.parametrize("kind", ["summaries", "evidence", "units"])
def test_every_address_is_that_of_a_page(kind: str, tmp_path: Path) -> None:
    from urllib.parse import unquote

    made = {
        "summaries": write_store,
        "evidence": lambda folder: evidence_store(folder, "bagnet_drawn"),
        "units": units_store,
    }
    store: Store = made[kind](tmp_path / "store")
    site = build(store, tmp_path / "site", picture_of=picture_of).parent
    run_ids = list(store.runs()["run_id"])
    found = addresses(store, run_ids)
    for address in found.values():
        assert (site / unquote(address)).is_file()
    assert {run_id for run_id, class_id in found if class_id is None} == set(run_ids)
    if kind == "summaries":
        assert {class_id for _, class_id in found} == {None, *CLASSES}
    if kind == "units":
        assert found[f"{PROJECTED}-units", None] == f"units/{PROJECTED}/index.html"
