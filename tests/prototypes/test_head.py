"""Laws of the head: orthogonal, not negative, sparse, and the contributions are the logit."""

import pytest
import torch
import torch.nn.functional as F

from xvcore.models import Preprocessing, wrap
from xvcore.prototypes.method.head import Head, HeadOptions
from xvcore.prototypes.method.pooling import drawn, peaks, pooled
from xvcore.prototypes.method.rotation import Rotation, rotation_of

MAPS = torch.randn(4, 30, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def literal_pool(channel: torch.Tensor) -> torch.Tensor:
    """The paper's mx_pool of one channel."""
    return F.relu(channel).max() - F.relu(-channel).max()


@pytest.mark.parametrize("mapping", ["cayley", "exponential"])
def test_any_square_matrix_gives_a_rotation_and_zeros_the_identity(mapping):
    free = torch.randn(20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rotation = rotation_of(free, mapping)
    assert (rotation @ rotation.mT - torch.eye(20)).abs().max() <= 1e-12
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones((), dtype=torch.float64))
    assert torch.equal(rotation_of(torch.zeros(20, 20, dtype=torch.float64), mapping), torch.eye(20).double())


def test_the_kept_rotation_is_that_of_the_parameters():
    rotation = Rotation(8).eval()
    before = rotation.matrix()
    assert rotation.matrix() is before
    rotation.free.data += torch.randn(8, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        rotation.free.add_(0)
    torch.testing.assert_close(rotation.matrix(), rotation_of(rotation.free.detach(), "cayley"))
    assert not torch.equal(rotation.matrix(), before)


def test_pooling_is_the_papers():
    for shift in (0.0, 10.0, -10.0):  # of both signs, of one sign only
        moved = MAPS + shift
        expected = torch.stack([torch.stack([literal_pool(channel) for channel in each.T]) for each in moved])
        torch.testing.assert_close(peaks(moved).values, expected)
        torch.testing.assert_close(pooled(moved, torch.eye(12).double()), expected)
        torch.testing.assert_close(peaks(-moved).values, -expected)


def test_at_most_two_positions_of_a_channel_speak():
    maps = MAPS.clone().requires_grad_()
    peaks(maps).values.square().sum().backward()
    n_places = (maps.grad != 0).sum(dim=1)
    assert n_places.max() == 2
    assert n_places.min() >= 1


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_the_quick_pooling_has_the_gradient_of_the_plain_one(shift):
    maps = MAPS + shift
    free = (torch.randn(12, 12, generator=torch.Generator().manual_seed(3)) * 0.2).double()
    gradients = []
    for pool in (lambda turn: pooled(maps, turn), lambda turn: peaks(maps @ turn.mT).values):
        given = free.clone().requires_grad_()
        (pool(rotation_of(given, "cayley")) * torch.arange(12)).sum().backward()
        gradients.append(given.grad)
    torch.testing.assert_close(*gradients)


def test_the_gumbel_softmax_draws_positions_and_comes_near_the_maximum_when_cold():
    generator = torch.Generator().manual_seed(4)
    cold = drawn(MAPS, 1e-6, generator)
    torch.testing.assert_close(cold, peaks(MAPS).values)
    warm = torch.stack([drawn(MAPS, 5.0, generator) for _ in range(20)])
    assert warm.std(dim=0).min() > 0  # another position each time
    assert (warm.abs() <= MAPS.abs().amax(dim=1) + 1e-9).all()
    maps = MAPS.clone().requires_grad_()
    drawn(maps, 1.0, generator).sum().backward()
    assert maps.grad.abs().sum() > 0


@pytest.mark.parametrize("positivity", ["relu", "softplus"])
@pytest.mark.parametrize("outputs", ["softmax", "sigmoid"])
def test_contributions_sum_to_the_logit_and_weights_are_not_negative(make_head, positivity, outputs):
    head = make_head(positivity=positivity, outputs=outputs)
    head.scale.fill_(3.7)
    decision = head.decision(MAPS)
    assert decision.weights.min() >= 0
    assert (decision.bias == 0).all() == (outputs == "softmax")
    for target in range(5):
        targets = torch.full((len(MAPS),), target)
        total = decision.contributions(targets).sum(dim=1) + decision.bias[target]
        assert (total - head(MAPS)[:, target]).abs().max() <= 1e-12


def test_the_preserving_mode_leaves_predictions_as_they_are(make_head):
    head = make_head(kind="preserving")
    decision = head.decision(MAPS)
    own = F.linear(MAPS.mean(dim=1), head.raw, head.bias)
    assert (decision.logits - own).abs().max() <= 1e-12
    assert torch.equal(head(MAPS), own)
    targets = own.argmax(dim=1)
    total = decision.contributions(targets).sum(dim=1) + decision.bias[targets]
    assert (total - own.gather(1, targets[:, None])[:, 0]).abs().max() <= 1e-12
    turned = Head(12, 5, HeadOptions(kind="preserving")).double().eval()
    turned.raw.data.copy_(head.raw.data)
    turned.bias.data.copy_(head.bias.data)
    assert (turned.decision(MAPS).logits - decision.logits).abs().max() <= 1e-12  # whatever the rotation


def test_the_network_is_the_head_on_the_map_of_the_network_below(network, small, images):
    normalised = small.preprocessing.normalise(images).double()
    maps = network.backbone[:4](normalised).flatten(2).mT
    torch.testing.assert_close(network.maps(normalised), maps)
    torch.testing.assert_close(network(normalised), network.head(maps))
    assert not any(each._forward_hooks for each in network.modules())


def test_its_boxes_are_where_its_values_come_from(network, small, images):
    """Covering all cells but the two leaves the value of a channel that is computed cell by cell."""
    maps = network.maps(small.preprocessing.normalise(images).double())
    found = network.head.decision(maps).peaks
    turned = network.head.turned(maps)
    torch.testing.assert_close(turned.gather(1, found.where_positive[:, None])[:, 0], turned.amax(dim=1))
    torch.testing.assert_close(turned.gather(1, found.where_negative[:, None])[:, 0], turned.amin(dim=1))
    boxes = network.feature_map.boxes(40, 48)
    assert boxes.shape == (7, 9, 4)
    assert float(boxes[-1, -1, 1] + boxes[-1, -1, 3]) == pytest.approx(40)
    assert float(boxes[-1, -1, 0] + boxes[-1, -1, 2]) == pytest.approx(48)


def test_methods_run_through_it(network, images):
    classifier = wrap(network, preprocessing=Preprocessing((40, 48), None), name="head")
    given = images.clone().requires_grad_()
    classifier.logits(given).max().backward()
    assert given.grad.abs().sum() > 0
    assert not any(each.requires_grad for each in classifier.network.parameters())
