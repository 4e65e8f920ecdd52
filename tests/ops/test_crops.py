"""What comes down on crops is what autograd brings down over whole maps."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xvcore.models import load
from xvcore.ops.crops import Crops, Way
from xvcore.ops.relu_rules import BackwardRule

PX = 45


class Everything(nn.Module):
    """Every step that is known: strides, dilation, groups, odd pools, averages, a skip, a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 5, 2, 1), nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4)
        self.one, self.three = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 6, (3, 1), padding=(1, 0))
        self.last = nn.Conv2d(10, 7, 3, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.max_pool2d(F.relu(self.norm(self.stem((images - 0.5) / 0.25))), 3, 2, padding=1, ceil_mode=True)
        maps = F.relu(self.wide(maps) + maps)
        maps = torch.cat([F.relu(self.one(maps)), F.relu(self.three(maps))], 1)
        return F.relu(self.last(F.avg_pool2d(maps, 3, 1, padding=1)))


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(1)
    network = Everything().double().eval().requires_grad_(requires_grad=False)
    network.norm.running_mean.normal_()
    network.norm.running_var.uniform_(0.5, 2)
    return network


def literal(maps: Tensor, images: Tensor, number: int, at: tuple[int, int], signal: Tensor) -> Tensor:
    whole = torch.zeros_like(maps)
    whole[number, :, at[0], at[1]] = signal
    return torch.autograd.grad(maps, images, whole, retain_graph=True)[0][number]


def placed(crops: Crops, number: int, size: tuple[int, int]) -> Tensor:
    """Return a crop on the whole image; it must be zero beyond."""
    top, left = int(crops.top[number]), int(crops.left[number])
    h, w = crops.values.shape[2:]
    around = torch.zeros(crops.values.shape[1], size[0] + 2 * h, size[1] + 2 * w, dtype=crops.values.dtype)
    around[:, h + top : 2 * h + top, w + left : 2 * w + left] = crops.values[number]
    inside = around[:, h : h + size[0], w : w + size[1]].clone()
    around[:, h : h + size[0], w : w + size[1]] = 0
    assert not around.any()
    return inside


@pytest.mark.parametrize("rule", ["deconvnet", "guided", "gradient"])
@pytest.mark.parametrize("width", [PX, 31])
def test_what_comes_down_on_crops_is_what_autograd_brings_down(network: nn.Module, rule: str, width: int) -> None:
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(3, 3, PX, width, generator=generator, dtype=torch.float64).requires_grad_()
    with BackwardRule(rule).applied():
        maps = network(images)
    way = Way.down(maps, images)
    assert way is not None
    height, width = maps.shape[2:]
    y = np.array([0, height - 1, height // 2, 0, 1, height - 2])
    x = np.array([0, width - 1, width // 2, width - 1, 0, 1])
    of_image = np.array([0, 1, 2, 2, 0, 1])
    signals = torch.randn(6, 7, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        found = way(signals, of_image, y, x)
    n_empty = 0
    for number in range(6):
        expected = literal(maps, images, int(of_image[number]), (int(y[number]), int(x[number])), signals[number])
        torch.testing.assert_close(placed(found, number, images.shape[2:]), expected, rtol=1e-9, atol=1e-12)
        n_empty += not expected.any()
    assert n_empty < 4


def test_signals_of_one_place_carry_their_field_only(network: nn.Module) -> None:
    images = torch.rand(1, 3, 201, 201, dtype=torch.float64).requires_grad_()
    maps = network(images)
    way = Way.down(maps, images)
    assert way is not None
    with torch.no_grad():
        found = way(torch.ones(1, 7, dtype=torch.float64), np.zeros(1, int), np.array([12]), np.array([12]))
    assert max(found.values.shape[2:]) < 60


def test_a_signal_has_as_much_of_the_largest_maps_as_its_place_sees(network: nn.Module) -> None:
    images = torch.rand(2, 3, PX, PX, dtype=torch.float64).requires_grad_()
    way = Way.down(network(images), images)
    assert way is not None
    largest = images[0].nbytes
    assert way.signal_bytes((PX, PX)) == way.signal_bytes((2 * PX, PX)) == largest
    assert way.signal_bytes((PX // 3, PX)) == pytest.approx(largest / 3)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("squeezenet1_1", "features.12"),
        ("vgg11_bn", "features.15"),
        ("resnet18", "layer2"),
        ("googlenet", "inception3a"),
    ],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_maps_of_known_classifiers_can_be_followed(name: str, module: str, layout: torch.memory_format) -> None:
    classifier = load(f"{name}@random?classes=3")
    images = torch.rand(1, 3, 96, 96).contiguous(memory_format=layout).requires_grad_()
    kept: list[Tensor] = []
    handle = classifier.network.get_submodule(module).register_forward_hook(lambda *call: kept.append(call[2]))
    with BackwardRule().applied():
        classifier.logits(images)
    handle.remove()
    assert Way.down(kept[-1], images) is not None, "from the maps to the pixels, through the normalisation"


@pytest.mark.parametrize(
    "step", [torch.sigmoid, lambda maps: maps * maps, lambda maps: F.interpolate(maps, scale_factor=2)]
)
def test_what_is_not_known_is_left_to_autograd(network: nn.Module, step) -> None:
    images = torch.rand(1, 3, PX, PX, dtype=torch.float64).requires_grad_()
    assert Way.down(step(network(images)), images) is None
    assert Way.down(network(images).mean((2, 3)), images) is None
    assert Way.down(network(images.detach()), images) is None
