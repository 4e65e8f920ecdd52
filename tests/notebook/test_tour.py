"""The tour of the README runs as it stands there, in a notebook, and shows what it says."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
from tour import ROOT, TITLE, TOUR, notebook, section

pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")
pytest.importorskip("anywidget", reason="anywidget is not installed")

MOST_BYTES = 700_000


@pytest.fixture
def kernel(tmp_path, monkeypatch) -> None:
    """The kernel of this Python and no other, with this xvcore, on a quiet machine of one thread a process."""
    spec = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "language": "python"}
    folder = tmp_path / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps({**spec, "display_name": "xv"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def shown(cell) -> dict[str, str]:
    """Return what a cell shows, by type: its last value."""
    found = [each["data"] for each in cell["outputs"] if each["output_type"] in ("execute_result", "display_data")]
    return found[-1] if found else {}


def test_the_tour_is_short_and_asks_for_nothing_from_outside() -> None:
    text = section(TITLE)
    assert len(text.splitlines()) < 90
    assert not re.search(r"https?://|/work|/data|@/", text)
    assert 5 <= len(TOUR) <= 8


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's own modules
def test_the_tour_runs_in_a_notebook_and_each_result_shows_itself(kernel, tmp_path) -> None:
    cells = notebook(tmp_path, is_quick=True)["cells"]
    _, masks, evidence, _, whole, leaves, table = map(shown, cells)
    for each in (masks, evidence, whole):
        assert 5_000 < len(each["text/html"]) < MOST_BYTES
        assert "http" not in re.sub(r"http://www.w3.org/\S+", "", each["text/html"])
    assert "clear is what the mask removes" in masks["text/html"]
    assert masks["text/html"].count("<img") == 16
    assert "their mean is the logit" in evidence["text/html"]
    assert "Evidence, partbirds_wide" in whole["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in leaves
    assert "n_images" in table["text/html"]
    assert (tmp_path / "report" / "index.html").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's own modules
def test_the_tour_as_it_stands_finds_parts_that_recur(kernel, tmp_path) -> None:
    cells = notebook(tmp_path, is_quick=False)["cells"]
    whole = shown(cells[4])["text/html"]
    assert re.search(r"[1-9]\d* visual summar", whole)
    assert "Summary 1" in whole
    drops = [
        int(each) for each in re.findall(r"with (?:&gt;)?(\d+)\u202f% of the probability", shown(cells[1])["text/html"])
    ]
    assert len(drops) == 4
    assert min(drops) > 50
    assert len(re.findall(r"<tr", shown(cells[6])["text/html"])) >= 2
    assert Path(tmp_path, "birds.pt").exists()
