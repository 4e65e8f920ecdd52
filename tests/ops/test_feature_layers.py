"""Activations are what the layer returned, and the network is left as it was found."""

import pytest
import torch
from torch import nn

from xvcore.errors import ParameterError, UnknownNameError
from xvcore.ops.feature_layers import activations, feature_layers, last_maps, layer_ends, tapped


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2),
    ).eval()  # fmt: skip


def n_hooks(net):
    return sum(len(each._forward_hooks) for each in net.modules())


def test_an_activation_is_the_modules_output_even_before_a_rectifier_in_place():
    net, inputs = network(), torch.randn(2, 3, 12, 12)
    found = activations(net, ["3", "0"], inputs)
    assert list(found) == ["3", "0"]
    torch.testing.assert_close(found["0"], net[0](inputs))
    assert (found["0"] < 0).any()
    torch.testing.assert_close(found["3"], net[:4](inputs))


def test_hooks_are_gone_even_after_an_error():
    net = network()
    with tapped(net, ["0", "4"]):
        assert n_hooks(net) == 2
    assert n_hooks(net) == 0
    with pytest.raises(RuntimeError):
        activations(net, ["0", "4"], torch.randn(1, 7, 12, 12))
    with pytest.raises(RuntimeError):
        feature_layers(net, torch.randn(1, 7, 12, 12))
    assert n_hooks(net) == 0


def test_the_last_output_of_a_reused_module_is_kept():
    shared = nn.ReLU()
    net = nn.Sequential()
    for name, module in {"a": nn.Linear(3, 3), "r": shared, "b": nn.Linear(3, 3)}.items():
        net.add_module(name, module)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net

        def forward(self, x):
            return self.inner(self.inner(x))

    twice, inputs = Twice().eval(), torch.randn(4, 3)
    expected = shared(net.a(net(inputs)))
    torch.testing.assert_close(activations(twice, ["inner.r"], inputs)["inner.r"], expected)


def test_unknown_layers_and_layers_without_a_tensor_are_refused():
    with pytest.raises(UnknownNameError, match="unknown layer 'nine'"):
        activations(network(), ["nine"], torch.randn(1, 3, 12, 12))

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair, self.idle = nn.LSTM(3, 3), nn.ReLU()

        def forward(self, x):
            return self.pair(x)[0]

    with pytest.raises(ParameterError, match="returns tuple"):
        activations(Pair(), ["pair"], torch.randn(2, 1, 3))
    with pytest.raises(ParameterError, match="idle does not run"):
        activations(Pair(), ["idle"], torch.randn(2, 1, 3))


def test_layers_end_before_the_next_convolution_and_the_last_holds_maps_before_the_head():
    net, inputs = network(), torch.randn(1, 3, 12, 12)
    assert layer_ends(net, inputs) == {"0": "2", "3": "6", "7": "7"}
    assert feature_layers(net, inputs) == ("2", "6")
    assert last_maps(net, inputs) == "4"
    assert n_hooks(net) == 0
    with pytest.raises(ParameterError, match="runs 1 convolutions"):
        feature_layers(nn.Sequential(nn.Conv2d(3, 2, 3)), inputs)
    with pytest.raises(ParameterError, match="no layer of maps"):
        last_maps(nn.Sequential(nn.Flatten(), nn.Linear(432, 2)), inputs)


@pytest.mark.parametrize(
    ("name", "low", "high", "maps"),
    [
        ("resnet18", "maxpool", "avgpool", "layer4.1.relu"),
        ("squeezenet1_1", "features.2", "classifier.0", "classifier.0"),
        ("mobilenet_v2", "features.0.2", "classifier.0", "features.18.2"),
        ("alexnet", "features.2", "classifier.5", "avgpool"),
    ],
)
def test_published_networks_have_the_layers_of_the_paper(name, low, high, maps):
    import torchvision

    with torch.device("meta"):
        net = torchvision.models.get_model(name).eval()
        inputs = torch.empty(1, 3, 224, 224)
        names = feature_layers(net, inputs)
        assert (names[0], names[-1], last_maps(net, inputs)) == (low, high, maps)
