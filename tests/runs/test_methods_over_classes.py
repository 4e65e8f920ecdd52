"""Evidence and top activations over whole classes: the same tables however the work was cut up, stopped or repeated."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from xvcore.data import open_dataset
from xvcore.errors import LabelError
from xvcore.evidence.method.bagnet_evidence import BagNetEvidence
from xvcore.evidence.method.top_patches import TopPatches
from xvcore.evidence.settings import PatchEvidence
from xvcore.evidence.stages.explain import targets_of
from xvcore.parameters import replaced
from xvcore.runs import pipeline
from xvcore.runs.images import frozen_manifest, pictures
from xvcore.runs.run import RunSpec, announce, conclude, has_ended, is_concluded, open_run
from xvcore.runs.settings import Settings
from xvcore.runs.stage import pipelines
from xvcore.store import SCHEMAS, Store
from xvcore.store.encode import map_array
from xvcore.units.settings import TopUnits

DATASET = "partbirds?classes=2&images=4"
EVIDENCE = PatchEvidence(top_patches=TopPatches(n_kept=3))
UNITS = replaced(
    TopUnits(), {"top.kept": "5", "top.shown": "2", "units_shown": "2", "deconvnet.rule.degenerate": "allow"}
)
MERGED = {"evidence": ("patches", "evidence_means"), "top-activations": ("units", "unit_top")}
METHODS = pytest.mark.parametrize("settings", [EVIDENCE, UNITS], ids=lambda settings: settings.method)


def spec(store: Path, settings: Settings, **changes: object) -> RunSpec:
    classes = open_dataset(DATASET).classes
    given = RunSpec(
        dataset=DATASET,
        model="partbirds_narrow@random?classes=3",
        store=str(store),
        settings=settings,
        class_map=tuple((info.class_id, str(info.class_idx)) for info in classes),
        batch_size=3,
    )
    return dataclasses.replace(given, **changes)


def run_through(spec: RunSpec, shards: Sequence[Sequence[int]] = ((0, 1, 2),)) -> str:
    """Run classes shard by shard, each in a run of its own as another process would, and join at the last."""
    class_ids = [info.class_id for info in open_dataset(DATASET).classes]
    for shard in shards:
        run = open_run(spec)
        announce(run, class_ids)
        for index in shard:
            pipeline.complete_class(run, class_ids[index])
        if has_ended(run):
            pipeline.gather(run)
        conclude(run)
    return run.run_id


def merged(store: Path, run_id: str, method: str) -> dict[tuple[str, str], pd.DataFrame]:
    opened = Store(store)
    return {
        (name, each): opened.read(name, run_id, each)
        for name in MERGED[method]
        for each in opened.classes_of(name, run_id)
    }


def assert_equal(one: dict[tuple[str, str], pd.DataFrame], other: dict[tuple[str, str], pd.DataFrame]) -> None:
    assert one.keys() == other.keys()
    assert one
    for key, frame in one.items():
        pd.testing.assert_frame_equal(frame, other[key], obj=str(key))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Settings], tuple[Path, str]]:
    kept: dict[str, tuple[Path, str]] = {}

    def of(settings: Settings) -> tuple[Path, str]:
        if settings.method not in kept:
            store = tmp_path_factory.mktemp(settings.method)
            kept[settings.method] = store, run_through(spec(store, settings))
        return kept[settings.method]

    return of


@METHODS
@pytest.mark.parametrize(
    "shards",
    [
        pytest.param([(0, 2), (1,)], id="two"),
        pytest.param([(2,), (0,), (), (1,), ()], id="five", marks=pytest.mark.slow),
    ],
)
def test_shards_make_the_same_tables_as_one_process(done, settings: Settings, shards, tmp_path: Path) -> None:
    store, run_id = done(settings)
    assert run_through(spec(tmp_path, settings), shards) == run_id
    assert_equal(merged(store, run_id, settings.method), merged(tmp_path, run_id, settings.method))


@METHODS
def test_a_run_is_complete_only_when_its_last_shard_is(settings: Settings, tmp_path: Path) -> None:
    run_id = run_through(spec(tmp_path, settings), [(0,), (1,)])
    runs = Store(tmp_path).runs().set_index("run_id")
    assert runs.loc[run_id, "status"] == "running"
    assert not any(Store(tmp_path).classes_of(name, run_id) for name in MERGED[settings.method])


@METHODS
def test_a_concluded_run_is_known_as_such_and_joining_again_changes_nothing(done, settings: Settings) -> None:
    store, run_id = done(settings)
    run = open_run(spec(store, settings))
    class_ids = [info.class_id for info in run.dataset.classes]
    assert is_concluded(run, class_ids)
    assert is_concluded(run, class_ids[:1])
    assert not is_concluded(run, [*class_ids, "another"])
    before = merged(store, run_id, settings.method)
    projected = {path: path.stat().st_mtime_ns for path in store.rglob("parts/unit_top/**/*.parquet")}
    pipeline.gather(run)
    assert_equal(before, merged(store, run_id, settings.method))
    assert projected == {path: path.stat().st_mtime_ns for path in store.rglob("parts/unit_top/**/*.parquet")}


def test_evidence_is_what_the_method_says_and_its_mean_the_logit(done) -> None:
    store, run_id = done(EVIDENCE)
    run = open_run(spec(store, EVIDENCE))
    class_id = run.dataset.classes[1].class_id
    rows = run.store.read("evidence", run_id, class_id)
    labels = rows[rows["target_kind"] == "label"]
    image_ids = [row.image_id for row in frozen_manifest(run, class_id)]
    assert list(labels["image_id"]) == image_ids
    targets = torch.full((len(image_ids),), run.target(class_id))
    found = BagNetEvidence()(run.classifier, pictures(run, class_id, image_ids), targets)
    for index, row in enumerate(labels.to_dict("records")):
        values = map_array(row["evidence_map"], row["map_h"], row["map_w"])
        np.testing.assert_allclose(values, found.values[index, 0], rtol=1e-3, atol=1e-3)
        assert row["logit"] == pytest.approx(float(found.logits[index, 0]), rel=1e-4, abs=1e-5)
        assert values.mean() == pytest.approx(row["logit"], rel=1e-2, abs=1e-2)
    others = rows[rows["target_kind"] == "prediction"]
    assert (others["target_idx"] != run.target(class_id)).all()


def test_two_classes_of_one_output_are_refused_by_name(tmp_path: Path) -> None:
    ids = [info.class_id for info in open_dataset(DATASET).classes]
    run = open_run(spec(tmp_path, EVIDENCE, class_map=((ids[0], "1"), (ids[1], "1"), (ids[2], "2"))))
    with pytest.raises(LabelError, match=rf"{ids[0]}.*{ids[1]}.*same output 1"):
        targets_of(run)


def test_patches_are_the_strongest_of_all_images(done) -> None:
    store, run_id = done(EVIDENCE)
    run = open_run(spec(store, EVIDENCE))
    best: dict[str, dict[tuple[str, str], float]] = {each: {} for each in targets_of(run)}
    for info in run.dataset.classes:
        image_ids = [row.image_id for row in frozen_manifest(run, info.class_id)]
        outputs = torch.tensor(list(targets_of(run).values())).expand(len(image_ids), -1)
        found = BagNetEvidence()(run.classifier, pictures(run, info.class_id, image_ids), outputs)
        for index, image_id in enumerate(image_ids):
            for place, target in enumerate(best):
                best[target][info.class_id, image_id] = float(found.values[index, place].max())
    for class_id, strongest in best.items():
        rows = run.store.read("patches", run_id, class_id)
        for origin, is_own in (("class", True), ("others", False)):
            expected = sorted((v for (owner, _), v in strongest.items() if (owner == class_id) == is_own), reverse=True)
            listed = rows[rows["origin"] == origin].sort_values("position")
            assert listed["evidence"].tolist() == pytest.approx(expected[:3], rel=1e-4, abs=1e-5)
            assert listed["crop"].notna().all()
            assert ((listed["image_class_id"] == class_id) == is_own).all()


def test_units_are_ranked_over_all_classes_and_those_shown_have_pictures(done) -> None:
    store, run_id = done(UNITS)
    run = open_run(spec(store, UNITS))
    layer = UNITS.top.layers(run.classifier)[-1]
    maxima: list[tuple[str, torch.Tensor]] = []
    for info in run.dataset.classes:
        for row in frozen_manifest(run, info.class_id):
            tops = UNITS.top.of_batch(
                run.classifier,
                pictures(run, info.class_id, [row.image_id]),
                torch.tensor([0]),
                UNITS.top.empty(run.classifier, [layer.name]),
            )
            maxima.append((row.image_id, tops.values[:, 0]))
    rows = run.store.read("unit_top", run_id, layer.name)
    for unit in range(layer.n_units):
        expected = sorted((float(values[unit]) for _, values in maxima if values[unit] > 0), reverse=True)[:5]
        of_unit = rows[rows["unit"] == unit].sort_values("position")
        assert of_unit["activation"].tolist() == pytest.approx(expected, rel=1e-4)
        is_shown = (of_unit["position"] <= 2) & (unit < 2)
        assert (of_unit["crop"].notna() == is_shown).all()
        assert (of_unit["projection"].notna() == is_shown).all()
    assert run.store.read("units", run_id, layer.name)["n_images"].eq(12).all()


def test_every_table_of_a_stage_has_a_schema() -> None:
    for name in pipelines:
        assert all(stage.table in SCHEMAS for stage in pipelines[name].stages if stage.table)
