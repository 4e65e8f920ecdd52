"""Removing the patches that count first."""

import numpy as np
import pandas as pd
import pytest
import torch

from xvcore.analyses.questions.attributions import Gradient, IntegratedGradients
from xvcore.analyses.questions.masking import (
    PatchRemoval,
    cell_order,
    cell_scores,
    removal_curves,
    removal_figure,
    window_map,
)
from xvcore.analyses.questions.scores import Sample
from xvcore.errors import ParameterError


def literal(classifier, image, ranking, target, patch, count):
    """Remove the ``count`` patches with the largest sums one after the other, by loops."""
    height, width = image.shape[1:]
    corners = [(top, left) for top in range(0, height, patch) for left in range(0, width, patch)]
    sums = [ranking[0, top : top + patch, left : left + patch].sum().item() for top, left in corners]
    picture, mean = image.clone(), image.mean(dim=(1, 2))
    for place in sorted(range(len(corners)), key=lambda place: (-sums[place], place))[:count]:
        top, left = corners[place]
        picture[:, top : top + patch, left : left + patch] = mean[:, None, None]
    area = (picture != image).any(dim=0).double().mean().item()
    return area, classifier.logits(picture[None])[0, target].item(), classifier.probabilities(picture[None])[0, target]


def test_the_scores_are_those_of_patches_removed_one_by_one(deep, make_images):
    images, targets = make_images(3, 32, 30), torch.tensor([2, 0, 3])
    ranking = make_images(3, 32, 30, seed=5)[:, :1] - 0.5
    settings = PatchRemoval(patch_px=7, n_removed=(1, 3, 8), n_random=0)
    table = settings([deep], Sample(images, targets), {"given": ranking}, batch_size=4)
    assert len(table) == 3 * 4
    for row in table.itertuples():
        index = int(row.image_id)
        found = literal(deep, images[index], ranking[index], targets[index], 7, row.n_removed)
        assert (row.area_removed, row.logit, row.prob) == pytest.approx([float(each) for each in found], abs=1e-12)


def test_in_a_linear_network_the_exact_attribution_loses_the_logit_fastest(linear, make_images):
    images = make_images(4)

    def exact(classifier, images, targets):
        weights = classifier.network[1].weight[targets].view(-1, 3, 32, 32)
        return (weights * (images - images.mean(dim=(2, 3), keepdim=True))).sum(dim=1, keepdim=True)

    settings = PatchRemoval(patch_px=8, n_removed=(1, 2, 5), n_random=3)
    rankings = {"exact": exact, "gradient": Gradient(), "reversed": lambda *given: -exact(*given)}
    curves = removal_curves(settings([linear], Sample(images), rankings)).set_index(["ranking", "n_removed"])[
        "logit_drop"
    ]
    for count in (1, 2, 5):
        assert curves["exact", count] == curves.xs(count, level=1).max()
        assert curves["reversed", count] == curves.xs(count, level=1).min() < curves["random", count]


def test_a_callable_is_asked_in_each_network_and_a_tensor_serves_all(linear, deep, make_images):
    asked = []

    def ranking(classifier, images, targets):
        asked.append((classifier.name, targets.tolist()))
        return images[:, :1]

    images = make_images(2)
    settings = PatchRemoval(n_removed=(1,), n_random=0)
    table = settings([linear, deep], Sample(images), {"own": ranking, "given": images[:, :1]})
    leading = {each.name: each.logits(images).argmax(dim=1).tolist() for each in (linear, deep)}
    assert dict(asked) == leading
    wide = table.pivot(index=["model", "image_id", "n_removed"], columns="ranking", values="logit")
    assert (wide["own"] == wide["given"]).all()
    assert table.groupby("model")["target_idx"].apply(list).to_dict() == {
        name: np.tile(np.repeat(classes, 2), 2).tolist() for name, classes in leading.items()
    }


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_neither_the_size_nor_the_order_of_the_batch_matters(deep, make_images, batch_size):
    images, names = make_images(5), list("abcde")
    settings, rankings = PatchRemoval(n_removed=(1, 2), n_random=2), {"gradient": Gradient()}
    whole = settings([deep], Sample(images, image_ids=names), rankings)
    order = [3, 1, 4, 0, 2]
    sample = Sample(images[order], image_ids=[names[k] for k in order])
    parts = settings([deep], sample, rankings, batch_size=batch_size)
    keys = ["ranking", "image_id", "n_removed"]
    pd.testing.assert_frame_equal(*(t.sort_values(keys, ignore_index=True) for t in (whole, parts)), atol=1e-10)


