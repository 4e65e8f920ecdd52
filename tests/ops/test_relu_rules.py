"""The rules against the literal restatement of the papers: unpool, rectify, filter, layer by layer."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from xvcore.errors import XvError
from xvcore.ops.relu_rules import BackwardRule, survey

RECTIFIERS = {
    "googlenet": (57, 224),
    "inception_v3": (94, 299),
    "densenet121": (121, 224),
    "mobilenet_v2": (35, 224),
    "resnet50": (49, 224),
    "resnet18": (17, 224),
    "squeezenet1_1": (26, 224),
    "alexnet": (7, 224),
    "regnet_y_400mf": (65, 224),
}


def network_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    options = {"googlenet": {"aux_logits": False}, "inception_v3": {"aux_logits": False}}.get(name, {})
    options |= {"init_weights": False} if name in ("googlenet", "inception_v3", "vgg16") else {}
    return getattr(torchvision.models, name)(**options).eval().requires_grad_(False)


def image(px: int = 224, seed: int = 0, n: int = 1) -> torch.Tensor:
    return torch.randn(n, 3, px, px, generator=torch.Generator().manual_seed(seed))


def pulled_back(network, inputs, seed, rule=None, layer=None):
    """Return what the rule makes of a seed at the network's output."""
    inputs = inputs.detach().clone().requires_grad_()
    with (rule or BackwardRule()).applied() as met:
        outputs = network(inputs)
    return torch.autograd.grad(outputs, inputs, seed)[0], met


def seed_at_strongest(outputs: torch.Tensor, channel: int) -> torch.Tensor:
    seed = torch.zeros_like(outputs)
    flat = outputs[:, channel].flatten(1)
    seed[:, channel].view(len(outputs), -1).scatter_(1, flat.argmax(1, keepdim=True), flat.amax(1, keepdim=True))
    return seed


def explicit(modules, inputs, channel, rule="deconvnet", overwrite=False):
    """Build the deconvnet of a chain by hand: unpool at the switches, rectify, filter with the transposed kernel."""
    values, kept = inputs, []
    for module in modules:
        if isinstance(module, nn.MaxPool2d):
            pooled, switches = F.max_pool2d(values, module.kernel_size, module.stride, return_indices=True)
            kept.append((values.shape, switches))
            values = pooled
        else:
            kept.append((values.shape, values))
            values = F.relu(values) if isinstance(module, nn.ReLU) else module(values)
    signal = seed_at_strongest(values, channel)
    for module, (shape, memory) in zip(reversed(list(modules)), reversed(kept), strict=True):
        if isinstance(module, nn.MaxPool2d):
            if overwrite:
                signal = F.max_unpool2d(signal, memory, module.kernel_size, module.stride, output_size=shape)
            else:
                empty = torch.zeros(shape, dtype=signal.dtype).flatten(2)
                signal = empty.scatter_add(2, memory.flatten(2), signal.flatten(2)).view(shape)
        elif isinstance(module, nn.ReLU):
            signal = {"gradient": signal, "deconvnet": signal.relu(), "guided": signal.relu()}[rule]
            signal = signal if rule == "deconvnet" else signal * (memory > 0)
        else:
            free = [
                shape[2 + i] - ((signal.shape[2 + i] - 1) * module.stride[i] - 2 * module.padding[i]
                + module.kernel_size[i])
                for i in (0, 1)
            ]  # fmt: skip
            signal = F.conv_transpose2d(signal, module.weight, None, module.stride, module.padding, free)
    return signal


@pytest.mark.parametrize("rule", ["deconvnet", "guided", "gradient"])
def test_the_rule_is_an_explicitly_built_deconvnet_on_alexnet(rule):
    features = network_of("alexnet").features[:12].double()
    inputs = image(227).double()
    seed = seed_at_strongest(features(inputs), 5)
    assert seed.any()
    found, met = pulled_back(features, inputs, seed, BackwardRule(rule))
    expected = explicit(features, inputs, 5, rule)
    assert expected.abs().max() > 0
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()
    assert (met.rectifiers, met.max_pools) == (5, 2)


