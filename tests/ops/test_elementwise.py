"""Activations are known by what they compute, however they are written."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from xvcore.errors import XvError
from xvcore.ops.relu_rules import BackwardRule, survey
from xvcore.ops.taps import unit_layers


class Around(nn.Module):
    """One step between two convolutions, with a rectifier of torch's and max-pooling in front."""

    def __init__(self, step, n=4):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = nn.Conv2d(3, n, 3), nn.Conv2d(n, n, 3), nn.Conv2d(n, n, 1)
        self.step = step
        self.eval().requires_grad_(False)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.first(x)), 2)
        return self.third(self.step(self.second(x))).mean((2, 3))


def image(n=1):
    return torch.randn(n, 3, 14, 14, generator=torch.Generator().manual_seed(4))


def pictures(network, inputs, rule):
    leaf = inputs.clone().requires_grad_()
    with rule.applied():
        outputs = network(leaf)
    torch.testing.assert_close(outputs, network(inputs), rtol=0, atol=0)
    return torch.autograd.grad(outputs, leaf, torch.randn(outputs.shape, generator=torch.Generator().manual_seed(5)))[0]


class OwnRectifier(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.relu(x)

    @staticmethod
    def backward(ctx, signal):
        return signal * (ctx.saved_tensors[0] > 0)


def assigned(x):
    x = x.clone()
    x[x < 0] = 0
    return x


def in_place(call):
    """Return a step that forgets what a call in place returns."""

    def step(x):
        x = x + 0
        call(x)
        return x

    return step


RECOGNISED = {
    "maximum": lambda x: torch.maximum(x, torch.zeros(())),
    "max": lambda x: torch.max(torch.zeros_like(x), x),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "where not": lambda x: torch.where(x <= 0, torch.zeros_like(x), x),
    "method where": lambda x: x.where(x >= 0, torch.zeros_like(x)),
    "product": lambda x: x * (x > 0),
    "product of a cast": lambda x: x.gt(0).to(x.dtype) * x,
    "not": lambda x: x * ~(x < 0),
    "filled": lambda x: x.masked_fill(x < 0, 0),
    "clamp": lambda x: x.clamp(min=torch.tensor(0.0)),
    "in place": in_place(lambda x: x.clamp_(min=0)),
    "in place function": in_place(lambda x: F.relu(x, inplace=True)),
    "in place product": in_place(lambda x: x.mul_(x > 0)),
    "on a part": in_place(lambda x: x[:, :].relu_()),
}
IN_OTHER_WORDS = {
    "halves": lambda x: (x + x.abs()) / 2,
    "assigned": assigned,
    "step": lambda x: x * torch.heaviside(x, torch.zeros(())),
    "sign": lambda x: x * (x.sign() + 1) / 2,
    "operator": torch.ops.aten.relu,
    "threshold": lambda x: torch.maximum(x, torch.full((1, 4, 1, 1), 0.1)),
    "largest": lambda x: torch.stack([x, torch.zeros_like(x)]).max(0).values,
    "largest of either": lambda x: torch.stack([torch.zeros_like(x), x], -1).amax(-1),
    "mask of another library": lambda x: x * torch.from_numpy((x.numpy(force=True) > 0).astype("float32")),
}
BY_HAND = {
    "hard swish": lambda x: x * F.relu6(x + 3) / 6,
    "hard swish of clamp": lambda x: x * (x + 3).clamp(0, 6) / 6,
    "quick GELU": lambda x: x * torch.sigmoid(1.702 * x),
    "GELU": lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)),
    "mish": lambda x: x * torch.tanh(torch.log1p(torch.exp(x))),
    "leaky": lambda x: torch.where(x > 0, x, 0.1 * x),
    "leaky maximum": lambda x: torch.maximum(x, 0.1 * x),
    "leaky largest": lambda x: torch.stack([0.1 * x, x]).max(0).values,
    "parametric": lambda x: F.relu(x) - 0.2 * F.relu(-x),
    "squared": lambda x: F.relu(x) ** 2,
    "softplus": lambda x: torch.log1p(torch.exp(x)),
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "size": lambda x: x.abs(),
}
NONE = {
    "affine": lambda x: 2 * x.add(1) / 3 - x,
    "root mean square": lambda x: x * torch.rsqrt((x * x).mean((2, 3), keepdim=True) + 1e-5),
    "layer norm": lambda x: (x - x.mean(1, True)) / ((x - x.mean(1, True)).pow(2).mean(1, True) + 1e-6).sqrt(),
    "length": F.normalize,
    "local response": lambda x: F.local_response_norm(F.relu(x), 3),
    "gate": lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
    "generalised mean": lambda x: F.relu(x).clamp(min=1e-6).pow(3).mean((2, 3), keepdim=True).pow(1 / 3),
    "rectified twice": lambda x: F.relu(F.relu6(x) * 0.5 - 0.1),
    "mean size": lambda x: x / (x.abs().mean((2, 3), keepdim=True) + 1e-5),
    "gate of two": lambda x: x * (torch.sigmoid(x.mean(1, True)) + torch.sigmoid(x.mean((2, 3), keepdim=True))),
    "gate and one": lambda x: x * (1 + torch.tanh(x.mean((2, 3), keepdim=True))),
}


