"""Receptive fields: the published sizes, and pixels outside of the box that cannot matter."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from xvcore.errors import XvError
from xvcore.models.zfnet import ZFNet
from xvcore.ops.receptive_field import FieldMode, ReceptiveField


def field_of(network: nn.Module, px: int, layer: str) -> tuple[ReceptiveField, torch.Size]:
    """Return the field of a layer's output and the output's shape."""
    dtype = next((each.dtype for each in network.parameters()), torch.float32)
    image, found = torch.rand(1, 3, px, px, dtype=dtype), []
    mode = FieldMode(image)
    hook = network.get_submodule(layer).register_forward_hook(
        lambda *call: found.append((mode.of(call[2]), call[2].shape))
    )
    with torch.no_grad(), mode:
        network(image)
    hook.remove()
    return found[-1]


def built(name, **options):
    torch.manual_seed(0)
    options |= {"init_weights": False} if name in ("googlenet", "inception_v3", "vgg16") else {}
    return getattr(torchvision.models, name)(**options).eval()


@pytest.mark.parametrize(
    ("name", "px", "sizes"),
    [
        (
            "alexnet",
            227,
            {
                "features.1": 11,
                "features.4": 51,
                "features.7": 99,
                "features.9": 131,
                "features.11": 163,
                "features.12": 195,
            },
        ),
        ("resnet18", 224, {"layer1": 43, "layer2": 99, "layer3": 211, "layer4": 435}),
        pytest.param(
            "resnet50", 224, {"layer1": 35, "layer2": 91, "layer3": 267, "layer4": 427}, marks=pytest.mark.slow
        ),
    ],
)
def test_fields_have_the_published_sizes(name, px, sizes):
    network = built(name)
    assert {layer: field_of(network, px, layer)[0].size[0] for layer in sizes} == sizes


def test_vgg_has_the_published_sizes():
    sizes = {
        "features.3": 5,
        "features.8": 14,
        "features.15": 40,
        "features.22": 92,
        "features.29": 196,
        "features.30": 212,
    }
    network = nn.Sequential(
        *(each if not isinstance(each, nn.Conv2d) else thin(each) for each in built("vgg16").features)
    )
    assert {layer: field_of(network, 224, layer[9:])[0].size[0] for layer in sizes} == sizes


def thin(conv: nn.Conv2d) -> nn.Conv2d:
    """Return a convolution of the same geometry with two maps."""
    return nn.Conv2d(
        min(conv.in_channels, 3) if conv.in_channels == 3 else 2, 2, conv.kernel_size, conv.stride, conv.padding
    )


def test_zfnet_has_the_published_sizes_steps_and_starts():
    with torch.device("meta"):
        network = ZFNet()(1000)
    network = nn.Sequential(*(each.to_empty(device="cpu") for each in network[:16]))
    names = dict(zip([name for name, _ in ZFNet()(1).named_children()], range(17), strict=False))
    fields = {
        name: field_of(network, 224, str(names[name]))[0]
        for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "pool5")
    }
    assert {name: field.size for name, field in fields.items()} == {
        "conv1": (7, 7), "conv2": (27, 27), "conv3": (75, 75), "conv4": (107, 107), "conv5": (139, 139), "pool5": (171, 171),
    }  # fmt: skip
    for name, step, start in (("conv1", 2, 2), ("conv2", 8, 12), ("conv3", 16, 20), ("pool5", 32, 36)):
        axis = fields[name].y
        assert axis.step == step
        assert (axis.low[0] + axis.high[0]) / 2 == start


@pytest.mark.parametrize(
    ("name", "layer", "px"),
    [
        ("alexnet", "features.11", 227),
        pytest.param("googlenet", "inception4a", 160, marks=pytest.mark.slow),
        pytest.param("densenet121", "features.transition1", 96, marks=pytest.mark.slow),
        ("squeezenet1_1", "features.7", 224),
        pytest.param("shufflenet_v2_x0_5", "stage2", 96, marks=pytest.mark.slow),
        pytest.param("resnet18", "layer2", 128, marks=pytest.mark.slow),
        pytest.param("convnext_tiny", "features.1.1.block.4", 96, marks=pytest.mark.slow),
        pytest.param("mnasnet0_5", "layers.9", 128, marks=pytest.mark.slow),
    ],
)
def test_pixels_outside_of_the_box_do_not_matter_and_those_at_its_edge_do(name, layer, px, check_field):
    check_field(built(name, **({"aux_logits": False} if name == "googlenet" else {})), layer, px)


def test_the_box_of_zfnets_layer_5_holds_what_its_unit_sees(check_field):
    check_field(nn.Sequential(*ZFNet()(2)[:13]).eval(), "12", 224)


@pytest.mark.slow
def test_the_box_of_vggs_conv5_3_holds_what_its_unit_sees(check_field):
    check_field(built("vgg16").features, "29", 224)


@pytest.fixture
def check_field(monkeypatch):
    """Return a function: a place depends on no pixel outside of its box, and on some at each of its four sides."""

    def check(network, layer, px):
        network = network.double()
        field, shape = field_of(network, px, layer)
        # Strictly rising activations and mean pooling, so that no pixel hides behind a zero or a larger one.
        monkeypatch.setattr(F, "relu", lambda values, **_: F.softplus(values))
        monkeypatch.setattr(
            F,
            "max_pool2d",
            lambda x, k, stride, padding, *_, ceil_mode, **__: F.avg_pool2d(x, k, stride, padding, ceil_mode),
        )
        is_last = shape[-2:] == (len(field.y), len(field.x))
        y, x = len(field.y) // 2, len(field.x) // 3
        image = torch.rand(1, 3, px, px, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        outside = torch.ones(px, px, dtype=torch.bool)
        left, top, w, h = field.boxes(np.array([y]), np.array([x]))[0]
        outside[max(top, 0) : top + h, max(left, 0) : left + w] = False
        assert outside.any(), "the box covers all: the test says nothing"
        noisy = torch.where(outside, torch.rand(1, 3, px, px, dtype=torch.float64), image)
        got = []
        place = (0, slice(None), y, x) if is_last else (0, y, x)
        hook = network.get_submodule(layer).register_forward_hook(lambda *call: got.append(call[2][place]))
        leaf = image.clone().requires_grad_()
        network(leaf)
        with torch.no_grad():
            network(noisy)
        hook.remove()
        torch.testing.assert_close(got[1], got[0].detach(), rtol=1e-9, atol=1e-12)
        (gradient,) = torch.autograd.grad(got[0].sum(), leaf)
        seen = gradient.abs().sum((0, 1)) > 0
        rows, columns = seen.any(1).nonzero()[:, 0], seen.any(0).nonzero()[:, 0]
        assert (int(rows[0]), int(rows[-1])) == (max(top, 0), min(top + h, px) - 1)
        assert (int(columns[0]), int(columns[-1])) == (max(left, 0), min(left + w, px) - 1)

    return check


@pytest.mark.parametrize("name", ["vit_b_32", "regnet_y_400mf"])
def test_what_mixes_all_places_sees_the_whole_image(name):
    layer = {"vit_b_32": "encoder.layers.encoder_layer_0", "regnet_y_400mf": "trunk_output.block1"}[name]
    field, _ = field_of(built(name), 224, layer)
    boxes = field.boxes(np.array([0]), np.array([0]))[0]
    assert boxes[0] <= 0
    assert boxes[1] <= 0
    assert (boxes[:2] + boxes[2:] >= 224).all()


def test_a_place_that_the_map_does_not_have_is_refused():
    field, _ = field_of(nn.Sequential(nn.Conv2d(3, 2, 3)), 10, "0")
    with pytest.raises(XvError, match=r"y = 8 … 8: the map has the places 0 … 7"):
        field.boxes(np.array([8]), np.array([0]))


def test_branches_of_different_reach_count_together():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.near, self.far = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 5, padding=2, dilation=1)
            self.end = nn.Identity()

        def forward(self, x):
            both = torch.cat([self.near(x), F.avg_pool2d(self.far(x), 3, 1, 1)], 1)
            return self.end(both.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2))

    field, _ = field_of(Branches(), 12, "end")
    assert field.size == (7, 7)
    assert field.boxes(np.array([5]), np.array([4])).tolist() == [[1, 2, 7, 7]]


class Steps(nn.Module):
    """Convolutions with a rearrangement or a normalisation between them."""

    def __init__(self, step, n):
        super().__init__()
        self.first, self.step, self.second = nn.Conv2d(3, 4, 3, padding=1), step, nn.Conv2d(n, 5, 3, padding=1)

    def forward(self, x):
        return self.second(self.step(self.first(x)))


def to_depth(x):
    n, c, h, w = x.shape
    x = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).contiguous()
    return x.view(n, c * 4, h // 2, w // 2)


def from_depth(x):
    n, c, h, w = x.shape
    return x.view(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // 4, h * 2, w * 2)


def focus(x):
    return torch.cat([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)


def last(function):
    return lambda x: function(x.movedim(1, -1)).movedim(-1, 1)


STEPS = {
    "to_depth": (to_depth, 16),
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), 16),
    "focus": (focus, 16),
    "rows_cut": (lambda x: x[:, None, :, 3:-1, :-2][:, 0], 4),
    "rms_norm": (last(lambda x: F.rms_norm(x, (4,))), 4),
    "layer_norm_of_a_number": (last(lambda x: F.layer_norm(x, [4])), 4),
    "rms_by_hand": (lambda x: x * x.square().mean(1, keepdim=True).add(1e-6).rsqrt(), 4),
    "norm_by_hand": (lambda x: (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 1e-6).sqrt(), 4),
    "normalize": (lambda x: F.normalize(x, dim=1), 4),
    "unflattened": (lambda x: x.flatten(2).unflatten(2, x.shape[2:]), 4),
}
WHOLE = ("unflattened",)


@pytest.mark.parametrize("name", STEPS)
def test_what_stands_between_convolutions_is_followed(name, check_field):
    torch.manual_seed(1)
    step, n = STEPS[name]
    network = Steps(step, n).eval()
    if name in WHOLE:
        assert field_of(network, 24, "second")[0].size[1] >= 24
    else:
        check_field(network, "second", 24)


class BackAndForth(nn.Module):
    def __init__(self, back):
        super().__init__()
        self.first, self.middle, self.last, self.back = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Conv2d(16, 16, 1),
            nn.Conv2d(4, 4, 1),
            back,
        )

    def forward(self, x):
        return self.last(self.back(self.middle(to_depth(self.first(x)))))


@pytest.mark.parametrize("back", [from_depth, lambda x: F.pixel_shuffle(x, 2)])
def test_places_of_one_block_see_what_the_block_sees(back, check_field):
    torch.manual_seed(1)
    network = BackAndForth(back).eval()
    check_field(network, "last", 16)
    field = field_of(network.double(), 16, "last")[0]
    assert field.y.low.tolist() == [place // 2 * 2 - 1 for place in range(16)]


def test_what_is_written_into_a_map_may_see_anything():
    class Shift(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.end = nn.Conv2d(3, 2, 1), nn.Identity()

        def forward(self, x):
            x = self.first(x)
            x[:, :, 4:] = x[:, :, :-4].clone()
            return self.end(x)

    assert field_of(Shift(), 12, "end")[0].size == (12, 12)


def test_tokens_of_a_grid_keep_no_field_of_rows_alone():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.end = nn.Conv2d(3, 2, 4, 4), nn.Identity()

        def forward(self, x):
            return self.end(self.first(x).flatten(2).transpose(1, 2))

    assert field_of(Tokens(), 12, "end")[0].size == (12, 12)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layer"), [("convnext_zepto_rms", "stages.0"), ("tresnet_m", "body.layer1.0.conv1")])
def test_fields_behind_space_to_depth_and_root_mean_squares_are_boxes(name, layer, check_field):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    check_field(timm.create_model(name).eval(), layer, 128)
