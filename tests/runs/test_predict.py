"""Laws of the stage that every method begins with: what it says of an image is what the scores say, or an error."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from xvcore.analyses.compare import compare
from xvcore.errors import ParameterError, XvError
from xvcore.models import Preprocessing, wrap
from xvcore.parameters import replaced
from xvcore.runs import pipeline
from xvcore.runs.images import frozen_manifest, pictures
from xvcore.runs.run import Run, RunSpec, announce, conclude, open_run
from xvcore.runs.stage import pipelines

CLASSES = ("one", "other")
QUICK = {"throughput.batch_size": "1", "throughput.n_batches": "1", "throughput.n_warm": "0"}


class Network(nn.Module):
    """Twenty random scores, passed through a function of scores and images."""

    function: Callable[[Tensor, Tensor], Tensor] = staticmethod(lambda scores, _: scores)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.head = nn.Linear(128, 20)

    def forward(self, images: Tensor) -> Tensor:
        return self.function(self.head(self.features(images)), images)


def drawn(folder: Path) -> str:
    """Draw noise of different brightness and return the dataset's address."""
    noise = np.random.default_rng(0)
    for index in range(8):
        path = folder / CLASSES[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(20 * index, 100 + 20 * index, (64, 64, 3), np.uint8)).save(path)
    return f"imagefolder:{folder}"


def run_of(
    store: Path,
    function: Callable[[Tensor, Tensor], Tensor] = lambda scores, _: scores,
    *,
    method: str = "accuracy",
    outputs: Sequence[int] = (0, 1),
) -> Run:
    """Open a run of a network of 20 outputs, of which two stand for the two classes."""
    classifier = wrap(Network(), preprocessing=Preprocessing((64, 64), None), name="mine")
    classifier.network.function = function
    settings = pipelines[method].settings()
    spec = RunSpec(
        dataset=drawn(store.parent / "images"),
        model="mine",
        store=str(store),
        settings=replaced(settings, QUICK) if method == "accuracy" else settings,
        class_map=tuple((class_id, str(output)) for class_id, output in zip(CLASSES, outputs, strict=True)),
        batch_size=3,
    )
    return open_run(spec, classifier)


def predicted(run: Run) -> pd.DataFrame:
    """Return the predictions of both classes."""
    announce(run, CLASSES)
    for class_id in CLASSES:
        pipeline.begin(run, class_id)
        pipeline.run_stage(run, class_id, "predict")
    parts = [run.store.read("predictions", run.run_id, class_id) for class_id in CLASSES]
    return pd.concat(parts, ignore_index=True)


def accuracy_of(run: Run) -> pd.Series:
    """Return the row of top-1 once the classes are finished."""
    for class_id in CLASSES:
        pipeline.finish(run, class_id)
    compare([run])
    rows = run.store.read("accuracy", run.run_id, run.store.classes_of("accuracy", run.run_id)[0])
    return rows[rows["k"] == 1].iloc[0]


def test_accuracy_is_the_share_of_the_correct_and_these_are_of_rank_one(tmp_path: Path) -> None:
    found = predicted(run_of(tmp_path / "some"))
    output = int(found["pred_idx"].mode().iloc[0])
    run = run_of(tmp_path / "own", outputs=(output, (output + 1) % 20))
    rows = predicted(run)
    assert (
        rows["correct"].tolist()
        == (rows["rank_target"] == 1).tolist()
        == (rows["pred_idx"] == rows["target_idx"]).tolist()
    )
    assert rows["correct"].any()
    assert accuracy_of(run)["accuracy"] == rows["correct"].astype(float).mean()


def test_a_collapsed_network_is_never_right(tmp_path: Path) -> None:
    run = run_of(tmp_path / "store", lambda scores, _: 0 * scores)
    rows = predicted(run)
    assert set(rows["target_idx"]) == {0, 1}
    assert (rows["rank_target"] == 20).all()
    assert not rows["correct"].any()
    assert accuracy_of(run)["accuracy"] == 0


def test_ranks_are_those_of_the_scores_where_probabilities_underflow(tmp_path: Path) -> None:
    small, large = (
        predicted(run_of(tmp_path / str(factor), lambda scores, _, factor=factor: factor * scores))
        for factor in (1, 1e5)
    )
    assert (large["prob_target"] == 0).all()
    assert large["rank_target"].tolist() == small["rank_target"].tolist()
    assert large["rank_target"].nunique() > 1


@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_an_image_of_outputs_that_are_not_finite_is_an_error_and_the_others_count(tmp_path: Path, value: float) -> None:
    def overflows(scores: Tensor, images: Tensor) -> Tensor:
        is_bright = images.mean(dim=(1, 2, 3)) > threshold
        return torch.where(is_bright[:, None] & (torch.arange(20) < 7), value, scores)

    whole = run_of(tmp_path / "whole")
    images = torch.cat(
        [pictures(whole, class_id, [row.image_id for row in frozen_manifest(whole, class_id)]) for class_id in CLASSES]
    )
    means = whole.classifier.preprocessing.normalise(images).mean(dim=(1, 2, 3)).sort().values
    threshold = float(means[3:5].mean())  # between two images: a mean is rounded otherwise in another layout
    before, run = predicted(whole), run_of(tmp_path / "some", overflows)
    rows = predicted(run)
    is_lost = rows["error"].notna()
    assert is_lost.sum() == 4
    assert set(rows["error"][is_lost]) == {"output not finite: 7 of 20 are NaN or infinite"}
    assert rows.loc[is_lost, ["pred_idx", "prob_pred", "rank_target", "correct"]].isna().all(axis=None)
    assert rows.loc[is_lost, ["width", "height"]].notna().all(axis=None)
    pd.testing.assert_frame_equal(rows[~is_lost].drop(columns="run_id"), before[~is_lost].drop(columns="run_id"))
    top = accuracy_of(run)
    assert (top["n_images"], top["n_errors"]) == (4, 4)
    records = [run.store.read("class_runs", run.run_id, class_id).iloc[0] for class_id in CLASSES]
    assert sum(record["n_errors"] for record in records) == 4


@pytest.mark.parametrize("method", ["visual-summaries", "evidence", "top-activations", "accuracy"])
def test_a_class_without_one_finite_output_fails_and_says_why(tmp_path: Path, method: str) -> None:
    run = run_of(tmp_path / "store", lambda scores, _: scores * torch.nan, method=method)
    class_id = CLASSES[0]
    announce(run, [class_id])
    for attempt in (1, 2):
        with pytest.raises(
            XvError, match=r"mine says nothing of any of the 4 images of .*: output not finite: 20 of 20"
        ):
            pipeline.complete_class(run, class_id)
        record = run.store.read("class_runs", run.run_id, class_id).iloc[0]
        assert (record["status"], record["attempt"]) == ("failed", attempt)
        assert "output not finite" in record["error"]
    rows = run.store.read("predictions", run.run_id, class_id)
    assert rows["error"].str.startswith("output not finite").all()
    assert len(rows) == 4
    assert conclude(run) == "failed"


def test_probabilities_instead_of_scores_fail_the_class(tmp_path: Path) -> None:
    run = run_of(tmp_path / "store")
    after_softmax = nn.Sequential(run.classifier.network, nn.Softmax(1))
    run = dataclasses.replace(run, classifier=dataclasses.replace(run.classifier, network=after_softmax))
    announce(run, [CLASSES[0]])
    with pytest.raises(ParameterError, match="mine returns probabilities"):
        pipeline.complete_class(run, CLASSES[0])
