"""Occlusion: one forward pass of a pasted square at a time is the oracle."""

import numpy as np
import pytest
import torch
from torch import nn

from xvcore.analyses.questions.occlusion import Occlusion
from xvcore.errors import ParameterError, UnknownNameError

TARGETS = torch.tensor([0, 3, 1])


def one_at_a_time(classifier, image, target, settings, layer, colour):
    """Paste a square, run the network, read the three numbers: image by image, position by position."""
    net = classifier.network
    padding = settings.window // 2 if settings.padding is None else settings.padding
    maps = net[: int(layer) + 1](classifier.preprocessing.normalise(image[None]))[0]
    unit = int((maps.amax((1, 2)) if settings.strongest == "max" else maps.sum((1, 2))).argmax())
    found, y = {}, -padding
    while y + settings.window <= image.shape[1] + padding:
        x = -padding
        while x + settings.window <= image.shape[2] + padding:
            pasted = image.clone()
            rows = [row for row in range(y, y + settings.window) if 0 <= row < image.shape[1]]
            columns = [column for column in range(x, x + settings.window) if 0 <= column < image.shape[2]]
            for row in rows:
                for column in columns:
                    pasted[:, row, column] = colour
            normalised = classifier.preprocessing.normalise(pasted[None])
            scores = net(normalised)[0]
            activation = net[: int(layer) + 1](normalised)[0, unit].sum()
            centre = (y + settings.window / 2, x + settings.window / 2)
            found[centre] = (float(activation), float(scores.softmax(0)[target]), int(scores.argmax()))
            x += settings.stride
        y += settings.stride
    return unit, found


@pytest.mark.parametrize(
    "settings",
    [
        Occlusion(window=7, stride=3),
        Occlusion(window=6, stride=5, padding=0, fill="value", grey=1.0, strongest="sum"),
        Occlusion(window=24, stride=8, padding=4, fill="image", layer="1"),
    ],
)
def test_maps_are_those_of_one_square_at_a_time(small, images, settings):
    maps = settings(small, images, TARGETS, batch_size=11)
    assert maps.layer == (settings.layer or "4")
    height, width = images.shape[2:]
    padding = settings.window // 2 if settings.padding is None else settings.padding
    sides = [(side + 2 * padding - settings.window) // settings.stride + 1 for side in (height, width)]
    assert settings.n_positions(height, width) == tuple(sides)
    frame = maps.positions(["a", "b", "c"])
    assert len(frame) == 3 * sides[0] * sides[1]
    for index, image_id in enumerate("abc"):
        mean = torch.tensor(small.preprocessing.mean, dtype=torch.float64)
        colour = {"training": mean, "value": torch.ones(3), "image": images[index].mean((1, 2))}[settings.fill]
        unit, expected = one_at_a_time(small, images[index], TARGETS[index], settings, maps.layer, colour)
        assert maps.unit[index] == unit
        rows = frame[frame["image_id"] == image_id]
        assert list(zip(rows["y"], rows["x"], strict=True)) == list(expected)
        seen = rows[["activation", "prob_target", "pred_idx"]].to_numpy(float)
        np.testing.assert_allclose(seen, np.array(list(expected.values())), rtol=1e-6, atol=1e-9)


def test_values_without_occlusion_are_those_of_a_plain_forward(small, images):
    maps = Occlusion(window=8, stride=8)(small, images, TARGETS)
    probabilities = small.probabilities(images)
    torch.testing.assert_close(maps.probability_full, probabilities.gather(1, TARGETS[:, None])[:, 0])
    assert torch.equal(maps.prediction_full, probabilities.argmax(1))
    features = small.network[:5](small.preprocessing.normalise(images))
    torch.testing.assert_close(maps.activation_full, features[torch.arange(3), maps.unit].sum((1, 2)))


def test_a_square_outside_the_image_changes_nothing(small, images):
    maps = Occlusion(window=4, stride=100, padding=4)(small, images, TARGETS)
    assert maps.probability.shape == (3, 1, 1)
    torch.testing.assert_close(maps.probability[:, 0, 0], maps.probability_full)
    torch.testing.assert_close(maps.activation[:, 0, 0], maps.activation_full)


def test_batch_size_does_not_decide_the_numbers(small, images):
    whole, single = (Occlusion(window=9, stride=6)(small, images, TARGETS, batch_size=size) for size in (512, 1))
    torch.testing.assert_close(whole.activation, single.activation)
    torch.testing.assert_close(whole.probability, single.probability)
    assert torch.equal(whole.prediction, single.prediction)


def test_the_map_is_lowest_where_the_evidence_was(classify):
    """A network that adds up the brightness: hiding the only bright spot costs most."""
    network = nn.Sequential(nn.Conv2d(3, 1, 1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * 12, 4))
    for parameter in network.parameters():
        parameter.data.zero_()
    network[0].weight.data.fill_(1.0)
    network[3].weight.data[2] = 0.01
    image = torch.zeros(1, 3, 24, 32)
    image[:, :, 5:9, 20:24] = 1
    maps = Occlusion(window=4, stride=1, fill="value", grey=0.0)(classify(network, (24, 32)), image, torch.tensor([2]))
    row = maps.images(["spot"]).iloc[0]
    assert (row["prob_min_y"], row["prob_min_x"]) == (7, 22)
    assert (row["activation_min_y"], row["activation_min_x"]) == (7, 22)
    assert row["prob_min"] < row["prob_target"]
    assert row["agreement"] > 0.5


def test_among_units_that_are_cut_at_the_same_height_the_widest_is_strongest(classify):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
    network[0].weight.data[:] = torch.tensor([0.0, 20.0, 40.0, 60.0])[:, None, None, None]
    network[0].bias.data[:] = torch.tensor([5.9, 0.0, 0.0, -1e3])
    images = torch.zeros(1, 3, 24, 32)
    images[:, :, :12] = torch.linspace(0, 1, 32)
    classifier = classify(network, (24, 32))
    for strongest, unit in (("max", 2), ("sum", 0)):
        settings = Occlusion(window=20, stride=20, padding=0, strongest=strongest)
        assert settings(classifier, images, torch.tensor([0])).unit.tolist() == [unit]


def test_what_does_not_fit_is_refused(small, images):
    with pytest.raises(ParameterError, match="does not fit"):
        Occlusion(window=30, padding=0)(small, images, TARGETS)
    with pytest.raises(ParameterError, match="expected maps"):
        Occlusion(window=8, layer="6")(small, images, TARGETS)
    with pytest.raises(UnknownNameError):
        Occlusion(window=8, layer="features")(small, images, TARGETS)
    with pytest.raises(ParameterError):
        Occlusion(stride=0)
