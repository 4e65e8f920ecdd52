"""What is lost when a square is removed at every place."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from xvcore.analyses.questions.scores import Sample
from xvcore.analyses.questions.spatial_sensitivity import SpatialSensitivity, agreement, mean_sensitivity
from xvcore.errors import ParameterError
from xvcore.ops.box_mask import inside


def test_the_loss_is_that_of_the_square_removed(deep, make_images):
    sample = Sample(make_images(2, 30, 34), torch.tensor([1, 2]))
    table = SpatialSensitivity(patch_px=9, stride_px=5)([deep], sample, batch_size=11)
    assert sorted(set(table["y"])) == [0, 5, 10, 15, 20]
    assert sorted(set(table["x"])) == [0, 5, 10, 15, 20, 25]
    assert len(table) == 2 * 30
    for row in table.itertuples():
        index = int(row.image_id)
        picture = sample.images[index].clone()
        mean = picture.mean(dim=(1, 2))[:, None, None]
        picture[:, row.y : row.y + 9, row.x : row.x + 9] = mean
        pair = torch.stack([sample.images[index], picture])
        logits, probs = (f(pair)[:, row.target_idx] for f in (deep.logits, deep.probabilities))
        expected = (logits[0] - logits[1]).item(), (probs[0] - probs[1]).item()
        assert (row.logit_drop, row.prob_drop) == pytest.approx(expected, abs=1e-12)


def test_squares_that_tile_a_linear_network_add_up_to_all_it_knows(linear, make_images):
    images = make_images(3)
    table = SpatialSensitivity(patch_px=8, stride_px=8)([linear], Sample(images, torch.zeros(3).long()))
    nothing = images.mean(dim=(2, 3), keepdim=True).expand_as(images).contiguous()
    lost = (linear.logits(images) - linear.logits(nothing))[:, 0]
    assert table.groupby("image_id")["logit_drop"].sum().tolist() == pytest.approx(lost.tolist(), abs=1e-10)


def test_agreement_is_spearmans_correlation_over_the_places_of_an_image(linear, deep, convolutional, make_images):
    settings = SpatialSensitivity(patch_px=8, stride_px=6)
    table = settings([linear, deep, convolutional], Sample(make_images(2), torch.tensor([0, 1])))
    found = agreement(table)
    assert len(found) == 3 * 2
    for row in found.itertuples():
        a, b = (
            table[(table["model"] == model) & (table["image_id"] == row.image_id)]["logit_drop"].to_numpy()
            for model in (row.model_a, row.model_b)
        )
        assert row.correlation == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
        assert row.n_places == 25
    same = pd.concat([table[table["model"] == "deep"], table[table["model"] == "deep"].assign(model="twin")])
    assert agreement(same)["correlation"].tolist() == pytest.approx([1, 1])


def test_a_network_that_does_not_depend_on_the_place_agrees_with_none():
    places = pd.DataFrame({"image_id": "a", "y": 0, "x": [0, 1, 2]})
    table = pd.concat([places.assign(model="m", logit_drop=1.0), places.assign(model="n", logit_drop=[1.0, 2.0, 3.0])])
    assert agreement(table)["correlation"].isna().all()


def test_the_mean_is_over_images(deep, make_images):
    table = SpatialSensitivity(patch_px=16, stride_px=16)([deep], Sample(make_images(3)))
    means = mean_sensitivity(table)
    expected = table["logit_drop"].to_numpy().reshape(3, 4).mean(axis=0)
    assert means["logit_drop"].tolist() == pytest.approx(expected.tolist())
    assert (means["n_images"] == 3).all()


def test_a_square_larger_than_the_image_is_refused(deep, make_images):
    with pytest.raises(ParameterError, match="larger than an image of 20 × 32 px"):
        SpatialSensitivity(patch_px=21)([deep], Sample(make_images(1, 20, 32)))


def test_pixels_inside_boxes_are_those_of_a_loop():
    boxes = torch.randint(-3, 12, (6, 4, 4), generator=torch.Generator().manual_seed(3))
    expected = np.zeros((6, 1, 9, 11), bool)
    for row in range(6):
        for x, y, w, h in boxes[row].tolist():
            for i in range(9):
                for j in range(11):
                    expected[row, 0, i, j] |= y <= i < y + h and x <= j < x + w
    assert inside(boxes, (9, 11)).numpy().tolist() == expected.tolist()
    assert expected.any()
    assert not expected.all()


def test_no_images_give_an_empty_table(linear, make_images):
    table = SpatialSensitivity()([linear], Sample(make_images(0)))
    assert len(table) == 0
    assert {"model", "image_id", "target_idx"} <= set(table.columns)
