"""Laws of training a head: it learns, it goes on where it stopped, it prunes, and purity grows."""

import itertools
from dataclasses import replace

import pytest
import torch
from accelerator import accelerator

from xvcore.prototypes.method.fit import Features, Fit, Probe, Recipe, prune, started
from xvcore.prototypes.method.head import Head, HeadOptions
from xvcore.prototypes.method.preserving import Purity, purity_of, strongest
from xvcore.prototypes.method.rotation import Rotation

RECIPE = Recipe(epochs=12, batch_size=16, learning_rate=0.05, rotation_rate=1e-2, patience=12)


def new_head(features: Features, **options: object) -> Head:
    head = Head(features.maps.shape[2], 3, HeadOptions(**options))
    started(head, features.root_mean_square, seed=0)
    return head


def parts(features: Features) -> tuple[Features, Features]:
    return features.of(torch.arange(60)), features.of(torch.arange(60, 90))


@pytest.mark.parametrize(
    "options",
    [{}, {"pooling": "gumbel"}, {"outputs": "sigmoid"}, {"positivity": "softplus"}, {"rotation": "exponential"}],
)
def test_every_kind_of_head_learns_what_one_position_tells(features, options):
    train, held_out = parts(features)
    head = new_head(features, **options)
    fit = Fit(head, RECIPE, seed=0)
    history = fit(train, held_out)
    assert fit.measured(held_out)[1] > 0.9
    assert history[-1]["loss"] < history[0]["loss"]
    assert head.weights().min() >= 0
    matrix = head.rotation.matrix()
    assert (matrix @ matrix.mT - torch.eye(6)).abs().max() < 1e-5
    assert not torch.equal(matrix, torch.eye(6))


def test_the_rotation_moves_in_one_epoch_of_several_and_the_classifier_in_all(features):
    train, held_out = parts(features)
    head, matrices, weights = new_head(features), [], []

    def keep(fit):
        matrices.append(head.eval().rotation.matrix().clone())
        weights.append(head.weights().detach().clone())

    fit = Fit(head, replace(RECIPE, rotation_every=3, rotation_batch=60), seed=0)
    history = fit(train, held_out, keep)
    has_moved = [not torch.equal(one, other) for one, other in itertools.pairwise(matrices)]
    assert has_moved == [each % 3 == 0 for each in range(1, 12)]
    assert not any(torch.equal(one, other) for one, other in itertools.pairwise(weights))
    maps = held_out.maps.float()
    assert history[fit.best_epoch]["loss_held_out"] == pytest.approx(fit.measured(held_out)[0])
    torch.testing.assert_close(fit.measured(held_out)[2], head(maps))


def test_what_prefers_no_class_is_never_right(features):
    probe = Probe(6, 3)
    torch.nn.init.zeros_(probe.linear.weight)
    torch.nn.init.zeros_(probe.linear.bias)
    assert Fit(probe, RECIPE, seed=0).measured(features)[1] == 0


@pytest.mark.parametrize("options", [{}, {"pooling": "gumbel"}])
def test_a_training_that_was_stopped_takes_the_same_steps_to_the_same_weights(features, options):
    train, held_out = parts(features)
    whole, states = new_head(features, **options), []
    Fit(whole, RECIPE, seed=3)(train, held_out, lambda fit: states.append(torch_copy(fit.state())))
    again = new_head(features, **options)
    fit = Fit(again, RECIPE, seed=3)
    fit.go_on_from(states[4])
    assert len(fit.history) == 5
    fit(train, held_out)
    assert all(
        torch.equal(one, other)
        for one, other in zip(whole.state_dict().values(), again.state_dict().values(), strict=True)
    )


def torch_copy(state):
    import io

    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_a_pruned_class_keeps_its_strongest_prototypes_and_the_rest_is_zero(features):
    train, held_out = parts(features)
    head = new_head(features)
    Fit(head, Recipe(epochs=10, batch_size=16, learning_rate=0.05, per_class=1, patience=10), seed=0)(train, held_out)
    assert ((head.weights() > 0).sum(dim=1) <= 1).all()
    assert head.kept.sum(dim=1).tolist() == [1, 1, 1]
    full = new_head(features)
    full.raw.data.fill_(1.0)
    prune(full, train, per_class=2)
    values = full.decision(train.maps.float()).values
    for label in range(3):
        added = (values * full.scale.reciprocal())[train.labels == label].sum(dim=0)
        assert set(full.kept[label].nonzero().flatten().tolist()) == set(added.topk(2).indices.tolist())


def test_weights_that_sparsity_took_to_zero_come_back_where_they_are_needed(features):
    train, held_out = parts(features)
    head = new_head(features, outputs="sigmoid")
    head.raw.data.zero_()
    fit = Fit(head, Recipe(epochs=25, batch_size=16, learning_rate=0.1, sparsity=0.02, patience=25), seed=0)
    fit(train, held_out)
    assert fit.measured(held_out)[1] > 0.9
    assert (head.weights() == 0).any()


def test_early_stopping_keeps_the_best_epoch(features):
    train, held_out = parts(features)
    shuffled = Features(held_out.maps, held_out.labels.roll(1))  # what is learned is wrong there
    probe = Probe(6, 3)
    probe.scale.fill_(features.root_mean_square)
    fit = Fit(probe, Recipe(epochs=50, batch_size=16, learning_rate=0.05, patience=3), seed=0)
    history = fit(train, shuffled)
    losses = [row["loss_held_out"] for row in history]
    assert len(history) < 50
    assert fit.best_epoch == losses.index(min(losses))
    assert fit.measured(shuffled)[0] == pytest.approx(min(losses), rel=1e-5)


def test_purity_grows_and_nothing_else_moves(features):
    rotation = Rotation(6)
    with torch.no_grad():
        rotation.free.add_(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)) * 0.5)
    kept = features.maps.clone()
    found = Purity(epochs=30, rate=2e-2, first=20, last=5)(rotation, features.maps, seed=0)
    assert found[-1] > found[0] + 0.05
    assert torch.equal(features.maps, kept)
    pairs, pixels = strongest(rotation.matrix(), features.maps, 5)
    vectors = pixels[pairs[:, 1]] @ rotation.matrix().mT
    assert len(pairs) == 6 * 5
    torch.testing.assert_close(
        purity_of(vectors, pairs[:, 0]), vectors[torch.arange(30), pairs[:, 0]] / vectors.norm(dim=1)
    )


@pytest.mark.parametrize("kind", ["probe", "hard", "gumbel"])
def test_on_an_accelerator_too_and_there_in_mixed_precision(features, kind):
    train, held_out = parts(features)
    with accelerator():
        module = Probe(6, 3) if kind == "probe" else new_head(features, pooling=kind)
        fit = Fit(module.to("cuda"), replace(RECIPE, epochs=2), seed=0)
        history = fit(train, held_out)
    assert len(history) == 2
    assert all(weight.dtype == torch.float32 for weight in module.state_dict().values())
    assert history[1]["loss"] < history[0]["loss"]