@pytest.mark.slow
def test_the_rule_is_an_explicitly_built_deconvnet_on_vgg16():
    features = network_of("vgg16").features[:21]
    inputs = image()
    channel = int(features(inputs).amax((0, 2, 3)).argmax())
    found, met = pulled_back(features, inputs, seed_at_strongest(features(inputs), channel))
    expected = explicit(features, inputs, channel)
    scale = expected.abs().max()
    assert scale > 0
    assert (found - expected).abs().max() <= 1e-6 * scale
    assert (met.rectifiers, met.max_pools) == (9, 3)


def test_overwritten_switches_are_those_of_max_unpooling():
    torch.manual_seed(1)
    chain = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(6, 5, 3), nn.ReLU()).double()
    inputs = image(31, seed=2).double()
    seed = seed_at_strongest(chain(inputs), 1)
    added, _ = pulled_back(chain, inputs, seed)
    overwritten, _ = pulled_back(chain, inputs, seed, BackwardRule(overlap="overwrite"))
    torch.testing.assert_close(added, explicit(chain, inputs, 1))
    torch.testing.assert_close(overwritten, explicit(chain, inputs, 1, overwrite=True))
    assert (added - overwritten).abs().max() > 1e-3 * added.abs().max()


def test_a_window_of_zeros_passes_its_signal_to_its_first_place_or_drops_it():
    pool = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
    inputs = torch.full((1, 1, 4, 4), -1.0)
    inputs[0, 0, 0, 1] = 2.0
    seed = torch.ones(1, 1, 2, 2)
    first, _ = pulled_back(pool, inputs, seed)
    dropped, _ = pulled_back(pool, inputs, seed, BackwardRule(zero_windows="drop"))
    expected = torch.zeros(1, 1, 4, 4)
    expected[0, 0, 0, 1] = 1
    assert torch.equal(dropped, expected)
    expected[0, 0, [0, 2, 2], [2, 0, 2]] = 1
    assert torch.equal(first, expected)


THREE = ("googlenet", "mobilenet_v2", "resnet50")
REST = [pytest.param(name, marks=pytest.mark.slow) for name in RECTIFIERS if name not in THREE]


@pytest.mark.parametrize("name", [*THREE, *REST])
def test_every_rectifier_is_met(name):
    count, px = RECTIFIERS[name]
    assert survey(network_of(name), image(px)).rectifiers == count


def test_pools_gates_and_foreign_activations_are_counted():
    met = survey(network_of("mobilenet_v3_large"), image())
    assert (met.rectifiers, met.max_pools) == (19, 0)
    assert met.activations == {"hardswish": 21}
    assert met.gates == {"hardsigmoid": 8}
    assert survey(network_of("squeezenet1_1"), image()).max_pools == 3


@pytest.mark.parametrize("name", ["googlenet", "mobilenet_v2"])
def test_functional_rectifiers_and_relu6_do_not_fall_back_to_the_gradient(name):
    network, inputs = network_of(name), image()
    network.transform_input = False
    seed = torch.zeros(1, 1000)
    seed[0, 3] = 1
    found, _ = pulled_back(network, inputs, seed)
    gradient, _ = pulled_back(network, inputs, seed, BackwardRule("gradient"))
    assert F.cosine_similarity(found.flatten(), gradient.flatten(), dim=0) < 0.2


