"""Laws of prototypes over classes: sums are logits, patches are the strongest, and the order of shards is nothing."""

from functools import reduce
from pathlib import Path

import numpy as np
import pytest
import torch

from xvcore.errors import XvError
from xvcore.models import load
from xvcore.parameters import replaced
from xvcore.prototypes.method.measures import correlation, covered, purity, rv_coefficient, sparsity
from xvcore.prototypes.method.pooling import Peaks, peaks
from xvcore.prototypes.method.strongest_patches import NOBODY, StrongestPatches
from xvcore.prototypes.settings import Disentangle, Prototypes
from xvcore.runs.images import passed_images, pictures
from xvcore.runs.pipeline import complete_class, complete_run, gather
from xvcore.runs.run import Run, RunSpec, announce, open_run

DATASET = "partbirds?classes=3&images=8"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = replaced(Disentangle(), {"recipe.epochs": 3, "recipe.rotation_rate": 0.05, "recipe.learning_rate": 0.05})
    store = tmp_path_factory.mktemp("heads")
    spec = RunSpec(dataset=DATASET, model="partbirds_narrow@random?classes=7", store=str(store), settings=settings)
    run = open_run(spec)
    assert complete_run(run) == "complete"
    return next(store.rglob("seed-0.pt"))


def opened(weights: Path, folder: Path, **changes: object) -> Run:
    settings = replaced(Prototypes(), {"n_patches": 3, "n_measured": 3, **changes})
    return open_run(
        RunSpec(dataset=DATASET, model=f"infodisent@{weights}", store=str(folder), settings=settings, batch_size=3)
    )


