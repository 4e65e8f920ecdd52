"""Laws of a comparison as a run: what it finds where the truth is known, and that nothing depends on how it came about."""

import dataclasses
import itertools
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from compared_networks import CLASS, DATASET, NARROW, QUICK, SHOWN, WIDE, rows, spec_of, summaries_of, write_summaries

from flows.families.compare import CompareRequest
from xvcore.comparison.query import QUESTIONS, ask
from xvcore.comparison.runs.class_parts import class_parts, forget, moved
from xvcore.comparison.runs.join import correlation
from xvcore.comparison.runs.networks import check_summaries, resolved, summary_runs
from xvcore.comparison.settings import Comparison
from xvcore.data import open_dataset
from xvcore.errors import ParameterError, StoreError, UnknownNameError, XvError
from xvcore.parameters import as_dict, replaced
from xvcore.query import table
from xvcore.runs import pipeline
from xvcore.runs.run import open_run
from xvcore.store import SCHEMAS, Store

OF_CLASS = (
    "part_matches",
    "part_deletions",
    "cross_deletions",
    "network_likeness",
    "part_verdicts",
    "part_coverage",
    "comparison_classes",
)


def test_equal_parts_are_matched_and_the_one_that_the_other_lacks_is_not(compared) -> None:
    matches = rows(compared, "part_matches")
    partners = matches[matches["is_partner"]]
    found = {(r["model"], r["part_id"]): r["other_part"] for r in partners.to_dict("records")}
    assert found == {
        ("partbirds_narrow", 1): 0, ("partbirds_narrow", 2): 1, ("partbirds_wide", 0): 1, ("partbirds_wide", 1): 2,
    }  # fmt: skip
    assert partners["place"].to_numpy() == pytest.approx(1)
    assert partners["flow"].to_numpy() == pytest.approx(1, abs=0.05)
    assert (partners["place_null"] < 0.2).all()
    assert partners[["place_half_1", "place_half_2"]].to_numpy() == pytest.approx(1)
    assert matches["strength_seed"].isna().all(), "no network of another seed was given"


def test_every_pair_has_its_rows_and_the_record_counts_the_verdicts(compared) -> None:
    store, run_id = compared
    verdicts, deletions = rows(compared, "part_verdicts"), rows(compared, "cross_deletions")
    assert len(rows(compared, "part_matches")) == 2 * 3 * 2
    assert len(verdicts) == 3 + 2
    assert len(deletions) == (3 + 2) * 2, "each network is asked, the part's own too"
    record = store.record(run_id, CLASS).to_pylist()[0]
    assert record["status"] == "complete"
    assert record["n_parts_compared"] == len(verdicts)
    assert record["n_parts_shared"] == (verdicts["verdict"] == "shared").sum() >= 4
    assert record["n_images"] == 9


def test_deletions_of_a_part_are_the_means_of_those_of_its_images(compared) -> None:
    keys = ["model", "part_id", "other"]
    of_images = rows(compared, "part_deletions").groupby(keys).mean(numeric_only=True).sort_index()
    of_parts = rows(compared, "cross_deletions").set_index(keys).sort_index()
    assert (of_parts["n_images"] == 4).all(), "no more images than n_deleted"
    lost = of_images["prob_full"] - of_images["prob_deleted"]
    assert of_parts["loss"].to_numpy() == pytest.approx(lost.to_numpy(), abs=1e-6)
    beyond = of_images["prob_random"] - of_images["prob_deleted"]
    assert of_parts["difference"].to_numpy() == pytest.approx(beyond.to_numpy(), abs=1e-6)
    assert of_parts["probe_accuracy"].isna().all(), "4 images are fewer than the probe's folds"


def test_masks_made_of_parts_cover_these_and_no_others(compared) -> None:
    classes = rows(compared, "comparison_classes").set_index("model")
    assert classes["n_parts"].to_dict() == {"partbirds_narrow": 3, "partbirds_wide": 2}
    assert not classes["has_distinct_parts"].any()
    assert classes["summaries_low"].to_dict() == {"partbirds_narrow": 2, "partbirds_wide": 1}
    assert classes["summaries_high"].to_dict() == {"partbirds_narrow": 5, "partbirds_wide": 4}
    assert classes[["parts_low", "parts_high"]].isna().all(axis=None), "an interval of distinct parts is not theirs"
    assert classes.loc["partbirds_narrow", "decisive_coverage"] == pytest.approx(1)
    assert 0.5 < classes.loc["partbirds_wide", "decisive_coverage"] < 0.9
    assert (classes["decisive_coverage_null"] < 0.2).all()
    assert classes["object_coverage"].isna().all(), "PartBirds have no boxes of objects"
    wins = table(compared[0], "comparison_wins").set_index("model")
    assert wins.loc["partbirds_narrow", "difference"] == pytest.approx(
        classes.loc["partbirds_narrow", "parts_per_image"] - classes.loc["partbirds_wide", "parts_per_image"], abs=1e-5
    )
    assert wins["wins"].to_dict() == {"partbirds_narrow": True, "partbirds_wide": False}


