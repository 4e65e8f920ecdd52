"""Invariance: what is known of identity, whole shifts, quarter turns and networks that do not mind."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from xvcore.analyses.questions.invariance import Invariance
from xvcore.errors import UnknownNameError

TARGETS = torch.tensor([0, 3, 1])
COARSE = Invariance(shift_max=6, shift_step=3, scale_max=1.4, scale_step=0.2, rotation_max=270, rotation_step=90)


def test_the_amounts_are_those_of_the_paper():
    amounts = Invariance().amounts()
    assert amounts["translation"] == tuple(range(-60, 61))
    np.testing.assert_allclose(amounts["scale"], np.linspace(1, 1.8, 41))
    assert amounts["rotation"] == tuple(range(0, 351, 5))


def test_the_untouched_image_is_at_distance_zero(small, images):
    frame = COARSE(small, images, TARGETS, ["a", "b", "c"])
    still = frame[frame["amount"] == frame["transformation"].map({"translation": 0, "scale": 1, "rotation": 0})]
    assert len(still) == 3 * 3 * 2
    assert still["distance_relative"].max() < 1e-9
    probabilities = small.probabilities(images).gather(1, TARGETS[:, None])[:, 0]
    for index, image_id in enumerate("abc"):
        seen = still.loc[still["image_id"] == image_id, "prob_target"]
        np.testing.assert_allclose(seen, probabilities[index].item(), rtol=1e-6)
    moved = frame.drop(still.index)
    assert moved["distance"].min() > 1e-3


def test_distances_are_those_of_features_taken_by_hand(small, images):
    """Shift by pasting rows, turn by rot90: no interpolation."""
    frame = COARSE(small, images, TARGETS, ["a", "b", "c"], batch_size=3)  # the last layer, 6, has no maps
    assert set(frame["layer"]) == {"2", "6"}
    mean = torch.tensor(small.preprocessing.mean, dtype=torch.float64)[:, None, None]
    for index, image_id in enumerate("abc"):
        down, up = mean.expand(3, 24, 32).clone(), mean.expand(3, 24, 32).clone()
        down[:, 3:] = images[index, :, :-3]
        up[:, :-6] = images[index, :, 6:]
        pictures = {("translation", 3): down, ("translation", -6): up, ("rotation", 180): images[index].flip(1, 2)}
        of_image = frame[frame["image_id"] == image_id].set_index(["transformation", "amount", "layer"])
        for (kind, amount), picture in pictures.items():
            both = small.preprocessing.normalise(torch.stack([images[index], picture]))
            scores = small.network(both)[1]
            for layer in ("2", "6"):
                features = small.network[: int(layer) + 1](both).flatten(1)
                distance = (features[1] - features[0]).norm()
                row = of_image.loc[(kind, amount, layer)]
                assert row["distance"] == pytest.approx(distance.item(), rel=1e-6)
                assert row["distance_relative"] == pytest.approx((distance / features[0].norm()).item(), rel=1e-6)
                assert row["prob_target"] == pytest.approx(scores.softmax(0)[TARGETS[index]].item(), rel=1e-6)
                assert row["pred_idx"] == scores.argmax()


@pytest.mark.parametrize(("angle", "turns"), [(90, 1), (180, 2), (270, 3)])
def test_a_quarter_turn_is_counter_clockwise(angle, turns):
    square = torch.rand(2, 3, 20, 20, dtype=torch.float64)
    turned = Invariance().transformed(square, "rotation", float(angle))
    torch.testing.assert_close(turned, torch.rot90(square, turns, (2, 3)))


def test_what_turns_out_of_the_image_has_the_fill_colour():
    tall = torch.rand(1, 3, 40, 20, dtype=torch.float64)
    turned = Invariance(fill="value", grey=0.25).transformed(tall, "rotation", 90.0)
    torch.testing.assert_close(turned[:, :, :9], torch.full_like(turned[:, :, :9], 0.25))
    torch.testing.assert_close(turned[:, :, 10:30], torch.rot90(tall[:, :, 10:30], 1, (2, 3)))


def test_enlarging_twofold_shows_the_middle():
    ramp = torch.linspace(0, 1, 40, dtype=torch.float64)[None, None, :, None].expand(1, 3, 40, 40).contiguous()
    large = Invariance().transformed(ramp, "scale", 2.0)
    expected = 0.5 + (torch.arange(40, dtype=torch.float64) - 19.5) / 2 / 39
    torch.testing.assert_close(large[0, 0, :, 7], expected)


def test_a_network_that_averages_over_space_does_not_mind_turns(classify):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
    torch.manual_seed(1)
    square = torch.rand(1, 3, 20, 20, dtype=torch.float64)
    settings = Invariance(shift_max=0, scale_max=1, rotation_max=270, rotation_step=90, layers=("1", "3"))
    frame = settings(classify(network.double(), (20, 20)), square, torch.tensor([1]), ["a"])
    turned = frame[(frame["transformation"] == "rotation") & (frame["amount"] > 0)]
    assert turned.loc[turned["layer"] == "3", "distance_relative"].max() < 1e-6
    assert turned.loc[turned["layer"] == "1", "distance_relative"].min() > 0.1
    assert turned["prob_target"].std() < 1e-9


def test_only_the_last_layers_maps_are_averaged(small, images):
    settings = Invariance(shift_max=4, shift_step=4, scale_max=1, rotation_max=0, layers=("1", "2"))
    pooled = settings(small, images, TARGETS, ["a", "b", "c"])
    plain = replace(settings, is_last_pooled=False)(small, images, TARGETS, ["a", "b", "c"])
    is_last = pooled["layer"] == "2"
    pd.testing.assert_frame_equal(pooled[~is_last], plain[~is_last])
    moved = settings.transformed(images[:1], "translation", 4.0)
    maps = small.network[:3](small.preprocessing.normalise(torch.cat([images[:1], moved])))
    row = pooled[is_last & (pooled["amount"] == 4) & (pooled["image_id"] == "a")].iloc[0]
    assert row["distance"] == pytest.approx((maps.mean((2, 3))[1] - maps.mean((2, 3))[0]).norm().item())
    assert (plain.loc[is_last & (plain["amount"] == 4), "distance"] > 1.2 * row["distance"]).any()


def test_an_unknown_layer_is_refused(small, images):
    with pytest.raises(UnknownNameError, match="nine"):
        Invariance(layers=("nine",))(small, images, TARGETS, ["a", "b", "c"])