@pytest.mark.parametrize("step", RECOGNISED.values(), ids=RECOGNISED)
@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
def test_the_rule_holds_for_rectifiers_in_other_words(step, rule):
    network, plain, rule = Around(step), Around(F.relu), BackwardRule(rule)
    met = survey(network, image())
    assert met.rectifiers == 2
    rule.check_fits(met, "net")
    found, expected = pictures(network, image(2), rule), pictures(plain, image(2), rule)
    torch.testing.assert_close(found, expected)
    assert expected.any()


@pytest.mark.parametrize("step", IN_OTHER_WORDS.values(), ids=IN_OTHER_WORDS)
def test_a_rectifier_that_is_not_recognised_is_refused(step):
    met = survey(Around(step), image())
    for rule in ("deconvnet", "guided"):
        with pytest.raises(XvError, match="net computes 1 × a rectifier in other words: "):
            BackwardRule(rule).check_fits(met, "net")
    BackwardRule("gradient").check_fits(met, "net")


@pytest.mark.parametrize("step", BY_HAND.values(), ids=BY_HAND)
def test_an_activation_made_by_hand_is_refused_as_torchs_own_and_is_a_layer_of_units(step):
    class Step(nn.Module):
        def forward(self, x):
            return step(x)

    network = Around(Step())
    met = survey(network, image())
    with pytest.raises(XvError, match="net computes 1 × an activation by hand: "):
        BackwardRule("guided").check_fits(met, "net")
    assert "step" in [layer.name for layer in unit_layers(network, network, image())]


@pytest.mark.parametrize("step", NONE.values(), ids=NONE)
def test_norms_gates_and_pooling_are_no_activations(step):
    met = survey(Around(step), image())
    assert not met.unseen
    BackwardRule("guided").check_fits(met, "net")


@pytest.mark.parametrize(
    "step",
    [torch.tanh, torch.sigmoid, lambda x: x + x.tanh(), lambda x: torch.cat([x[:, :2], x[:, 2:].sigmoid()], 1)],
)
def test_a_sigmoid_that_is_the_signal_is_no_gate_and_refused(step):
    met = survey(Around(step), image())
    for rule in ("deconvnet", "guided"):
        with pytest.raises(XvError, match=r"1 × (tanh|sigmoid) as the signal of (conv2d|add|cat)"):
            BackwardRule(rule).check_fits(met, "net")
    BackwardRule("gradient").check_fits(met, "net")


def test_a_gate_made_by_hand_is_refused():
    met = survey(Around(lambda x: x * (F.relu6(x.mean((2, 3), keepdim=True) + 3) / 6)), image())
    with pytest.raises(XvError, match="net computes 1 × a gate by hand: "):
        BackwardRule("guided").check_fits(met, "net")


