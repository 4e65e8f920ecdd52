"""Laws of every analysis as a run: rows that fit, figures that parse, nothing done twice, a kill costs one class."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from analysis_runs import NARROW, QUICK, SECOND, WIDE, complete, spec

from xvcore import query
from xvcore.analyses.analysis import analyses
from xvcore.analyses.compare import compare, comparison_id
from xvcore.errors import UnknownNameError, XvError
from xvcore.models import wrap
from xvcore.parameters import replaced
from xvcore.runs import pipeline
from xvcore.runs.run import Run, RunSpec, announce, open_run
from xvcore.store import SCHEMAS, Store

NAMES = list(analyses)
BRIEF = ("accuracy", "error_consistency", "evolution", "masking", "scrambling", "transfer")
"""Analyses of which every law is looked at by default; those of the others are slow tests."""


def some(names: list[str], *quick: str) -> list:
    """Return all names as parameters of a test; all but some of them are slow."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, str, list[Run]]]:
    """Gives store, comparison and runs of an analysis of two networks; each is computed once."""

    @cache
    def compared(name: str) -> tuple[Path, str, list[Run]]:
        store = tmp_path_factory.mktemp(name)
        runs = [complete(spec(store, name, model)) for model in (NARROW, SECOND.get(name, WIDE))]
        return store, compare(runs), runs

    return compared


def files(store: Path) -> dict[Path, int]:
    """Return when each part of a class, layer or figure was written; records of runs and classes do not count."""
    parts = (path for path in store.glob("parts/*/*/*.parquet") if path.parent.parent.name != "class_runs")
    return {path: path.stat().st_mtime_ns for path in parts}


@pytest.mark.parametrize("name", some(NAMES, *BRIEF))
def test_it_writes_rows_of_its_table(name: str, done) -> None:
    store, owner, runs = done(name)
    opened, table = Store(store), SCHEMAS[name]
    parts = [
        opened.read(name, of_run, shard)
        for of_run in (owner, *(run.run_id for run in runs))
        for shard in opened.classes_of(name, of_run)
    ]
    rows = pd.concat(parts)
    assert len(rows)
    assert not rows.duplicated(list(table.grain)).any()
    assert set(rows["model"] if "model" in table else {*rows["model_a"], *rows["model_b"]}) == {
        "partbirds_narrow",
        "partbirds_wide",
    }


@pytest.mark.parametrize("name", some(NAMES, *BRIEF))
def test_its_figures_show_both_networks_together(name: str, done) -> None:
    store, owner, runs = done(name)
    opened = Store(store)
    shown = [opened.read("figures", owner, each).iloc[0] for each in opened.classes_of("figures", owner)]
    assert shown
    for figure in shown:
        assert figure["model"] == "partbirds_narrow + partbirds_wide"
        assert figure["error"] is None
        assert ElementTree.fromstring(figure["svg"]).tag == "{http://www.w3.org/2000/svg}svg"
    members = opened.read("comparisons", owner, "runs")
    assert list(members["of_run"]) == [run.run_id for run in runs]
    if analyses[name].least_networks == 1:
        assert all(opened.classes_of("figures", run.run_id) for run in runs)


@pytest.mark.parametrize("name", some(NAMES, *BRIEF))
def test_its_findings_are_sentences_of_networks_with_numbers(name: str, done) -> None:
    store, owner, runs = done(name)
    opened, models = Store(store), {run.classifier.name for run in runs}
    assert opened.has("findings", owner, "runs")
    found = opened.read("findings", owner, "runs")
    assert set(" + ".join(found["model"]).split(" + ")) >= (models if len(found) else set())
    for row in found.itertuples():
        assert row.sentence.endswith((".", ").")), row.sentence
        assert set(row.model.split(" + ")) <= models
        assert row.n > 0
        assert pd.isna(row.low) or row.low <= row.value <= row.high
        if pd.isna(row.null_value):
            assert pd.isna(row.holds)
        elif not pd.isna(row.p_value):
            assert row.holds == (row.p_value <= 0.05)
        else:
            assert row.holds == (not pd.isna(row.low) and not row.low <= row.null_value <= row.high)


@pytest.mark.parametrize("name", some(NAMES, *BRIEF))
def test_it_does_nothing_when_it_is_run_again(name: str, done) -> None:
    store, owner, runs = done(name)
    before = files(store)
    again = [open_run(run.spec) for run in runs]
    for run in again:
        for info in run.dataset.classes:
            pipeline.complete_class(run, info.class_id)
        pipeline.gather(run)
    assert compare(again) == owner == comparison_id(runs)
    assert files(store) == before


