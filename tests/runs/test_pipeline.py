"""Laws of a run: every image has its row, what is done is not done again, and nothing depends on how it came about."""

import dataclasses
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from xvcore.data import open_dataset
from xvcore.errors import LabelError, XvError
from xvcore.ops import margin_descent
from xvcore.parameters import replaced
from xvcore.runs import pipeline
from xvcore.runs.run import RunSpec, announce, chosen_classes, conclude, open_run
from xvcore.runs.stage import pipelines
from xvcore.store import SCHEMAS, Store
from xvcore.visual_summaries.method.proposals import SelectiveSearch
from xvcore.visual_summaries.settings import VisualSummaries
from xvcore.visual_summaries.stages import draft
from xvcore.visual_summaries.stages.propose import proposals_id

STAGES = pipelines["visual-summaries"].stages
QUICK = {
    "skip_misclassified": "false",
    "mask.smooth_steps": "12",
    "mask.crisp_steps": "8",
    # A random network gives no reason to remove anything: without a price of area the initial disc stays removed.
    "least_drop": "none",
    "mask.smooth_area_weight": "0",
    "mask.crisp_area_weight": "0",
    "mask.crisp_variation_weight": "0",
    "proposals.n_boxes": "60",
    "pruning.coverage": "0.3",
}


def spec(store: Path, **changes: object) -> RunSpec:
    given = RunSpec(
        dataset="partbirds?classes=2&images=4",
        model="partbirds_narrow@random?classes=3",
        store=str(store),
        settings=replaced(VisualSummaries(), QUICK),
        class_map=tuple((info.class_id, str(info.class_idx)) for info in open_dataset("partbirds?classes=2").classes),
        batch_size=3,
    )
    return dataclasses.replace(given, **changes)


def summarised(spec: RunSpec, n_classes: int = 1) -> tuple[str, list[str]]:
    run = open_run(spec)
    class_ids = [info.class_id for info in run.dataset.classes[:n_classes]]
    announce(run, class_ids)
    for class_id in class_ids:
        pipeline.complete_class(run, class_id)
    conclude(run)
    return run.run_id, class_ids


def tables(store: Path, run_id: str, class_ids: list[str]) -> dict[tuple[str, str], pd.DataFrame]:
    opened = Store(store)
    names = [stage.table for stage in STAGES if stage.table] + ["manifest", "similarity", "regions"]
    return {(name, each): opened.read(name, run_id, each) for name in names for each in class_ids}


def assert_equal(one: dict[tuple[str, str], pd.DataFrame], other: dict[tuple[str, str], pd.DataFrame]) -> None:
    assert one.keys() == other.keys()
    for key, frame in one.items():
        pd.testing.assert_frame_equal(frame, other[key], obj=str(key))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[str]]:
    store = tmp_path_factory.mktemp("store")
    return store, *summarised(spec(store))


def test_every_image_has_its_rows_and_the_record_counts_them(done) -> None:
    store, run_id, (class_id,) = done
    opened = Store(store)
    record = opened.read("class_runs", run_id, class_id).iloc[0]
    assert record["status"] == "complete"
    assert record["n_images"] == record["n_masks"] == 4
    masks = opened.read("masks", run_id, class_id)
    assert sorted(masks["kind"]) == ["sharp"] * 4 + ["smooth"] * 4
    assert record["n_regions"] == len(opened.read("regions", run_id, class_id)) > 0
    assert opened.runs().iloc[0]["status"] == "complete"