def test_coverage_names_the_parts_that_the_masks_are_made_of(compared) -> None:
    covered = rows(compared, "part_coverage").set_index(["model", "part"])
    for model, shown in (("partbirds_narrow", {"crest", "wing", "tail"}), ("partbirds_wide", {"wing", "tail"})):
        of_network = covered.loc[model]
        assert set(of_network.index[(of_network["covered"] >= 0.5) & (of_network["low"] > 0)]) == shown
        assert of_network.loc[sorted(shown), "covered"].to_numpy() == pytest.approx(1)
        beyond = of_network["covered"] - of_network["by_chance"]
        assert of_network["difference"].to_numpy() == pytest.approx(beyond.to_numpy(), abs=1e-6)
        assert (of_network["n_images"] == 9).all()
        assert set(of_network.index[of_network["share_low"] > 0]) == shown
        assert (of_network.loc[sorted(shown), "share"] > of_network.loc[sorted(shown), "share_by_chance"] + 0.4).all()
    by_part = covered.loc["partbirds_narrow"]
    decisive = by_part["n_decisive"] > 0
    assert set(by_part.index[decisive]) == set(open_dataset(DATASET).decisive_parts(CLASS))
    told = rows(compared, "comparison_classes").set_index("model").loc["partbirds_narrow"]
    assert by_part["covered"].mean() == pytest.approx(told["part_coverage"], abs=1e-6)
    assert by_part["by_chance"].mean() == pytest.approx(told["part_coverage_null"], abs=1e-6)


def test_likeness_stands_beside_its_nulls(compared) -> None:
    likeness = rows(compared, "network_likeness")
    assert set(likeness["depth"]) == {0.5, 1.0}
    last = likeness[likeness["depth"] == 1].set_index("model")
    assert last["cka"].nunique() == 1, "it has no direction"
    assert (last["cka"] > last["cka_null"]).all()
    assert (last["rsvc_self"] > 0).all()
    assert (last["mask_overlap"] > last["mask_overlap_null"] + 0.1).all()
    assert likeness.loc[likeness["depth"] < 1, ["bsr", "rsvc", "mask_overlap"]].isna().all(axis=None)


def test_it_does_nothing_when_it_is_run_again(compared, summaries: Path) -> None:
    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in summaries.rglob("*.parquet")}

    before = files()
    assert pipeline.complete_run(open_run(spec_of(summaries)), [CLASS]) == "complete"
    assert files() == before


def test_neither_batches_nor_an_earlier_attempt_that_was_stopped_matter(
    compared, summaries: Path, tmp_path: Path
) -> None:
    shutil.copytree(summaries, tmp_path / "store")
    store, run_id = Store(tmp_path / "store"), compared[1]
    spec = dataclasses.replace(spec_of(tmp_path / "store"), batch_size=3)
    run = open_run(spec)
    assert run.run_id == run_id
    for name in ("cross_deletions", "network_likeness", "comparison_classes"):
        store.remove(name, run_id, CLASS)
    assert not pipeline.is_complete(run, CLASS)
    assert pipeline.complete_run(run, [CLASS]) == "complete"
    for name in OF_CLASS:
        again = store.read(name, run_id, CLASS)
        pd.testing.assert_frame_equal(again, compared[0].read(name, run_id, CLASS), rtol=1e-3, atol=1e-4, obj=name)