def test_random_orders_differ_between_images_draws_and_seeds():
    orders = [
        tuple(PatchRemoval(seed=seed)._random(Sample(torch.zeros(1, 3, 4, 4), image_ids=[name]), 50, draw)[0].tolist())
        for seed in (0, 1) for name in "ab" for draw in (0, 1)
    ]  # fmt: skip
    assert len(set(orders)) == 8
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_removing_all_patches_leaves_the_baseline(deep, make_images):
    images = make_images(2)
    table = PatchRemoval(patch_px=16, n_removed=(4,), n_random=1)([deep], Sample(images, torch.tensor([1, 2])), {})
    gone = deep.logits(images.mean(dim=(2, 3), keepdim=True).expand_as(images).contiguous())
    last = table[table["n_removed"] == 4]
    assert last["area_removed"].tolist() == [1, 1]
    assert last["logit"].tolist() == pytest.approx([gone[0, 1].item(), gone[1, 2].item()], abs=1e-12)


def test_cells_that_were_not_seen_come_last_and_ties_go_to_the_first():
    maps = torch.zeros(1, 1, 4, 6)
    maps[..., 4:] = torch.nan
    maps[..., 2:, 2:4] = -1
    maps[..., 0, 0] = torch.nan
    assert cell_scores(maps, 2)[0].tolist() == [[0, 0, -torch.inf], [0, -4, -torch.inf]]
    assert cell_order(cell_scores(maps, 2))[0].tolist() == [0, 1, 3, 4, 2, 5]


def test_a_window_map_is_the_mean_of_the_windows_that_cover_a_pixel():
    evidence = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0))
    found = window_map(evidence, patch_px=5, stride_px=3, size=(13, 9))
    for y in range(13):
        for x in range(9):
            windows = [(i, j) for i in range(3) for j in range(2) if 0 <= y - 3 * i < 5 and 0 <= x - 3 * j < 5]
            if not windows:
                assert found[:, 0, y, x].isnan().all()
                continue
            mean = torch.stack([evidence[:, i, j] for i, j in windows]).mean(dim=0)
            assert torch.allclose(found[:, 0, y, x], mean, atol=1e-6)
    with pytest.raises(ParameterError, match="outside an image"):
        window_map(evidence, patch_px=5, stride_px=3, size=(10, 9))


def test_integrated_gradients_add_up_to_the_difference_from_the_baseline(deep, make_images):
    images, targets = make_images(3), torch.tensor([1, 2, 0])
    maps = IntegratedGradients(steps=400)(deep, images, targets)
    ends = [deep.logits(each).gather(1, targets[:, None])[:, 0] for each in (images, torch.zeros_like(images))]
    assert torch.allclose(maps.sum(dim=(1, 2, 3)), ends[0] - ends[1], atol=5e-3)
    assert (ends[0] - ends[1]).abs().min() > 0.1


def test_the_gradient_is_that_of_the_targets_logit(linear, make_images):
    targets = torch.tensor([3, 1])
    expected = linear.network[1].weight[targets].view(2, 3, 32, 32).abs().amax(dim=1, keepdim=True)
    assert torch.allclose(Gradient()(linear, make_images(2), targets), expected)


def test_curves_are_means_over_images():
    rows = [("a", 0, 2.0, 0.8), ("a", 1, 1.0, 0.2), ("b", 0, 1.0, 0.4), ("b", 1, 1.5, 0.6)]
    table = pd.DataFrame(rows, columns=["image_id", "n_removed", "logit", "prob"])
    curves = removal_curves(table.assign(model="m", ranking="r", area_removed=table["n_removed"] / 4))
    assert curves["prob"].tolist() == pytest.approx([0.6, 0.4])
    assert curves["prob_left"].tolist() == pytest.approx([1, (0.25 + 1.5) / 2])
    assert curves["logit_drop"].tolist() == pytest.approx([0, (1.0 - 0.5) / 2])
    assert curves["prob_error"].tolist() == pytest.approx([0.2, 0.2])
    assert "Removing" in removal_figure(curves, "m")


def test_what_does_not_fit_is_refused(linear, make_images):
    images = make_images(2)
    with pytest.raises(ParameterError, match="an image has 4 patches"):
        PatchRemoval(n_removed=(5,))([linear], Sample(images), {})
    with pytest.raises(ParameterError, match="ranking 'small' has maps of shape"):
        PatchRemoval(n_removed=(1,))([linear], Sample(images), {"small": torch.zeros(2, 1, 8, 8)})
    with pytest.raises(ParameterError, match="3 targets for 2 images"):
        Sample(images, torch.tensor([0, 1, 2]))
    with pytest.raises(ParameterError, match="named twice: \\['a'\\]"):
        Sample(images, image_ids=["a", "a"])
    with pytest.raises(ParameterError, match="something to rank the patches by"):
        PatchRemoval(n_removed=(1,), n_random=0)([linear], Sample(images), {})
    with pytest.raises(ParameterError, match="'random': the name is taken"):
        PatchRemoval(n_removed=(1,))([linear], Sample(images), {"random": Gradient()})


def test_no_images_give_an_empty_table(linear, make_images):
    table = PatchRemoval(n_removed=(1,))([linear], Sample(make_images(0)), {"given": torch.zeros(0, 1, 32, 32)})
    assert len(table) == 0
    assert {"model", "ranking", "image_id", "n_removed", "prob"} <= set(table.columns)