def test_summaries_parts_drops_and_counts_of_a_class_agree(done) -> None:
    store, run_id, (class_id,) = done
    opened = Store(store)
    record = opened.read("class_runs", run_id, class_id).iloc[0]
    clusters = opened.read("clusters", run_id, class_id)
    accepted = clusters[clusters["accepted"].astype(bool)]
    n = len(accepted)
    for column in ("distinct_part", "greedy_rank", "joint_gain", "random_drop", "above_random"):
        assert clusters[column].notna().tolist() == clusters["accepted"].tolist(), column
    assert record["n_parts"] == accepted["distinct_part"].nunique() <= n
    assert sorted(accepted["greedy_rank"]) == list(range(1, n + 1))
    drops = opened.read("summary_drops", run_id, class_id)
    assert drops["kind"].value_counts().to_dict() == ({"alone": n, "greedy": n, "joint": 1} if n else {})
    regions = opened.read("regions", run_id, class_id)
    asked = regions[regions["prob_drop"].notna()]
    assert asked["random_drop"].notna().all()
    alone = drops[drops["kind"] == "alone"].set_index("cluster_id")["prob_drop"]
    assert asked.groupby("cluster_id")["prob_drop"].median().to_dict() == pytest.approx(alone.to_dict())
    assert not asked.duplicated(["cluster_id", "image_id"]).any()
    if n:
        last = drops[drops["kind"] == "greedy"].sort_values("step").iloc[-1]
        joint = drops[drops["kind"] == "joint"].iloc[0]
        assert last["prob_drop"] == pytest.approx(joint["prob_drop"])
    counts = opened.read("part_counts", run_id, class_id)
    whole = counts[counts["is_whole"]]
    assert whole[["n_summaries", "n_parts"]].to_numpy().tolist() == [[n, record["n_parts"]]]
    assert counts["n_images"].max() == whole["n_images"].iloc[0] <= record["n_masks"]


def test_the_record_says_how_fast_it_was_and_on_what(done) -> None:
    store, run_id, (class_id,) = done
    record = Store(store).read("class_runs", run_id, class_id).iloc[0]
    times = json.loads(record["seconds_by_stage"])
    assert list(times) == sorted(stage.verb for stage in STAGES)
    assert record["seconds"] == pytest.approx(sum(times.values()))
    assert record["images_per_second"] == pytest.approx(4 / sum(times.values()))
    is_cuda = torch.cuda.is_available()
    assert record["device"].startswith("cuda: " if is_cuda else "cpu: ")
    assert (record["gpu_bytes"] > 0) if is_cuda else pd.isna(record["gpu_bytes"])


def test_where_nothing_was_computed_there_is_no_speed(done, tmp_path: Path) -> None:
    store, run_id, (class_id,) = done
    shutil.copytree(store, tmp_path / "copy")
    run = open_run(spec(tmp_path / "copy"))
    run.store.remove("class_runs", run_id, class_id)
    pipeline.begin(run, class_id)
    for verb in ("predict", "mask", "match", "summarise", "locate_parts"):
        assert pipeline.run_stage(run, class_id, verb) is None, "its table is there"
    pipeline.finish(run, class_id)
    record = run.store.read("class_runs", run_id, class_id).iloc[0]
    assert (record["status"], record["n_images"], record["seconds_by_stage"]) == ("complete", 4, "{}")
    assert pd.isna(record["images_per_second"])
    assert record["device"] is None


def test_a_record_that_was_written_before_speed_was_measured_is_read_and_gone_on_with(done, tmp_path: Path) -> None:
    store, run_id, (class_id,) = done
    shutil.copytree(store, tmp_path / "copy")
    run = open_run(spec(tmp_path / "copy"))
    (path,) = (tmp_path / "copy").glob("parts/class_runs/*/*.parquet")
    kept = pq.read_table(path)
    pq.write_table(kept.drop_columns(["images_per_second", "gpu_bytes", "device"]), path)
    record = run.store.read("class_runs", run_id, class_id).iloc[0]
    assert record["device"] is None
    assert pd.isna(record["images_per_second"])
    assert pd.isna(record["gpu_bytes"])
    assert pipeline.is_complete(run, class_id)
    run.store.publish(run_id)
    pipeline.begin(run, class_id)
    assert pipeline.finish(run, class_id)["images_per_second"] > 0


def test_running_again_computes_nothing(done, monkeypatch: pytest.MonkeyPatch) -> None:
    store, run_id, (class_id,) = done
    before = {path: path.stat().st_mtime_ns for path in (store / "parts").rglob("masks/**/*.parquet")}
    run = open_run(spec(store))
    assert run.run_id == run_id
    assert pipeline.is_complete(run, class_id)
    pipeline.complete_class(run, class_id)
    assert before == {path: path.stat().st_mtime_ns for path in (store / "parts").rglob("masks/**/*.parquet")}