@pytest.mark.slow
def test_a_network_beside_itself_under_another_name_shares_every_part_and_is_its_own_null(
    summaries: Path, tmp_path: Path
) -> None:
    shutil.copytree(summaries, tmp_path / "store")
    twin = f"{NARROW}&name=twin"
    SHOWN[twin] = SHOWN[NARROW]
    try:
        write_summaries(twin, tmp_path / "store")
    finally:
        del SHOWN[twin]
    spec = spec_of(tmp_path / "store", others=f"{twin},{WIDE}", seeds="partbirds_narrow+twin")
    run = open_run(spec)
    assert pipeline.complete_run(run, [CLASS]) == "complete"
    verdicts = run.store.read("part_verdicts", run.run_id, CLASS)
    twins = verdicts[(verdicts["model"] != "partbirds_wide") & (verdicts["other"] != "partbirds_wide")]
    assert len(twins) == 6
    assert (twins["verdict"] == "shared").all()
    assert twins["beyond_seed"].to_numpy(float) == pytest.approx(0, abs=1e-6)
    lacking = verdicts[
        (verdicts["model"] == "twin") & (verdicts["other"] == "partbirds_wide") & (verdicts["part_id"] == 0)
    ]
    assert lacking["beyond_seed"].iloc[0] == pytest.approx(-1, abs=0.05)
    likeness = run.store.read("network_likeness", run.run_id, CLASS).query("depth == 1").set_index(["model", "other"])
    assert likeness.loc[("twin", "partbirds_narrow"), "cka"] == pytest.approx(1, abs=1e-5)
    assert likeness.loc[("partbirds_narrow", "partbirds_wide"), "cka_seed"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_question_is_answered_from_the_tables(question: str, compared) -> None:
    pytest.importorskip("duckdb")
    answered = ask(compared[0], question)
    verdicts = rows(compared, "part_verdicts")
    n_rows = {
        "miss": (verdicts["verdict"].isin(["could but does not use", "cannot"])).sum(),
        "share, and": (verdicts["verdict"] == "shared").sum(),
        "not decided": verdicts.loc[verdicts["verdict"] == "undecided", "reason"].nunique(),
        "How many parts": 2, "go with accuracy": 2, "more parts": 2, "are deleted": 4, "measures of others": 2,
    }  # fmt: skip
    (expected,) = [count for words, count in n_rows.items() if words in question]
    assert len(answered) == expected


def test_answers_are_what_the_tables_say(compared) -> None:
    pytest.importorskip("duckdb")
    counted = ask(compared[0], "How many parts has a class in the eyes of each network?")
    assert counted["n_parts"].tolist() == [3, 2]
    matrix = ask(compared[0], next(each for each in QUESTIONS if "are deleted" in each)).set_index(["model", "other"])
    deletions = rows(compared, "cross_deletions").groupby(["model", "other"])["difference"].mean()
    assert matrix["difference"].to_numpy() == pytest.approx(deletions.to_numpy())
    with pytest.raises(UnknownNameError, match="question"):
        ask(compared[0], "Why?")


# What is asked for


def request(store: Path, **changes: object) -> CompareRequest:
    given = summaries_of(NARROW, store)
    fields = {
        "models": [NARROW, WIDE],
        "classes": [CLASS],
        "class_map": dict(given.class_map),
        "dataset": given.dataset,
    }
    return CompareRequest.model_validate({**fields, "store": str(store), **changes})


def test_the_order_of_the_networks_does_not_matter(summaries: Path) -> None:
    one, other = request(summaries), request(summaries, models=[WIDE, NARROW])
    assert one.ready().specs() == other.ready().specs()
    (spec,) = one.ready().specs()
    assert (spec.model, spec.settings.others) == (NARROW, (WIDE,))
    assert spec.settings.summaries == spec_of(summaries).settings.summaries
    shard = one.ready().of_shard(NARROW, [CLASS])
    assert shard.specs() == [spec]


@pytest.mark.parametrize("models", [[NARROW], [NARROW, NARROW]])
def test_fewer_than_two_networks_are_refused(models: list[str], summaries: Path) -> None:
    with pytest.raises(ValueError, match="2 different networks"):
        request(summaries, models=models)


def test_a_plan_knows_what_is_compared_already(compared, capsys) -> None:
    """The request leaves open which summaries are compared; it is the same run as the one that names them."""
    from flows.plan import show_plan

    given = summaries_of(NARROW, Path(compared[0].url))
    asked = CompareRequest.filled(
        replaced(Comparison(), QUICK),
        dataset=given.dataset,
        models=[NARROW, WIDE],
        classes=[CLASS],
        class_map=dict(given.class_map),
        store=compared[0].url,
    )
    show_plan(asked, workers=None, measure=None, say=print)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:5] == ["partbirds_narrow", "1", "1", "0", "0"], "one class, and it is done"


def test_what_is_missing_is_named_with_the_command_that_computes_it(summaries: Path) -> None:
    with pytest.raises(
        StoreError, match=r"xv summarise .*partbirds_narrow@random.*--classes \S*,plain .*--set max_images=9"
    ):
        request(summaries, classes=[CLASS, "plain"], class_map={CLASS: "0", "plain": "1"}).ready()
    with pytest.raises(StoreError, match="no visual summaries with equal parameters"):
        request(summaries, models=[NARROW, f"{WIDE}&name=third"]).ready()
    with pytest.raises(StoreError, match="params_hash 'abc'"):
        request(summaries, settings={"summaries": "abc"}).ready()
    with pytest.raises(XvError, match="none of the compared networks"):
        request(summaries, settings={"seeds": ["partbirds_wide+sister"]}).ready()
    with pytest.raises(XvError, match="others = alexnet: name all networks as models"):
        request(summaries, settings={"others": ["alexnet"]}).ready()


