"""What spans classes is kept in few files: merged early or late, killed, lost or doubled, the tables are the same."""

import importlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from xvcore.errors import StoreError
from xvcore.evidence.method.top_patches import ORIGINS, TopPatches
from xvcore.evidence.settings import PatchEvidence
from xvcore.models import Classifier, Preprocessing, wrap
from xvcore.parameters import replaced
from xvcore.query import table
from xvcore.runs import pipeline, summaries
from xvcore.runs.run import Run, RunSpec, announce, is_concluded, open_run
from xvcore.runs.settings import Settings
from xvcore.store import Store
from xvcore.units.settings import TopUnits

N_CLASSES, N_IMAGES = 5, 2
CLASSES = [f"c{index}" for index in range(N_CLASSES)]
EVIDENCE = PatchEvidence(top_patches=TopPatches(n_kept=3))
UNITS = replaced(TopUnits(), {"top.kept": "5", "top.shown": "2", "units_shown": "0"})
METHODS = pytest.mark.parametrize("settings", [EVIDENCE, UNITS], ids=lambda settings: settings.method)
OF_TIME = ["seconds", "seconds_by_stage", "images_per_second", "finished_at", "created_at", "attempt", "env", "device"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(3)
    for class_id in CLASSES:
        (root / class_id).mkdir()
        for index in range(N_IMAGES):
            pixels = generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / class_id / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def network() -> Classifier:
    torch.manual_seed(5)
    layers = (nn.Conv2d(3, 6, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, N_CLASSES))
    return wrap(nn.Sequential(*layers), preprocessing=Preprocessing((32, 32), None), labels=CLASSES, name="tiny")


@pytest.fixture(scope="module")
def opened(folder: Path, network: Classifier) -> Callable[..., Run]:
    def of(store: Path, settings: Settings, pictures: Path = folder) -> Run:
        return open_run(RunSpec(f"imagefolder:{pictures}", "tiny", str(store), settings), network)

    return of


@pytest.fixture(scope="module")
def undisturbed(opened, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Settings], Path]:
    """Return a function to the store of a run whose classes are merged at the end alone."""
    stores: dict[str, Path] = {}

    def of(settings: Settings) -> Path:
        if settings.method not in stores:
            store = stores[settings.method] = tmp_path_factory.mktemp(settings.method)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(summaries, "AT_ONCE", 1000)
                assert pipeline.complete_run(opened(store, settings)) == "complete"
        return stores[settings.method]

    return of


@pytest.fixture
def in_twos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "AT_ONCE", 2)


