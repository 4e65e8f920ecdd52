"""Laws of what a run leaves in Prefect: counts, reasons, links, pictures, and never too much of them."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.artifacts import MAX_BYTES, MAX_ROWS, N_FAILURES, N_PICTURES, Findings, findings, markdown, table_rows
from xvcore.data import open_dataset
from xvcore.runs.run import Run, RunSpec, announce, open_run
from xvcore.runs.stage import pipelines
from xvcore.runs.thumbnails import Thumbnail
from xvcore.visual_summaries.settings import VisualSummaries

DATASET = "partbirds?classes=2&images=3"
CLASSES = [info.class_id for info in open_dataset(DATASET).classes]
HOSTILE = "CUDA <b>error</b>\n| `rm` | ![x](http://evil) " + 2000 * "long "


def opened(store: Path, name: str = "net") -> Run:
    model = f"partbirds_narrow@random?classes=3&name={name}"
    class_map = tuple((each, str(index)) for index, each in enumerate(CLASSES))
    return open_run(RunSpec(DATASET, model, str(store), VisualSummaries(), class_map))


def recorded(run: Run, **statuses: str) -> Run:
    announce(run, CLASSES)
    for class_id, status in zip(CLASSES, statuses.values(), strict=False):
        counts = {"n_images": 3, "n_summaries": 2} if status == "complete" else {}
        row = {"status": status, "error": HOSTILE if status == "failed" else None, "seconds": 61.0, **counts}
        run.store.write("class_runs", run.run_id, class_id, [{"class_name": f"bird {class_id[:3]}", **row}])
    return run


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    return [recorded(opened(tmp_path, "one"), a="complete", b="failed"), recorded(opened(tmp_path, "two"), a="skipped")]


def cells(text: str, network: str) -> dict[str, str]:
    """The row of a network in the Markdown's first table."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    row = next(line for line in lines[1:] if line[0].strip("[").startswith(network))
    return dict(zip(lines[0], row, strict=True))


def test_every_class_is_counted_once_also_those_that_never_began(runs: list[Run]) -> None:
    found = findings(runs, CLASSES, [])
    text = markdown(found)
    assert cells(text, "one") | {"time": ""} == {
        "network": "one", "complete": "1", "failed": "1", "skipped": "0", "pending": "1", "images": "3",
        "summaries": "2", "time": "",
    }  # fmt: skip
    assert cells(text, "two")["pending"] == "2"
    rows = table_rows(found)
    assert [(row["network"], row["status"]) for row in rows] == [
        ("one", "complete"), ("one", "failed"), ("one", "pending"), ("two", "skipped"), ("two", "pending"),
        ("two", "pending"),
    ]  # fmt: skip
    assert rows[0]["summaries"] == 2
    assert rows[2]["summaries"] is None


def test_a_failure_says_which_class_and_why_and_cannot_break_the_page(runs: list[Run]) -> None:
    text = markdown(
        findings(runs, CLASSES, [f"two {CLASSES[2]}: Crashed: the node is gone", f"one {CLASSES[1]}: again"])
    )
    section = text.split("## 2 failed")[1].split("##")[0].strip().splitlines()
    assert len(section) == 2
    assert section[0].startswith(f"- **one** · bird {CLASSES[1][:3]}: `CUDA <b>error</b> ¦ 'rm' ¦")
    assert len(section[0]) < 500
    assert "the node is gone" in section[1]


def test_a_damaged_table_costs_the_pictures_and_not_the_run(runs: list[Run], caplog: pytest.LogCaptureFixture) -> None:
    assert "](data:" not in markdown(findings(runs, CLASSES, []))
    assert "no clusters of" in caplog.text


def test_without_a_failure_none_is_spoken_of(runs: list[Run]) -> None:
    assert "failed" not in markdown(findings(runs[:1], CLASSES[:1], []))