def test_of_several_summaries_one_has_to_be_chosen(summaries: Path, tmp_path: Path) -> None:
    shutil.copytree(summaries, tmp_path / "store")
    store = Store(tmp_path / "store")
    for row in store.runs().query("method == 'visual-summaries'").to_dict("records"):
        store.write_run({**row, "run_id": row["run_id"] + "x", "params_hash": "other", "params": as_dict(Comparison())})
    with pytest.raises(StoreError, match="--set summaries="):
        resolved(
            dataclasses.replace(spec_of(summaries), store=str(tmp_path / "store"), settings=Comparison(others=(WIDE,)))
        )


@pytest.mark.parametrize("settings", [{"others": ("a", "a")}, {"seeds": ("alone",)}, {"seeds": ("a+a",)}])
def test_settings_that_make_no_sense_are_refused(settings: dict) -> None:
    with pytest.raises(ParameterError):
        Comparison(**settings)


def test_a_class_that_lost_its_summaries_fails_with_the_command(summaries: Path, tmp_path: Path) -> None:
    shutil.copytree(summaries, tmp_path / "store")
    run = open_run(spec_of(tmp_path / "store", seed="1"))
    first = summary_runs(run)[0]
    first.store.remove("clusters", first.run_id, CLASS)
    assert pipeline.complete_run(run, [CLASS]) == "failed"
    assert "xv summarise" in str(pipeline.reason_of_failure(run, CLASS))
    with pytest.raises(StoreError, match=r"classes without visual summaries: partbirds_narrow \(1\)"):
        check_summaries(summary_runs(run), [CLASS])


# Frames


def test_boxes_go_to_another_input_and_back(summaries: Path) -> None:
    run = summary_runs(open_run(spec_of(summaries)))[0]
    other = open_run(dataclasses.replace(run.spec, model=f"{NARROW}&input=64&resize=72&name=small"))
    boxes, size = np.array([[40.0, 40, 20, 10]]), [(400, 300)]
    there = moved(boxes, size, run, other)
    assert not np.allclose(there, boxes)
    assert moved(there, size, other, run) == pytest.approx(boxes)
    assert moved(boxes, size, run, run) == pytest.approx(boxes)


def test_parts_are_those_of_the_summaries_and_distinct_parts_where_they_are_known(summaries: Path, monkeypatch) -> None:
    found = class_parts(open_run(spec_of(summaries)), CLASS)
    assert [network.part_ids for network in found.networks] == [(0, 1, 2), (0, 1)]
    assert found.networks[0].clusters == ((0,), (1,), (2,))
    if "distinct_part" in SCHEMAS["clusters"]:
        return
    read = Store.read

    def with_distinct(self, table, run_id, class_id, columns=None):
        frame = read(self, table, run_id, class_id, columns)
        return frame.assign(distinct_part=[4, 4, 7][: len(frame)]) if table == "clusters" else frame

    monkeypatch.setattr(Store, "read", with_distinct)
    forget()
    found = class_parts(open_run(spec_of(summaries)), CLASS)
    assert [network.part_ids for network in found.networks] == [(4, 7), (4,)]
    assert found.networks[0].clusters == ((0, 1), (2,))
    assert all(network.is_distinct for network in found.networks)
    forget()


def test_a_correlation_needs_four_networks_and_is_pearsons() -> None:
    assert correlation([1, 2, 3], [0.1, 0.2, 0.3])["correlation"] is None
    found = correlation([1, 2, 3, 5], [0.2, 0.1, 0.4, 0.6])
    assert found["correlation"] == pytest.approx(np.corrcoef([1, 2, 3, 5], [0.2, 0.1, 0.4, 0.6])[0, 1])
    assert found["correlation_low"] <= found["correlation"] <= found["correlation_high"]
    assert found["rank_correlation"] == pytest.approx(0.8)
    assert correlation([1, 1, 1, 1], [0.1, 0.2, 0.3, 0.4])["correlation"] is None


def test_every_two_tables_of_a_comparison_can_be_joined() -> None:
    for one, other in itertools.combinations(OF_CLASS, 2):
        assert {"run_id", "class_id", "model"} <= set(SCHEMAS[one].names) & set(SCHEMAS[other].names)