class Skip(nn.Module):
    """x → u = conv(x); u + conv(relu(u)): what reaches u by the skip must not be rectified."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(4, 4, 1, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x):
        u = self.first(x)
        return u + self.second(self.relu(u))

    def by_hand(self, x, seed):
        inner = F.conv_transpose2d(seed, self.second.weight)
        return F.conv_transpose2d(seed + inner.clamp_min(0), self.first.weight)


class Shared(nn.Module):
    """One in-place rectifier on two parallel branches whose backward passes interleave."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(3, 4, 3, bias=False)
        self.left, self.right = nn.Conv2d(4, 4, 1, bias=False), nn.Conv2d(4, 4, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        a, b = self.first(x), self.second(x)
        a, b = self.relu(a), self.relu(b)
        return self.left(a) + self.right(b)

    def by_hand(self, x, seed):
        pairs = ((self.left, self.first), (self.right, self.second))
        signals = [
            F.conv_transpose2d(F.conv_transpose2d(seed, up.weight).clamp_min(0), low.weight) for up, low in pairs
        ]
        return signals[0] + signals[1]


class InPlaceFunctions(nn.Module):
    """Every way to write a rectifier, each after a convolution of its own."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 1, bias=False) for _ in range(9))
        self.module = nn.ReLU6()

    def forward(self, x):
        rectifiers = (
            lambda v: F.relu(v, inplace=True),
            torch.relu,
            torch.relu_,
            lambda v: v.relu(),
            lambda v: v.relu_(),
            lambda v: v.clamp(min=0),
            F.relu6,
            self.module,
            lambda v: F.threshold(v, 0.0, 0.0),
        )
        for conv, rectifier in zip(self.convs, rectifiers, strict=True):
            x = rectifier(conv(x))
        return x

    def by_hand(self, x, seed):
        for conv in reversed(self.convs):
            seed = F.conv_transpose2d(seed.clamp_min(0), conv.weight)
        return seed


@pytest.mark.parametrize(("network", "count"), [(Skip, 1), (Shared, 2), (InPlaceFunctions, 9)])
def test_toy_networks_equal_the_hand_written_definition(network, count):
    torch.manual_seed(3)
    network = network().eval().requires_grad_(False)
    inputs = torch.randn(2, 3, 9, 9)
    outputs = network(inputs)
    seed = torch.randn(outputs.shape)
    found, met = pulled_back(network, inputs, seed)
    assert met.rectifiers == count
    torch.testing.assert_close(found, network.by_hand(inputs, seed), rtol=0, atol=1e-6)
    with BackwardRule().applied():
        assert torch.equal(network(inputs), outputs)


def test_clamps_that_are_no_rectifiers_are_left_alone():
    class Clamps(nn.Module):
        def forward(self, x):
            return F.hardtanh(x.clamp(-1, 1)).clamp(max=0.5)

    met = survey(Clamps(), image(8))
    assert met.rectifiers == 0
    assert met.activations == {"hardtanh": 1}


def test_a_seed_of_any_strength_gives_the_same_picture():
    network, inputs = network_of("squeezenet1_1").features, image(96)
    seed = seed_at_strongest(network(inputs), 7)
    one, _ = pulled_back(network, inputs, seed)
    other, _ = pulled_back(network, inputs, 3.5 * seed)
    torch.testing.assert_close(other, 3.5 * one, rtol=1e-4, atol=1e-5 * float(one.abs().max()))


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
def test_a_batch_of_seeds_equals_one_seed_after_the_other(rule):
    features = network_of("alexnet").features[:9].double()
    inputs = image(99, n=3).double()
    seeds = torch.cat([seed_at_strongest(features(inputs), channel)[i : i + 1] for i, channel in enumerate((1, 9, 44))])
    together, _ = pulled_back(features, inputs, seeds, BackwardRule(rule))
    alone = [pulled_back(features, inputs[i : i + 1], seeds[i : i + 1], BackwardRule(rule))[0] for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("options", [{}, {"rule": "guided"}, {"overlap": "overwrite"}, {"zero_windows": "drop"}])
def test_many_seeds_of_one_forward_pass_are_pulled_back_at_once(options):
    features = network_of("alexnet").features[:9].double()
    inputs = image(67).double().requires_grad_()
    with BackwardRule(**options).applied():
        outputs = features(inputs)
    seeds = torch.stack([seed_at_strongest(outputs.detach(), channel) for channel in range(4)])
    together = torch.autograd.grad(outputs, inputs, seeds, is_grads_batched=True, retain_graph=True)[0]
    alone = [torch.autograd.grad(outputs, inputs, seed, retain_graph=True)[0] for seed in seeds]
    torch.testing.assert_close(together, torch.stack(alone))


def test_normalisation_passes_the_signal_unchanged_or_by_its_gradient():
    network = nn.Sequential(nn.ReLU(), nn.LocalResponseNorm(3, alpha=1.0))
    inputs, seed = torch.rand(1, 4, 5, 5) + 1, torch.randn(1, 4, 5, 5)
    identity, met = pulled_back(network, inputs, seed)
    assert met.norms == 1
    assert torch.equal(identity, seed.clamp_min(0))
    by_gradient, _ = pulled_back(network, inputs, seed, BackwardRule(lrn="gradient"))
    leaf = inputs.clone().requires_grad_()
    expected = torch.autograd.grad(network[1](leaf), leaf, seed)[0].clamp_min(0)
    torch.testing.assert_close(by_gradient, expected)


def test_a_gate_is_a_constant_or_is_differentiated():
    class Gated(nn.Module):
        def forward(self, x):
            return torch.relu(x) * torch.sigmoid(x)

    inputs, seed = torch.randn(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    constant, met = pulled_back(Gated(), inputs, seed)
    torch.testing.assert_close(constant, seed * torch.sigmoid(inputs))
    assert met.gates == {"sigmoid": 1}
    through, _ = pulled_back(Gated(), inputs, seed, BackwardRule(gates="gradient"))
    slope = torch.sigmoid(inputs) * (1 - torch.sigmoid(inputs))
    torch.testing.assert_close(through, seed * torch.sigmoid(inputs) + seed * torch.relu(inputs) * slope)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "efficientnet_b0"])
def test_a_network_of_other_activations_is_refused_with_the_reason_or_clamped_on_demand(name):
    network, inputs = network_of(name), image(64)
    met = survey(network, inputs)
    with pytest.raises(XvError, match=r"defined for networks of ReLU.*× (hardswish|silu).*not standard"):
        BackwardRule().check_fits(met, name)
    with pytest.raises(XvError, match="is not defined for"), BackwardRule("guided").applied():
        network(inputs)
    BackwardRule("gradient").check_fits(met, name)
    BackwardRule(undefined="clamp", degenerate="allow").check_fits(met, name)
    clamped, _ = pulled_back(network, inputs, torch.eye(1000)[:1], BackwardRule(undefined="clamp"))
    assert clamped.abs().max() > 0


def test_an_activation_under_clamp_rectifies_the_signal():
    network = nn.SiLU(inplace=True)
    inputs, seed = torch.randn(2, 5), torch.randn(2, 5)
    found, _ = pulled_back(nn.Sequential(nn.Identity(), network), inputs, seed, BackwardRule(undefined="clamp"))
    assert torch.equal(found, seed.clamp_min(0))
    guided, _ = pulled_back(network, inputs, seed, BackwardRule("guided", undefined="clamp"))
    leaf = inputs.clone().requires_grad_()
    expected = torch.autograd.grad(F.silu(leaf), leaf, seed.clamp_min(0))[0]
    torch.testing.assert_close(guided, expected)


def test_without_max_pooling_the_pictures_do_not_depend_on_the_image_and_are_refused():
    network = network_of("mobilenet_v2")
    inputs = image(64, n=2)
    seed = torch.eye(1000)[[7, 7]]
    met = survey(network, inputs)
    with pytest.raises(XvError, match=r"no max-pooling.*same for every image"):
        BackwardRule().check_fits(met, "mobilenet_v2")
    BackwardRule("guided").check_fits(met, "mobilenet_v2")
    found, _ = pulled_back(network, inputs, seed)
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6 * float(found.abs().max()))
    guided, _ = pulled_back(network, inputs, seed, BackwardRule("guided"))
    assert (guided[0] - guided[1]).abs().max() > 1e-3 * guided.abs().max()


def test_a_network_without_rectifiers_is_refused():
    with pytest.raises(XvError, match="no rectifier was met in line"):
        BackwardRule().check_fits(survey(nn.Conv2d(3, 2, 3), image(9)), "line")


def test_the_plain_gradient_is_autograds():
    network, inputs = network_of("mobilenet_v3_small"), image(64).requires_grad_()
    seed = torch.eye(1000)[:1]
    expected = torch.autograd.grad(network(inputs), inputs, seed)[0]
    found, _ = pulled_back(network, inputs, seed, BackwardRule("gradient"))
    assert torch.equal(found, expected)


def test_a_pooling_that_the_options_do_not_cover_is_refused():
    network = nn.Sequential(nn.ReLU(), nn.AdaptiveMaxPool2d(2))
    with pytest.raises(XvError, match="made for max_pool2d only"), BackwardRule(overlap="overwrite").applied():
        network(image(8))


def test_the_observer_sees_what_goes_in_and_what_comes_out():
    seen = []
    network = nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(2))
    with BackwardRule("gradient").applied(lambda *call: seen.append(call)):
        result = network(image(8))
    assert [kind for kind, *_ in seen] == ["rectifier", "max_pool"]
    assert seen[0][2] is seen[1][1]
    assert seen[1][2] is result