def test_batch_size_and_interruption_do_not_move_the_numbers(done, tmp_path: Path) -> None:
    store, run_id, class_ids = done
    other = spec(tmp_path, batch_size=2)
    run = open_run(other)
    assert run.run_id == run_id
    announce(run, class_ids)
    pipeline.begin(run, class_ids[0])
    for stage in STAGES[:4]:  # stopped after some stages, then resumed
        pipeline.run_stage(run, class_ids[0], stage.verb)
    summarised(other)
    one, two = tables(store, run_id, class_ids), tables(tmp_path, run_id, class_ids)
    key = ("masks", class_ids[0])
    pd.testing.assert_series_equal(one[key]["area_frac"], two[key]["area_frac"], atol=2e-3)
    assert list(one["predictions", class_ids[0]]["sha256"]) == list(two["predictions", class_ids[0]]["sha256"])


def test_masks_found_before_a_kill_are_not_computed_again(done, tmp_path: Path) -> None:
    store, run_id, (class_id, *_) = done
    run = open_run(spec(tmp_path))
    announce(run, [class_id])
    pipeline.begin(run, class_id)
    pipeline.run_stage(run, class_id, "predict")

    class Killed(BaseException):
        pass

    def killed_after_a_batch(n_done: int, _total: int) -> None:
        if n_done == 3:
            raise Killed

    with pytest.raises(Killed):
        pipeline.run_stage(run, class_id, "mask", killed_after_a_batch)
    seen: list[int] = []
    pipeline.run_stage(run, class_id, "mask", lambda n_done, _total: seen.append(n_done))
    assert seen == [4]
    assert not run.store.has("masks_so_far", run_id, class_id)
    pd.testing.assert_frame_equal(*(each.read("masks", run_id, class_id) for each in (Store(store), run.store)))


