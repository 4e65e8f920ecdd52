"""Sums of single drops and joint drops, where the answer is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from xvcore.analyses.questions.interactions import (
    InteractionCurve,
    InteractionTest,
    departure_figure,
    interaction_figure,
)
from xvcore.analyses.questions.scores import Sample
from xvcore.errors import ParameterError


class ProductOfQuarters(nn.Module):
    """Logit 0 is the product of the means of the upper left and the lower right quarter, logit 1 their sum."""

    def forward(self, images):
        half = images.shape[2] // 2
        a, b = images[..., :half, :half].mean(dim=(1, 2, 3)), images[..., half:, half:].mean(dim=(1, 2, 3))
        return torch.stack([a * b, a + b], dim=1)


def literal(classifier, image, target, boxes):
    """Remove regions by loops."""

    def logit(removed):
        picture, mean = image.clone(), image.mean(dim=(1, 2))
        for x, y, w, h in removed:
            picture[:, y : y + h, x : x + w] = mean[:, None, None]
        return classifier.logits(picture[None])[0, target].item()

    full = logit([])
    return sum(full - logit([box]) for box in boxes), full - logit(boxes)


@pytest.mark.parametrize("shape", [(32, 32), (30, 37)])
def test_the_drops_are_those_of_regions_removed_one_by_one(deep, make_images, shape):
    sample = Sample(make_images(2, *shape), torch.tensor([1, 3]))
    settings = InteractionTest(region_px=5, n_side=3, gaps_px=(0, 2, 6), n_placements=2)
    table, blocks = settings([deep], sample, batch_size=7), settings.blocks(sample).tolist()
    assert len(table) == len(blocks) == 2 * 3 * 2
    for row, boxes in zip(table.itertuples(), blocks, strict=True):
        found = literal(deep, sample.images[int(row.image_id)], row.target_idx, boxes)
        assert (row.sum_of_drops, row.joint_drop) == pytest.approx(found, abs=1e-12)


def test_regions_are_equally_far_from_their_neighbours_and_inside(make_images):
    sample = Sample(make_images(3, 40, 50))
    settings = InteractionTest(region_px=7, n_side=2, gaps_px=(0, 3, 26), n_placements=30)
    blocks = settings.blocks(sample).view(3, 3, 30, 4, 4)
    assert blocks[..., :2].min() == 0
    assert (blocks[..., 0] + 7).max() == 50
    assert (blocks[..., 1] + 7).max() == 40
    for index, gap in enumerate((0, 3, 26)):
        x, y = blocks[:, index, :, :, 0], blocks[:, index, :, :, 1]
        assert (x[..., 1] - x[..., 0] == 7 + gap).all()
        assert (y[..., 2] - y[..., 0] == 7 + gap).all()
    assert len(blocks[0, 0, :, 0, :2].unique(dim=0)) > 10


def test_nothing_interacts_in_a_linear_network(linear, make_images):
    table = InteractionTest(region_px=6, gaps_px=(0, 3, 20))([linear], Sample(make_images(4)))
    assert np.allclose(table["sum_of_drops"], table["joint_drop"], atol=1e-10)
    curves = InteractionCurve()(table)
    assert curves["correlation"].tolist() == pytest.approx([1, 1, 1])
    assert curves["low"].tolist() == pytest.approx([1, 1, 1])
    assert curves["departure"].max() < 1e-9
    assert curves["mean_drop"].min() > 1e-3


def test_a_sum_over_windows_is_additive_from_a_gap_of_the_window_less_one(convolutional, make_images):
    """Windows of 5 px: a gap of 3 still lets one window see two regions."""
    settings = InteractionTest(region_px=6, gaps_px=(1, 2, 3, 4, 5, 16), n_placements=8)
    curves = InteractionCurve()(settings([convolutional], Sample(make_images(4)))).set_index("gap_px")
    assert (curves.loc[[4, 5, 16], "departure"] < 1e-10).all()
    assert (curves.loc[[1, 2, 3], "departure"] > 1e-4).all()


def test_the_interaction_of_a_product_is_the_product_of_its_changes(make_classifier, make_images):
    classifier, sample = (
        make_classifier(ProductOfQuarters(), n_classes=2),
        Sample(make_images(3), torch.zeros(3).long()),
    )
    table = InteractionTest(region_px=10, gaps_px=(12,), n_placements=1)([classifier], sample)  # a block fills 32 px
    for index, row in enumerate(table.itertuples()):
        image = sample.images[index]
        without, mean = image.clone(), image.mean(dim=(1, 2))[:, None, None]
        for y in (0, 22):
            for x in (0, 22):
                without[:, y : y + 10, x : x + 10] = mean
        change = [(image - without)[:, part, part].mean().item() for part in (slice(0, 16), slice(16, 32))]
        assert abs(change[0] * change[1]) > 1e-7
        assert row.sum_of_drops - row.joint_drop == pytest.approx(change[0] * change[1], abs=1e-12)
    other = InteractionTest(region_px=10, gaps_px=(12,))([classifier], Sample(sample.images, torch.ones(3).long()))
    assert np.allclose(other["sum_of_drops"], other["joint_drop"], atol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_neither_the_size_nor_the_order_of_the_batch_matters(deep, make_images, batch_size):
    images, order, settings = make_images(4), [2, 0, 3, 1], InteractionTest(region_px=4, gaps_px=(0, 9))
    whole = settings([deep], Sample(images, image_ids=list("abcd")))
    parts = settings([deep], Sample(images[order], image_ids=[*"cadb"]), batch_size=batch_size)
    keys = ["image_id", "gap_px", "placement"]
    pd.testing.assert_frame_equal(*(t.sort_values(keys, ignore_index=True) for t in (whole, parts)), atol=1e-10)


def test_all_networks_see_the_same_blocks(linear, deep, make_images):
    table = InteractionTest(region_px=4, gaps_px=(0, 9))([linear, deep], Sample(make_images(2)))
    wide = table.pivot(index=["image_id", "gap_px", "placement"], columns="model", values=["x", "y"])
    assert (wide["x", "linear"] == wide["x", "deep"]).all()
    assert (wide["y", "linear"] == wide["y", "deep"]).all()


def table_of(sums, joints, images):
    columns = {"image_id": images, "sum_of_drops": sums, "joint_drop": joints}
    return pd.DataFrame(columns).assign(model="m", gap_px=3)


def test_the_correlation_is_pearsons_and_the_interval_is_that_of_resampled_images():
    generator = np.random.default_rng(1)
    joints, images = 1e3 + generator.normal(size=60), np.repeat(np.arange(12), 5)
    sums = joints + generator.normal(size=60)
    row = InteractionCurve(n_resamples=4000)(table_of(sums, joints, images)).iloc[0]
    assert row["correlation"] == pytest.approx(np.corrcoef(sums, joints)[0, 1], abs=1e-12)
    assert row["departure"] == pytest.approx(np.abs(sums - joints).sum() / np.abs(joints).sum())
    literal = []
    for _ in range(1500):
        chosen = np.concatenate([np.flatnonzero(images == each) for each in generator.integers(12, size=12)])
        literal.append(np.corrcoef(sums[chosen], joints[chosen])[0, 1])
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(literal, [0.025, 0.975])), abs=0.02)
    assert (row["n_images"], row["n_blocks"]) == (12, 60)


def test_drops_that_do_not_vary_have_no_correlation():
    row = InteractionCurve()(table_of([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], ["a", "b", "c"])).iloc[0]
    assert row[["correlation", "low", "high"]].isna().all()


def test_a_gap_that_does_not_fit_is_refused(linear, make_images):
    with pytest.raises(ParameterError, match="at most 20 fit"):
        InteractionTest(region_px=6, gaps_px=(0, 21))([linear], Sample(make_images(1)))


def test_figures_have_a_curve_for_each_network(linear, deep, make_images):
    curves = InteractionCurve()(InteractionTest(region_px=4, gaps_px=(0, 9))([linear, deep], Sample(make_images(3))))
    for figure in (interaction_figure(curves), departure_figure(curves)):
        assert figure.count("<polyline") == 2
        assert ">linear</text>" in figure


def test_no_images_give_an_empty_table(linear, make_images):
    table = InteractionTest(region_px=4, gaps_px=(0, 3))([linear], Sample(make_images(0)))
    assert len(table) == 0
    assert {"model", "image_id", "target_idx"} <= set(table.columns)
