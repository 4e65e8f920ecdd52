"""Shuffling keeps the patches, textures keep the statistics."""

import numpy as np
import pytest
import torch
from torch import nn

from xvcore.analyses.questions.scores import Sample
from xvcore.analyses.questions.scrambling import Scrambling, rearranged, scrambling_accuracy, scrambling_figure
from xvcore.analyses.questions.texture_synthesis import TextureSynthesis, grams
from xvcore.errors import ParameterError, UnknownNameError
from xvcore.ops.adam import Adam


def patches(image, side):
    """Every whole patch of the grid as a tuple of its numbers, sorted."""
    rows, columns = image.shape[1] // side, image.shape[2] // side
    corners = [(y * side, x * side) for y in range(rows) for x in range(columns)]
    return sorted(tuple(image[:, y : y + side, x : x + side].flatten().tolist()) for y, x in corners)


@pytest.mark.parametrize(("shape", "side"), [((32, 32), 16), ((32, 32), 8), ((32, 32), 1), ((30, 37), 7), ((9, 37), 9)])
def test_shuffling_keeps_the_multiset_of_patches_and_moves_some(make_images, shape, side):
    images = make_images(3, *shape)
    shuffled = Scrambling().shuffled(Sample(images), side)
    for before, after in zip(images, shuffled, strict=True):
        assert patches(before, side) == patches(after, side)
        assert not torch.equal(before, after)
    height, width = (length // side * side for length in shape)
    assert torch.equal(images[..., height:, :], shuffled[..., height:, :])
    assert torch.equal(images[..., width:], shuffled[..., width:])


def test_a_block_goes_where_the_order_says(make_images):
    images, orders = make_images(2, 10, 15), torch.tensor([[2, 0, 1, 5, 4, 3], [0, 3, 5, 1, 2, 4]])
    found = rearranged(images, orders, 5)
    for image in range(2):
        for place, block in enumerate(orders[image].tolist()):
            (y, x), (v, u) = divmod(place, 3), divmod(block, 3)
            moved = found[image, :, 5 * y : 5 * y + 5, 5 * x : 5 * x + 5]
            assert torch.equal(moved, images[image, :, 5 * v : 5 * v + 5, 5 * u : 5 * u + 5])


def test_two_blocks_always_change_places(make_images):
    images = make_images(20, 8, 16)
    shuffled = Scrambling().shuffled(Sample(images), 8)
    assert torch.equal(shuffled, torch.cat([images[..., 8:], images[..., :8]], dim=3))


def test_images_are_shuffled_each_in_its_own_way_by_name(make_images):
    image = make_images(1).expand(3, -1, -1, -1).contiguous()
    shuffled = Scrambling().shuffled(Sample(image, image_ids=["a", "b", "c"]), 4)
    assert not torch.equal(shuffled[0], shuffled[1])
    again = Scrambling().shuffled(Sample(image[:2], image_ids=["c", "a"]), 4)
    assert torch.equal(again, shuffled[[2, 0]])


def test_a_network_of_single_pixels_does_not_notice_and_a_deep_one_does(make_classifier, deep, make_images):
    torch.manual_seed(0)
    pixels = [nn.Conv2d(3, 9, 1), nn.ReLU(), nn.Conv2d(9, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    local = make_classifier(nn.Sequential(*pixels).double(), "local")
    sample = Sample(make_images(12))
    table = Scrambling((16, 8, 1))([local, deep], sample, batch_size=5)
    wide = table.pivot(index=["model", "image_id"], columns="condition", values="prob_target")
    assert np.allclose(wide.loc["local"].to_numpy(), wide.loc["local"][["whole"]].to_numpy(), atol=1e-12)
    assert (wide.loc["deep", "1 px"] - wide.loc["deep", "whole"]).abs().max() > 1e-3
    accuracy = scrambling_accuracy(table, ks=(1, 2)).set_index(["model", "condition"])
    assert (accuracy.loc["local", "top1"] == 1).all()
    assert accuracy.loc["local"].index.tolist() == ["whole", "16 px", "8 px", "1 px"]


def test_predictions_are_the_networks_and_others_are_a_condition_of_their_own(deep, make_images):
    images, targets, other = make_images(4), torch.tensor([0, 1, 2, 3]), make_images(4, seed=9)
    table = Scrambling((8,))([deep], Sample(images, targets), others={"texture": other}, batch_size=3)
    rows = table[table["condition"] == "texture"]
    probabilities = deep.probabilities(other)
    assert rows["pred_idx"].tolist() == probabilities.argmax(dim=1).tolist()
    assert rows["prob_target"].tolist() == pytest.approx(probabilities.diag().tolist())
    assert rows["rank_target"].tolist() == [
        1 + sum(float(p) > float(row[k]) for p in row) for k, row in enumerate(probabilities)
    ]
    assert (rows["correct"] == (rows["rank_target"] == 1)).all()
    assert table[table["condition"] == "8 px"]["block_px"].tolist() == [8] * 4
    figure = scrambling_figure(scrambling_accuracy(table))
    assert all(f">{name}</text>" in figure for name in ("whole", "8 px", "texture", "deep"))


def test_a_block_that_fits_once_is_refused(deep, make_images):
    with pytest.raises(ParameterError, match="fewer than two fit into 32 × 32 px"):
        Scrambling((17,))([deep], Sample(make_images(1)))


LAYERS = ("0", "2")


def test_gram_matrices_are_sums_over_places(deep, make_images):
    images = make_images(2)
    features = deep.network[2](torch.relu(deep.network[0](images)))
    found = grams(deep, images, LAYERS)[1]
    n, m = features.shape[1], features.shape[2] * features.shape[3]
    for image in range(2):
        for i in range(n):
            for j in range(n):
                expected = sum((features[image, i] * features[image, j]).flatten().tolist()) / (n * m)
                assert found[image, i, j].item() == pytest.approx(expected, abs=1e-10)


def test_a_texture_has_the_statistics_of_its_image_and_other_pixels(deep, make_images):
    images = make_images(2)
    images[:, :, :, 8:24] = images[:, :, :, 8:24] * 0.2  # not the noise's own statistics
    settings = TextureSynthesis(LAYERS, steps=150)
    textures = settings(deep, Sample(images))
    wanted = grams(deep, images, LAYERS)
    start = TextureSynthesis(LAYERS, steps=0)(deep, Sample(images))
    assert (settings.loss(deep, textures, wanted) < 0.01 * settings.loss(deep, start, wanted)).all()
    assert (textures - images).abs().mean() > 0.1
    assert textures.min() >= 0
    assert textures.max() <= 1


def test_a_texture_depends_on_name_and_image_not_on_its_batch(deep, make_images):
    images, settings = make_images(3), TextureSynthesis(LAYERS, steps=10, adam=Adam(learning_rate=0.05))
    whole = settings(deep, Sample(images, image_ids=list("abc")))
    parts = settings(deep, Sample(images[[2, 0]], image_ids=["c", "a"]), batch_size=1)
    assert torch.allclose(parts, whole[[2, 0]], atol=1e-9)
    assert not any(module._forward_hooks for module in deep.network.modules())


def test_a_layer_that_writes_in_place_behind_a_tapped_one_does_no_harm(make_classifier, make_images):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)]
    classifier = make_classifier(nn.Sequential(*layers).double())
    images = make_images(1)
    features = classifier.network[0](images).flatten(2)
    expected = features @ features.transpose(1, 2) / features[0].numel()
    assert torch.allclose(grams(classifier, images, ["0"])[0], expected)
    TextureSynthesis(("0",), steps=2)(classifier, Sample(images))


def test_layers_without_places_and_unknown_layers_are_refused(deep, make_images):
    with pytest.raises(ParameterError, match="layer 8 of deep gives"):
        TextureSynthesis(("8",), steps=1)(deep, Sample(make_images(1)))
    with pytest.raises(UnknownNameError, match=r"features\.1"):
        TextureSynthesis()(deep, Sample(make_images(1)))


def test_no_images_give_an_empty_table(linear, deep, make_images):
    table = Scrambling((8,))([linear], Sample(make_images(0)))
    assert len(table) == 0
    assert {"model", "image_id", "target_idx"} <= set(table.columns)
    assert TextureSynthesis(LAYERS)(deep, Sample(make_images(0))).shape == (0, 3, 32, 32)