@pytest.fixture(scope="module")
def done(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = opened(weights, tmp_path_factory.mktemp("store"))
    assert complete_run(run) == "complete"
    return run


def read(run: Run, table: str):
    import pandas as pd

    return pd.concat(
        [run.store.read(table, run.run_id, each) for each in run.store.classes_of(table, run.run_id)], ignore_index=True
    )


def test_contributions_sum_to_the_logit_of_the_network(done: Run) -> None:
    decisions = read(done, "prototype_decisions")
    assert decisions["sum_error"].abs().max() < 1e-5
    for _, row in decisions.iterrows():
        image = pictures(done, row["class_id"], [row["image_id"]])
        logit = done.classifier.logits(image)[0, row["target_idx"]].item()
        assert np.sum(row["contributions"], dtype=np.float64) + row["bias"] == pytest.approx(logit, abs=1e-4)
    rows = read(done, "prototype_contributions")
    shown = rows.groupby(["image_id", "target_idx"])["contribution"].sum()
    whole = decisions.set_index(["image_id", "target_idx"])
    total = shown + whole["rest"] + whole["bias"]
    np.testing.assert_allclose(total, whole["logit"].reindex(total.index), atol=1e-4)
    assert np.allclose(rows["contribution"], rows["weight"] * rows["value"], atol=1e-5)
    assert np.allclose(rows["value"], rows["positive"] - rows["negative"], atol=1e-5)


def test_boxes_are_there_where_a_side_speaks(done: Run) -> None:
    rows = read(done, "prototype_contributions")
    for side in ("positive", "negative"):
        assert (rows[f"{side}_x"].notna() == (rows[side] > 0)).all()
        boxes = rows.loc[rows[side] > 0, [f"{side}_{edge}" for edge in "xywh"]].astype(float)
        assert (boxes >= 0).all().all()
        assert set(boxes[f"{side}_w"]) <= {8}


def test_patches_are_the_strongest_one_an_image_of_a_literal_search(done: Run) -> None:
    values, names = [], []
    for info in done.dataset.classes:
        ids = passed_images(done, info.class_id)
        normalised = done.classifier.preprocessing.normalise(pictures(done, info.class_id, ids))
        values.append(done.classifier.network.head.turned(done.classifier.network.maps(normalised)).detach())
        names += ids
    every = torch.cat(values)
    for side, sign in (("positive", 1), ("negative", -1)):
        table = done.store.read("prototypes", done.run_id, side)
        for prototype, rows in table.groupby("prototype"):
            best = (sign * every[..., int(prototype)]).amax(dim=1)
            expected = best.sort(descending=True).values[:3]
            np.testing.assert_allclose(rows.sort_values("position")["value"], expected[expected > 0], rtol=1e-4)
            assert rows["image_id"].is_unique
            row = rows.iloc[0]
            place = int((sign * every[names.index(row["image_id"]), :, int(prototype)]).argmax())
            assert (row["y"] // 8, row["x"] // 8) == divmod(place, 16)
            assert row["field_w"] > row["w"]


def test_order_of_classes_does_not_matter(done: Run, weights: Path, tmp_path: Path) -> None:
    run = opened(weights, tmp_path)
    classes = [info.class_id for info in run.dataset.classes]
    announce(run, classes)
    for class_id in reversed(classes):
        complete_class(run, class_id)
    gather(run)
    for table in ("prototypes", "prototype_weights", "prototype_parts"):
        assert read(run, table).equals(read(done, table)), table


def test_measures_have_a_value_and_a_control(done: Run) -> None:
    rows = read(done, "prototype_measures").set_index("measure")
    always = ["purity", "correlation", "rv", "removal", "part_purity", "completeness"]
    assert {"sum_error", "active", "correctness", "contrastivity", *always} <= set(rows.index)
    assert rows.loc[["sum_error", "active", *always], "value"].notna().all()
    assert rows.loc[always, "control"].notna().all()
    scores = rows.loc[["correctness", "completeness", "contrastivity"], ["value", "control"]].stack()
    assert scores.between(0, 1).all()


def test_weights_are_not_negative_and_fall(done: Run) -> None:
    for _, rows in read(done, "prototype_weights").groupby("class_id"):
        assert (rows["weight"] > 0).all()
        assert rows.sort_values("position")["weight"].is_monotonic_decreasing


def test_a_network_without_prototypes_is_refused(tmp_path: Path) -> None:
    spec = RunSpec(
        dataset=DATASET, model="partbirds_narrow@random?classes=7", store=str(tmp_path), settings=Prototypes()
    )
    from xvcore.prototypes.networks import disentangled

    with pytest.raises(XvError, match="has no prototypes: expected infodisent@FILE"):
        disentangled(open_run(spec).classifier)
    assert disentangled(load("infodisent@random"))


def drawn_peaks(seed: int, n: int) -> Peaks:
    generator = torch.Generator().manual_seed(seed)
    return peaks(torch.randint(-3, 4, (n, 5, 4), generator=generator).float())


def test_merging_commutes_and_associates_also_with_ties() -> None:
    parts = [
        StrongestPatches.of_batch(drawn_peaks(seed, 4), torch.arange(4 * seed, 4 * seed + 4), 3) for seed in range(3)
    ]
    whole = [
        reduce(StrongestPatches.merge, [parts[place] for place in order]) for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0))
    ]
    whole.append(parts[0].merge(parts[1].merge(parts[2])))
    for each in whole[1:]:
        assert list(each.rows()) == list(whole[0].rows())
    assert all(patch.value > 0 and patch.image != NOBODY for patch in whole[0].rows())
    with pytest.raises(XvError, match="seen once"):
        whole[0].merge(parts[0])


def test_sparsity_counts_what_it_says() -> None:
    contributions = torch.tensor([[3.0, -0.5, 0.1, 0.0], [0.0, 0.0, 0.0, 0.0]])
    found = sparsity(contributions, contributions.sum(dim=1), 0.2)
    assert found.above.tolist() == [2, 0]
    assert found.above_share.tolist()[0] == 1
    assert found.needed.tolist() == [1, 1]  # 3.0 is within a fifth of 2.6


def test_measures_know_the_clear_cases() -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.rand(20, 9, 1, generator=generator)
    assert correlation(one.expand(-1, -1, 4)) == pytest.approx(1)
    assert rv_coefficient(one.expand(-1, -1, 4)) == pytest.approx(1)
    pure = torch.zeros(2, 9, 3)
    pure[:, 0, 0], pure[:, 1, 1], pure[:, 2, 2] = 1, 2, 3
    assert purity(pure).min() == 1
    assert rv_coefficient(torch.randn(20, 9, 4, generator=generator)) < 0.6
    images = torch.rand(2, 3, 8, 8, generator=generator)
    gone = covered(images, torch.tensor([[0.0, 0, 4, 8], [4, 0, 4, 4]]))
    assert torch.equal(gone[0, :, :, 4:], images[0, :, :, 4:])
    torch.testing.assert_close(
        gone[0, :, :, :4], images[0].mean(dim=(1, 2), keepdim=False)[:, None, None].expand(3, 8, 4)
    )