def test_what_is_compared_anew_after_publishing_is_what_readers_get(tmp_path: Path) -> None:
    run = complete(spec(tmp_path, "accuracy"))
    store = Store(tmp_path)
    assert store.is_published(run.run_id)
    store.remove("findings", run.run_id, "runs")  # as a store of an earlier version lacks it
    part = store.read("accuracy", run.run_id, "partbirds_narrow")
    assert compare([open_run(run.spec)]) == run.run_id
    again = store.read("accuracy", run.run_id, "partbirds_narrow")
    assert (again["seconds"] != part["seconds"]).all()
    assert Store(tmp_path).is_published(run.run_id)
    read = query.table(Store(tmp_path), "accuracy", run_id=run.run_id)
    assert list(read["seconds"]) == list(again["seconds"])
    assert len(query.table(Store(tmp_path), "findings", run_id=run.run_id)) == 1


@pytest.mark.parametrize("name", some([name for name in NAMES if analyses[name].stages], "evolution", "scrambling"))
def test_killed_after_one_class_it_goes_on_with_the_next(name: str, done, tmp_path: Path) -> None:
    _, _, (whole, _) = done(name)
    run = open_run(spec(tmp_path, name))
    class_ids = [info.class_id for info in run.dataset.classes]
    first, second = class_ids[:2]
    announce(run, class_ids)
    pipeline.complete_class(run, first)
    pipeline.begin(run, second)
    pipeline.run_stage(run, second, "predict")  # killed here
    before = files(tmp_path)
    resumed = complete(run.spec)
    assert resumed.run_id == whole.run_id
    assert {path: at for path, at in files(tmp_path).items() if path in before} == before
    table = analyses[name].stages[-1].table
    assert table
    for class_id in class_ids:
        pd.testing.assert_frame_equal(
            *(each.store.read(table, run.run_id, class_id) for each in (whole, resumed)), check_exact=True
        )


def test_one_more_class_is_taken_into_the_figures(tmp_path: Path) -> None:
    run = open_run(spec(tmp_path, "scrambling"))
    first, second = (info.class_id for info in run.dataset.classes[:2])
    announce(run, [first, second])
    pipeline.complete_class(run, first)
    compare([run])
    one = run.store.read("comparisons", run.run_id, "runs")["n_classes"].iloc[0]
    pipeline.complete_class(run, second)
    compare([run])
    assert (one, run.store.read("comparisons", run.run_id, "runs")["n_classes"].iloc[0]) == (1, 2)


def test_another_networks_ranking_is_one_of_the_rankings_and_part_of_the_run_id(tmp_path: Path) -> None:
    chosen = {"rankings": "gradient,evidence", "n_random": "0"}
    both = spec(tmp_path, "masking", **chosen, ranked_by=WIDE)
    others = [spec(tmp_path, "masking", **chosen), spec(tmp_path, "masking", **chosen, ranked_by=f"{WIDE}&seed=1")]
    assert len({open_run(each).run_id for each in (both, *others)}) == 3
    found = complete(both)
    rows = found.store.read("masking", found.run_id, found.dataset.classes[0].class_id)
    names = {f"{name}{of}" for name in ("gradient", "evidence") for of in ("", " of partbirds_wide")}
    assert set(rows["ranking"]) == names


def test_without_annotated_parts_correspondence_says_so(tmp_path: Path) -> None:
    from PIL import Image

    for index in range(2):
        path = tmp_path / "pictures" / "thing" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (index * 90, 20, 30)).save(path)
    given = RunSpec(
        f"imagefolder:{tmp_path / 'pictures'}",
        NARROW,
        str(tmp_path / "store"),
        replaced(analyses["correspondence"].settings(), QUICK["correspondence"]),
    )
    run = open_run(given)
    announce(run, ["thing"])
    with pytest.raises(XvError, match="no parts of class thing are annotated"):
        pipeline.complete_class(run, "thing")


def test_an_unknown_analysis_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean occlusion"):
        analyses["oclusion"]


def test_every_analysis_has_a_table_of_its_name() -> None:
    assert set(NAMES) <= set(SCHEMAS)


MEASURED = {"images_per_second", "seconds"}
"""Columns of times, which no two runs share."""


@pytest.mark.parametrize("name", some(NAMES, "occlusion", "masking"))
def test_a_network_in_memory_gives_the_numbers_that_its_address_gives(name: str, done, tmp_path: Path) -> None:
    _, _, (by_address, _) = done(name)
    known = by_address.classifier
    mine = wrap(
        known.network, preprocessing=known.preprocessing, layers=known.architecture.layers, name="partbirds_narrow"
    )
    run = open_run(spec(tmp_path, name, "partbirds_narrow"), mine)
    assert pipeline.complete_run(run) == "complete"
    assert run.run_id != by_address.run_id
    for table in (name, "predictions"):
        shards = by_address.store.classes_of(table, by_address.run_id)
        assert run.store.classes_of(table, run.run_id) == shards
        for shard in shards:
            one, other = (
                each.store.read(table, each.run_id, shard).drop(columns=["run_id", *MEASURED], errors="ignore")
                for each in (run, by_address)
            )
            pd.testing.assert_frame_equal(one, other)
    assert pipeline.complete_run(run) == "complete"