@pytest.mark.parametrize("at", [7, 14, 19])
def test_a_kill_in_the_middle_of_a_batch_of_masks_costs_no_more_than_the_steps_of_one_image(
    done, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, run_id, (class_id, *_) = done
    run = open_run(spec(tmp_path))
    announce(run, [class_id])
    pipeline.begin(run, class_id)
    pipeline.run_stage(run, class_id, "predict")
    monkeypatch.setattr(draft, "LEAST_SECONDS", 0)
    monkeypatch.setattr(draft, "MOST_TIME", 1e9)
    taken: list[int] = []
    look = margin_descent._Planes.look

    class Killed(BaseException):
        pass

    def looks(planes: object, *given: object) -> None:
        if len(taken) == at:
            raise Killed
        taken.append(1)
        look(planes, *given)

    monkeypatch.setattr(margin_descent._Planes, "look", looks)
    with pytest.raises(Killed):
        pipeline.run_stage(run, class_id, "mask")
    assert run.store.has("masks_begun", run_id, class_id)
    assert not run.store.has("masks_so_far", run_id, class_id)
    monkeypatch.setattr(margin_descent._Planes, "look", lambda *given: (taken.append(1), look(*given))[1])
    pipeline.run_stage(run, class_id, "mask")
    total, batch_size = 12 + 8, 3
    assert 2 * total < len(taken) <= 2 * total + total / batch_size + 1, "two batches, and what was lost"
    assert not run.store.has("masks_begun", run_id, class_id)
    pd.testing.assert_frame_equal(*(each.read("masks", run_id, class_id) for each in (Store(store), run.store)))


def test_masks_that_do_not_reach_their_drop_say_so_and_feed_no_summary(done, tmp_path: Path) -> None:
    settings = replaced(VisualSummaries(), {**QUICK, "least_drop": "0.999"})
    run_id, (class_id,) = summarised(spec(tmp_path, settings=settings))
    store = Store(tmp_path)
    masks = store.read("masks", run_id, class_id)
    assert masks["reached"].tolist() == (masks["prob_drop"] >= 0.999).tolist()
    assert not masks["reached"].any()
    assert store.read("candidates", run_id, class_id).empty
    record = store.read("class_runs", run_id, class_id).iloc[0]
    assert (record["status"], record["n_masks"], record["n_regions"], record["n_summaries"]) == ("complete", 4, 0, 0)
    url, other_id, _ = done
    fed = Store(url).read("masks", other_id, class_id)
    assert fed["reached"].all(), "without a least drop every mask feeds summaries"
    assert set(fed["stopped"]) == {"steps"}
    sharp = fed[fed["kind"] == "sharp"]
    pd.testing.assert_series_equal(sharp["drop_blur_weak"], sharp["prob_drop"], check_names=False, atol=1e-6)
    assert sharp["objective"].notna().all()


def test_a_second_network_finds_the_proposals_cached(done) -> None:
    store, _, (class_id,) = done
    first = open_run(spec(store))
    second = open_run(spec(store, model="partbirds_wide@random?classes=3"))
    assert proposals_id(first) == proposals_id(second)
    announce(second, [class_id])
    pipeline.begin(second, class_id)
    for verb in ("predict", "mask"):
        pipeline.run_stage(second, class_id, verb)
    assert pipeline.run_stage(second, class_id, "propose") == 0


def test_a_broken_image_is_a_row_with_its_error_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "pictures" / "thing"
    folder.mkdir(parents=True)
    drawn = np.random.default_rng(0)
    for index in range(3):
        Image.fromarray(drawn.integers(0, 255, (90, 120, 3), np.uint8)).save(folder / f"{index}.png")
    (folder / "3.jpg").write_bytes(b"no picture at all")
    broken = spec(tmp_path / "store", dataset=f"imagefolder:{tmp_path / 'pictures'}", class_map=(("thing", "0"),))
    run_id, _ = summarised(broken)
    rows = Store(tmp_path / "store").read("predictions", run_id, "thing")
    assert list(rows["image_id"].str[-5:]) == ["0.png", "1.png", "2.png", "3.jpg"]
    assert rows["error"].notna().tolist() == [False, False, False, True]
    record = Store(tmp_path / "store").read("class_runs", run_id, "thing").iloc[0]
    assert (record["n_images"], record["n_errors"], record["n_masks"]) == (4, 1, 3)


def test_a_class_without_an_image_past_the_gate_is_skipped_and_says_so(tmp_path: Path) -> None:
    settings = replaced(VisualSummaries(), {**QUICK, "skip_misclassified": "true", "max_images": "2"})
    classes = open_dataset("partbirds?classes=2").classes
    # All classes are mapped to the output that the random network gives least.
    for output in range(3):
        other = spec(tmp_path / str(output), settings=settings, class_map=((classes[0].class_id, str(output)),))
        run_id, class_ids = summarised(other)
        record = Store(tmp_path / str(output)).read("class_runs", run_id, class_ids[0]).iloc[0]
        rows = Store(tmp_path / str(output)).read("predictions", run_id, class_ids[0])
        if not rows["correct"].any():
            assert record["status"] == "skipped"
            assert record["error"] == "no image passed the gate"
            assert list(rows["skipped"]) == ["misclassified"] * 2
            return
    pytest.fail("the random network puts two images into all three outputs")


def test_a_failure_is_recorded_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(spec(tmp_path))
    class_id = run.dataset.classes[0].class_id
    announce(run, [class_id])

    def fails(*_: object) -> int:
        raise XvError("the disk is full")

    stages = [dataclasses.replace(stage, work=fails) if stage.verb == "match" else stage for stage in STAGES]
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "stages_of", lambda _: tuple(stages))
        with pytest.raises(XvError, match="disk is full"):
            pipeline.complete_class(run, class_id)
    record = run.store.read("class_runs", run.run_id, class_id).iloc[0]
    assert (record["status"], record["error"]) == ("failed", "XvError: the disk is full")
    assert conclude(run) == "failed"
    assert pipeline.complete_class(run, class_id)["status"] == "complete"
    assert run.store.read("class_runs", run.run_id, class_id).iloc[0]["attempt"] == 2


@pytest.fixture
def greedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], tuple[list[int], int | None]]:
    """Runs a stage that does not fit the memory above a batch size; gives the sizes tried and what it counted."""

    def tried(batch_size: int, most: int) -> tuple[list[int], int | None]:
        seen: list[int] = []

        def hungry(run, *_: object) -> int:
            seen.append(run.spec.batch_size)
            if run.spec.batch_size > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return 7

        monkeypatch.setattr(pipeline, "stages_of", lambda _: (dataclasses.replace(STAGES[0], work=hungry),))
        run = open_run(spec(tmp_path, batch_size=batch_size))
        class_id = run.dataset.classes[0].class_id
        announce(run, [class_id])
        pipeline.begin(run, class_id)
        try:
            return seen, pipeline.run_stage(run, class_id, STAGES[0].verb)
        except torch.OutOfMemoryError:
            return seen, None

    return tried