def tables(store: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    for name in sorted(path.name for path in (store / "parts").iterdir()):
        found = table(Store(store), name)
        yield name, found.drop(columns=[each for each in OF_TIME if each in found])


def assert_same(one: Path, other: Path) -> None:
    expected, seen = dict(tables(other)), dict(tables(one))
    assert seen.keys() == expected.keys()
    for name, found in seen.items():
        pd.testing.assert_frame_equal(found, expected[name], obj=name)
    assert pieces(one) == pieces(other)


def pieces(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.glob("parts/*_sums/*/*.parquet")}


def classes_of(store: Path) -> list[list[str]]:
    found = [pd.read_parquet(path, columns=["class_ids"])["class_ids"] for path in store.glob("parts/*_sums/*/*")]
    return sorted([list(ids) for (ids,) in found], key=lambda ids: (-len(ids), ids))


@METHODS
@pytest.mark.parametrize("merging", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_the_files_grow_with_the_logarithm_of_the_classes_and_the_tables_are_the_same(
    settings: Settings, merging: int, opened, undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summaries, "AT_ONCE", merging)
    run = opened(tmp_path / "store", settings)
    announce(run, CLASSES)
    for n_done, class_id in enumerate(CLASSES, 1):
        pipeline.complete_class(run, class_id)
        lengths = [len(each) for each in classes_of(tmp_path / "store")]
        digits, power = [], 1
        while n_done // power:
            digits += [power] * (n_done // power % merging)
            power *= merging
        assert sorted(lengths) == digits, "as the digits of the number of classes"
    pipeline.complete_run(run)
    assert classes_of(tmp_path / "store") == [CLASSES]
    assert_same(tmp_path / "store", undisturbed(settings))


@METHODS
def test_the_order_of_classes_and_shards_does_not_matter(
    settings: Settings, in_twos, opened, undisturbed, tmp_path: Path
) -> None:
    for shard in (CLASSES[1::2], CLASSES[::-2]):
        run = opened(tmp_path / "store", settings)
        announce(run, CLASSES)
        for class_id in shard:
            pipeline.complete_class(run, class_id)
    pipeline.complete_run(opened(tmp_path / "store", settings))
    assert_same(tmp_path / "store", undisturbed(settings))


class Killed(BaseException):
    pass


@METHODS
@pytest.mark.parametrize("step", [1, *(pytest.param(each, marks=pytest.mark.slow) for each in (0, 2, 3, 5, 6))])
def test_nothing_is_lost_and_nothing_counts_twice_if_killed_while_pieces_are_merged(
    settings: Settings, step: int, in_twos, opened, undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, removed = tmp_path / "store", []
    remove = Store.remove

    def kill(self: Store, name: str, run_id: str, class_id: str) -> None:
        if name.endswith("_sums"):
            removed.append(class_id)
            if len(removed) > step:
                raise Killed
        remove(self, name, run_id, class_id)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "remove", kill)
        with pytest.raises(Killed):
            pipeline.complete_run(opened(store, settings))
    before = {path: path.stat().st_mtime_ns for path in store.glob("parts/predictions/*/*")}
    assert pipeline.complete_run(opened(store, settings)) == "complete"
    assert {path: path.stat().st_mtime_ns for path in before} == before, "no class was computed again"
    assert_same(store, undisturbed(settings))


def gone(path: Path) -> None:
    path.unlink()


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@METHODS
@pytest.mark.parametrize("damage", [torn, pytest.param(gone, marks=pytest.mark.slow)])
def test_a_lost_piece_is_noticed_and_its_classes_are_made_anew(
    settings: Settings, damage: Callable[[Path], None], in_twos, opened, undisturbed, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(undisturbed(settings), tmp_path / "store"))
    (path,) = store.glob("parts/*_sums/*/*.parquet")
    damage(path)
    run = opened(store, settings)
    assert not is_concluded(run, CLASSES)
    assert not pipeline.is_complete(run, CLASSES[0])
    assert pipeline.complete_run(run) == "complete"
    assert_same(store, undisturbed(settings))
    assert is_concluded(opened(store, settings), CLASSES)


@METHODS
def test_a_piece_lost_before_the_end_costs_only_its_classes(
    settings: Settings, in_twos, opened, undisturbed, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    run = opened(store, settings)
    announce(run, CLASSES)
    for class_id in CLASSES[:3]:
        pipeline.complete_class(run, class_id)
    (lost,) = [path for path in store.glob("parts/*_sums/*/*") if classes_in(path) == CLASSES[:2]]
    ids = classes_in(lost)
    gone(lost)
    assert pipeline.complete_run(opened(store, settings)) == "complete"
    attempts = {each: int(run.store.read("class_runs", run.run_id, each)["attempt"][0]) for each in CLASSES}
    assert attempts == {each: 2 if each in ids else 1 for each in CLASSES}
    assert_same(store, undisturbed(settings))


def classes_in(path: Path) -> list[str]:
    return list(pd.read_parquet(path, columns=["class_ids"])["class_ids"][0])


@METHODS
def test_a_class_that_is_lost_and_has_other_images_now_is_taken_out_of_what_it_was_merged_into(
    settings: Settings, in_twos, opened, folder: Path, tmp_path: Path
) -> None:
    pictures = Path(shutil.copytree(folder, tmp_path / "pictures"))
    run = opened(tmp_path / "store", settings, pictures)
    pipeline.complete_run(run)
    (pictures / CLASSES[4] / "1.png").unlink()
    for name in ("manifest", "predictions"):
        run.store.remove(name, run.run_id, CLASSES[4])
    assert pipeline.complete_run(opened(tmp_path / "store", settings, pictures)) == "complete"
    other = opened(tmp_path / "other", settings, pictures)
    pipeline.complete_run(other)
    assert_same(tmp_path / "store", tmp_path / "other")


@METHODS
def test_what_two_processes_have_merged_differently_counts_once(
    settings: Settings, in_twos, opened, undisturbed, tmp_path: Path
) -> None:
    store, twin = tmp_path / "store", tmp_path / "twin"
    for place, asked in ((store, CLASSES[:4]), (twin, CLASSES[1:5])):
        run = opened(place, settings)
        announce(run, asked)
        for class_id in asked:
            pipeline.complete_class(run, class_id)
    assert classes_of(store) + classes_of(twin) == [CLASSES[:4], CLASSES[1:]]
    for path in twin.glob("parts/*/*/*"):
        if not (store / path.relative_to(twin)).exists():
            (store / path.relative_to(twin)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, store / path.relative_to(twin))
    assert pipeline.complete_run(opened(store, settings)) == "complete"
    assert_same(store, undisturbed(settings))


@METHODS
def test_a_run_that_is_asked_for_more_classes_goes_on_from_what_is_merged(
    settings: Settings, in_twos, opened, undisturbed, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    for asked in (CLASSES[3:], CLASSES[::2], CLASSES):
        assert pipeline.complete_run(opened(store, settings), asked) == "complete"
        assert len(classes_of(store)) == 1
    assert_same(store, undisturbed(settings))


@METHODS
def test_parts_of_older_versions_count(settings: Settings, opened, undisturbed, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run = opened(store, settings)
    pipeline.complete_run(run, CLASSES[:3])
    for class_id in CLASSES[:3]:
        as_before(run, class_id)
    (merged,) = store.glob("parts/*_sums/*/*.parquet")
    gone(merged)
    assert all(pipeline.is_complete(opened(store, settings), each) for each in CLASSES[:3])
    assert pipeline.complete_run(opened(store, settings)) == "complete"
    attempts = [int(run.store.read("class_runs", run.run_id, each)["attempt"][0]) for each in CLASSES[:3]]
    assert attempts == [1] * 3
    expected, seen = dict(tables(undisturbed(settings))), dict(tables(store))
    kept = {"class_runs", *(name for name in {*expected, *seen} if name.endswith(("_sums", "_summaries", "_scans")))}
    assert seen.keys() - kept == expected.keys() - kept
    for name in seen.keys() - kept:
        pd.testing.assert_frame_equal(seen[name], expected[name], obj=name)


def as_before(run: Run, class_id: str) -> None:
    """Write what a class adds as versions before pieces did, and a record that names it."""
    stage = pipeline.stages_of(run)[1]
    kept: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        module = importlib.import_module(stage.work.__module__)
        patch.setattr(module, "keep", lambda _run, _class_id, value: kept.append(value))
        stage.work(run, class_id, None)
    (value,) = kept
    rows = older_patches(run, value) if run.settings is EVIDENCE else older_units(value)
    name = stage.summary.before
    run.store.write(name, run.run_id, class_id, [{**run.keys(class_id), **row} for row in rows])
    record = run.store.read("class_runs", run.run_id, class_id).to_dict("records")[0]
    said = json.loads(record["rows_by_table"]) | {name: len(rows)}
    run.store.write("class_runs", run.run_id, class_id, [{**record, "rows_by_table": said}])


def older_patches(run: Run, summary) -> Sequence[dict]:
    return [
        {
            "target_idx": output,
            "origin": origin,
            "n_images": int(summary.n_images[index, place]),
            "evidence": summary.evidence[index, place].numpy(),
            "images": summary.images[index, place].numpy(),
            "map_y": summary.rows_of[index, place].numpy(),
            "map_x": summary.columns_of[index, place].numpy(),
            "sums": summary.sums[index, place].flatten().numpy(),
            "map_h": summary.sums.shape[2],
            "map_w": summary.sums.shape[3],
        }
        for index, output in enumerate(run.targets.values())
        for place, origin in enumerate(ORIGINS)
    ]


def older_units(tops) -> Sequence[dict]:
    arrays, start, rows = tops.arrays(), 0, []
    for layer in tops.layers:
        part = slice(start, start + layer.n_units)
        listed = {name: arrays[name][part].ravel() for name in ("images", "places", "sums", "n_invalid")}
        counts = {name: int(arrays[name]) for name in ("n_images", "last_image")}
        head = {"layer": layer.name, "n_units": layer.n_units, "activations": arrays["values"][part].ravel()}
        rows.append({**head, **counts, **listed})
        start += layer.n_units
    return rows


@METHODS
def test_a_class_of_unreadable_images_adds_nothing_and_is_no_loss(
    settings: Settings, in_twos, opened, folder: Path, tmp_path: Path
) -> None:
    pictures = Path(shutil.copytree(folder, tmp_path / "pictures"))
    for path in (pictures / CLASSES[2]).iterdir():
        path.write_bytes(b"nothing")
    run = opened(tmp_path / "store", settings, pictures)
    assert pipeline.complete_run(run) == "complete"
    assert run.store.read("class_runs", run.run_id, CLASSES[2])["status"][0] == "skipped"
    assert classes_of(tmp_path / "store") == [CLASSES]
    assert is_concluded(opened(tmp_path / "store", settings, pictures), CLASSES)


def test_what_is_missing_is_named(opened, tmp_path: Path) -> None:
    run = opened(tmp_path, EVIDENCE)
    pipeline.complete_run(run, CLASSES[:2])
    (merged,) = tmp_path.glob("parts/*_sums/*/*.parquet")
    gone(merged)
    summaries.forget(run)
    with pytest.raises(StoreError, match=r"2 classes have lost .* patch_sums .*c0, c1"):
        summaries.whole(run)