def test_a_rectifier_with_a_backward_pass_of_its_own_is_refused():
    met = survey(Around(OwnRectifier.apply), image())
    with pytest.raises(XvError, match=r"1 × OwnRectifier of torch\.autograd\.Function"):
        BackwardRule("guided").check_fits(met, "net")
    BackwardRule("gradient").check_fits(met, "net")


@pytest.mark.parametrize("rule", ["deconvnet", "guided", "gradient"])
@pytest.mark.parametrize("gates", ["constant", "gradient"])
def test_attention_in_one_call_has_the_pictures_of_attention_in_steps(rule, gates):
    def fused(x):
        x = x.flatten(2).transpose(1, 2)
        return F.scaled_dot_product_attention(3 * x, x - 1, value=F.relu(x)).transpose(1, 2).unsqueeze(3)

    def stepwise(x):
        x = x.flatten(2).transpose(1, 2)
        weights = (3 * x @ (x - 1).transpose(1, 2) / x.shape[2] ** 0.5).softmax(-1)
        return (weights @ F.relu(x)).transpose(1, 2).unsqueeze(3)

    rule = BackwardRule(rule, gates=gates)
    one, other = (survey(Around(step), image()) for step in (fused, stepwise))
    assert one.gates == other.gates == {"softmax": 1}
    leaf = image(2).double()
    found, expected = (
        torch.autograd.grad(_under(rule, Around(step).double(), inputs := leaf.clone().requires_grad_()), inputs)[0]
        for step in (fused, stepwise)
    )
    torch.testing.assert_close(found, expected)
    assert expected.any()


def _under(rule, network, inputs):
    with rule.applied():
        return network(inputs)[:, 1].sum()


@pytest.mark.parametrize("needs_weights", [True, False])
def test_attention_of_torchs_module_has_constant_weights(needs_weights):
    torch.manual_seed(1)
    attention = nn.MultiheadAttention(4, 2, batch_first=True).eval().requires_grad_(False)
    x = torch.randn(2, 5, 4, requires_grad=True)
    with BackwardRule("guided").applied() as met:
        found = attention(x, x, x, need_weights=needs_weights)[0]
    assert met.gates == {"softmax": 1}
    weights = attention(x, x, x, average_attn_weights=False)[1].detach()
    values = F.linear(x, attention.in_proj_weight[8:], attention.in_proj_bias[8:]).unflatten(2, (2, 2)).transpose(1, 2)
    expected = attention.out_proj((weights @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(found, expected)
    seed = torch.randn(found.shape)
    torch.testing.assert_close(*(torch.autograd.grad(each, x, seed)[0] for each in (found, expected)))


class Gated(nn.Module):
    def __init__(self, gate):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.gate = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1), gate
        self.eval().requires_grad_(False)

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.second(x * self.gate(3 * x.mean((2, 3), keepdim=True))).mean((2, 3))


def test_pictures_are_said_to_be_the_same_only_where_they_are():
    fits = {
        name: survey(Gated(gate), image())
        for name, gate in {"gate": torch.sigmoid, "none": torch.ones_like, "half": lambda _: 0.5}.items()
    }
    BackwardRule().check_fits(fits["gate"], "net")
    for name in ("none", "half"):
        with pytest.raises(XvError, match=r"no max-pooling.*same for every image \(two were tried\)"):
            BackwardRule().check_fits(fits[name], "net")
        BackwardRule(degenerate="allow").check_fits(fits[name], "net")


def test_a_tensor_that_is_rectified_in_place_is_rectified_for_all_who_hold_it():
    def step(x):
        kept = x + 0
        view = kept.view(kept.shape)
        F.relu(kept, inplace=True)
        return view

    assert torch.equal(*(pictures(Around(each), image(), BackwardRule("gradient")) for each in (step, F.relu)))