def test_links_lead_to_the_pages_where_a_site_serves_them_else_to_the_command(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XV_REPORT_URL", raising=False)
    text = markdown(findings(runs, CLASSES, []))
    assert "http://" not in text.replace("http://evil", "")
    assert "xv report --store" in text
    assert all(repr(run.run_id) in text for run in runs)
    monkeypatch.setenv("XV_REPORT_URL", "http://here:4280/")
    text = markdown(findings(runs, CLASSES, []))
    assert "[one](http://here:4280/index.html)" in text
    assert f"](http://here:4280/one/{CLASSES[1]}/index.html)" in text


def many(runs: list[Run], n_classes: int) -> Findings:
    rows = [
        {"run_id": run.run_id, "class_id": f"n{index:08d}", "class_name": f"class {index}", "seconds": 10.0,
         "status": "complete" if index % 10 else "failed", "error": None if index % 10 else HOSTILE,
         "n_images": 1300, "n_errors": 0, "n_summaries": 5, "images_per_second": 12.34}
        for run in runs for index in range(n_classes)
    ]  # fmt: skip
    return Findings(runs, pd.DataFrame(rows), [])


def with_pictures(monkeypatch: pytest.MonkeyPatch, size: int) -> list[str]:
    """Let the method show pictures of a size without end; returns who was asked for each."""
    asked: list[str] = []

    def endless(run: Run, done: pd.DataFrame) -> Any:
        for index in range(10_000):
            asked.append(run.classifier.name)
            yield Thumbnail(f"a_b *{index}*", b"\x89PNG" + bytes(size), str(done["class_id"].iloc[0]))

    method = dataclasses.replace(pipelines["visual-summaries"], pictures=endless)
    monkeypatch.setitem(pipelines._entries, "visual-summaries", method)
    return asked


@pytest.mark.parametrize(
    "size", [5_000, *(pytest.param(size, marks=pytest.mark.slow) for size in (100, 30_000, 150_000, 1_000_000))]
)
def test_a_thousand_classes_of_four_networks_stay_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    asked = with_pictures(monkeypatch, size)
    runs = [opened(tmp_path, f"net{index}") for index in range(4)]
    found = many(runs, 1000)
    text = markdown(found)
    assert len(text.encode()) <= MAX_BYTES
    assert f"- … and {400 - N_FAILURES} more" in text
    assert len(re.findall(r"^- \*\*net", text, flags=re.MULTILINE)) == N_FAILURES
    assert cells(text, "net3")["failed"] == "100"
    assert cells(text, "net3")["images/s"] == "12.3"
    shown = re.findall(r"^!\[a_b \\\*\d+\\\*\]\(data:image/png;base64,", text, flags=re.MULTILINE)
    assert len(shown) == min(4 * N_PICTURES, {100: 24, 5_000: 24, 30_000: 4, 150_000: 0, 1_000_000: 0}[size])
    assert len(asked) < 100
    rows = table_rows(found)
    assert len(rows) == MAX_ROWS
    assert [row["status"] for row in rows[:401]] == ["failed"] * 400 + ["complete"]
    assert all(len(row["error"]) <= 300 for row in rows)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_every_method_leaves_its_table_and_its_pictures(tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.testing.utilities import prefect_test_harness

    from flows.analyse import AnalyseRequest, analyse
    from flows.families import evidence, units

    common: dict[str, Any] = {
        "dataset": DATASET,
        "classes": CLASSES[:2],
        "store": str(tmp_path / "store"),
        "class_map": {each: str(index) for index, each in enumerate(CLASSES)},
    }
    wide, narrow, bagnet = (f"partbirds_{name}@random?classes=3" for name in ("wide", "narrow", "bagnet17"))
    with prefect_test_harness(server_startup_timeout=240):
        units.flow(units.COMMAND.request(models=[narrow], settings={"units_shown": 4}, **common))
        evidence.flow(evidence.COMMAND.request(models=[bagnet], **common))
        analysis = AnalyseRequest(models=[wide, narrow], settings={"analysis": "error_consistency"}, **common)
        run_ids = list(analyse(analysis))
        assert list(analyse(analysis)) == run_ids
        with get_client(sync_client=True) as client:
            found = {each.key: each for each in client.read_artifacts(limit=100) if each.key}
    summaries = {key.split("-summary-")[0]: each.data for key, each in found.items() if "-summary-" in key}
    assert set(summaries) == {"top-activations", "evidence", "error-consistency"}
    for text in summaries.values():
        assert "](data:image/" in text
        assert len(text.encode()) <= MAX_BYTES
    assert "## All networks" in summaries["error-consistency"]
    tables = [key.split("-classes-")[0] for key, each in found.items() if each.type == "table"]
    assert set(tables) == set(summaries)