def test_out_of_gpu_memory_a_stage_is_done_with_half_the_batch_size(greedy, caplog) -> None:
    with caplog.at_level(logging.WARNING, "xvcore"):
        assert greedy(12, 4) == ([12, 6, 3], 7)
    name = open_dataset("partbirds?classes=2").classes[0].class_id
    assert [record.getMessage() for record in caplog.records] == [
        f"partbirds_narrow {name}: predict: out of GPU memory with a batch size of {size}; again with {half}"
        for size, half in ((12, 6), (6, 3))
    ]


def test_what_does_not_fit_image_by_image_is_an_error(greedy) -> None:
    assert greedy(5, 0) == ([5, 2, 1], None)


def test_classes_are_chosen_by_id_or_name_and_outputs_must_be_known() -> None:
    dataset = open_dataset("partbirds?classes=2")
    first = dataset.classes[0]
    assert chosen_classes(dataset, [first.class_id]) == chosen_classes(dataset, [first.class_name]) == (first,)
    assert chosen_classes(dataset, []) == dataset.classes
    with pytest.raises(XvError, match="unknown class 'b99'"):
        chosen_classes(dataset, ["b99"])
    with pytest.raises(LabelError):
        open_run(spec(Path("nowhere"), class_map=())).target(first.class_id)


def test_every_table_a_stage_writes_has_a_schema() -> None:
    assert all(stage.table in SCHEMAS for stage in STAGES if stage.table)


WORKER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_pipeline import spec, summarised
summarised(spec(Path(sys.argv[1])), n_classes=2)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_killed_at_random_moments_and_restarted_the_tables_are_the_same(tmp_path: Path) -> None:
    undisturbed, disturbed = tmp_path / "one", tmp_path / "two"
    command = [sys.executable, "-c", WORKER]
    here = str(Path(__file__).parent)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = time.monotonic()
    subprocess.run([*command, str(undisturbed), here], check=True, env=environment)
    whole = time.monotonic() - started
    run = open_run(spec(undisturbed))
    class_ids = [info.class_id for info in run.dataset.classes[:2]]
    moments = random.Random(0)
    n_kills = 0
    while n_kills < 20:
        process = subprocess.Popen([*command, str(disturbed), here], env=environment)
        try:
            process.wait(timeout=moments.uniform(0.2, 1.0) * whole)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            n_kills += 1
        else:  # came through, resumed from its kills: compare, and start anew
            assert process.returncode == 0
            assert_equal(*(tables(each, run.run_id, class_ids) for each in (undisturbed, disturbed)))
            shutil.rmtree(disturbed)
        for path in disturbed.rglob("*.parquet"):
            pd.read_parquet(path)  # a torn file would raise
    subprocess.run([*command, str(disturbed), here], check=True, env=environment)
    assert_equal(*(tables(each, run.run_id, class_ids) for each in (undisturbed, disturbed)))


class Watched(SelectiveSearch):
    """Notes in which threads pictures are searched."""

    threads: ClassVar[set[str]] = set()

    def __call__(self, picture: np.ndarray) -> torch.Tensor:
        self.threads.add(threading.current_thread().name)
        return super().__call__(picture)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_regions_are_searched_in_as_many_threads_as_the_run_was_given(tmp_path: Path, n_threads: int) -> None:
    settings = replaced(VisualSummaries(), {**QUICK, "mask.smooth_steps": "1", "mask.crisp_steps": "1"})
    run = open_run(spec(tmp_path, settings=dataclasses.replace(settings, proposals=Watched(n_boxes=60))))
    class_id = run.dataset.classes[0].class_id
    announce(run, [class_id])
    pipeline.begin(run, class_id)
    before = torch.get_num_threads()
    Watched.threads.clear()
    torch.set_num_threads(n_threads)
    try:
        for verb in ("predict", "mask", "propose"):
            pipeline.run_stage(run, class_id, verb)
    finally:
        torch.set_num_threads(before)
    assert 1 <= len(Watched.threads) <= n_threads
    assert all(name.startswith("propose") for name in Watched.threads)
