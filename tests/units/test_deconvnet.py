"""Projections: one by one over whole images is the definition, windows and batches must not change it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from xvcore.errors import XvError
from xvcore.models import Architecture, Classifier, Preprocessing, load
from xvcore.ops.full_precision import full_precision
from xvcore.ops.relu_rules import BackwardRule
from xvcore.ops.taps import unit_layers
from xvcore.units.method.deconvnet import Deconvnet, Projections, cut

PX = 67


class Branching(nn.Module):
    """Overlapping pools, a skip, a concatenation, a shared in-place rectifier, odd sizes: what windows must respect."""

    def __init__(self, n_classes=3):
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(3, 8, 5, 2, 1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.c, self.norm = nn.Conv2d(16, 12, 3, 2), nn.BatchNorm2d(8)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.lrn, self.head = nn.LocalResponseNorm(3, k=2.0), nn.Linear(12, n_classes)

    def forward(self, x):
        x = self.lrn(self.pool(self.relu(self.stem(x))))
        y = self.relu(self.norm(self.a(x)) + x)
        x = torch.cat([y, F.relu(self.b(x))], 1)
        return self.head(F.relu(self.c(x)).mean((2, 3)))


@pytest.fixture
def classifier():
    torch.manual_seed(2)
    network = Branching().double()
    network.norm.running_mean.normal_()
    network.norm.weight.data.normal_()
    return wrapped(network)


def wrapped(network, px=PX):
    preprocessing = Preprocessing(input_px=(px, px), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return Classifier(
        "toy", Architecture("toy", Branching, preprocessing, 3), preprocessing, network, "drawn", "0" * 64, 3
    )


@pytest.fixture
def images():
    return torch.rand(5, 3, PX, PX, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def layers_of(classifier, names=None):
    image = torch.full((1, 3, *classifier.preprocessing.input_px), 0.5, dtype=torch.float64)
    layers = unit_layers(classifier.network.double(), classifier.logits, image, names=names)
    return {layer.name: layer for layer in layers}


def literal(classifier, layer, image, seed, rule):
    """Project one activation of one whole image, by the rule alone, and cut its box."""
    kept, calls = [], []

    def keep(module, inputs, output):
        calls.append(module)
        if len(calls) == layer.call:
            kept.append(output)

    leaf = image[None].clone().requires_grad_()
    hook = classifier.network.get_submodule(layer.module).register_forward_hook(keep)
    with rule.applied():
        classifier.logits(leaf)
    hook.remove()
    unit, y, x = seed.tolist()
    chosen = kept[0][0, unit, y, x]
    (picture,) = torch.autograd.grad(chosen * chosen.detach().abs(), leaf)
    left, top, w, h = layer.field.views(seed[1:2].numpy(), seed[2:].numpy())[0].tolist()
    outside = picture.clone()
    outside[..., max(top, 0) : top + h, max(left, 0) : left + w] = 0
    assert not outside.any(), "the picture reaches out of its box"
    padded = F.pad(picture[0], (99, 99, 99, 99))
    return padded[:, 99 + top : 99 + top + h, 99 + left : 99 + left + w], chosen.detach()


@pytest.mark.parametrize("rule", ["deconvnet", "guided", "gradient"])
@pytest.mark.parametrize("name", ["relu:1", "relu:2", "b", "c"])
def test_a_batch_of_windows_is_one_whole_image_after_the_other(classifier, images, name, rule):
    layer = layers_of(classifier, [name])[name]
    height, width = layer.size
    places = [(0, 0), (height - 1, width - 1), (height // 2, width // 3), (0, width - 1), (height - 2, 1)]
    seeds = torch.tensor([(unit, y, x) for unit, (y, x) in enumerate(places)])
    rule = BackwardRule(rule)
    found = Deconvnet(rule=rule).project(classifier, layer, images, seeds)
    for index, seed in enumerate(seeds):
        picture, activation = literal(classifier, layer, images[index], seed, rule)
        torch.testing.assert_close(found.activations[index], activation)
        torch.testing.assert_close(found.pictures[index], picture, rtol=1e-9, atol=1e-12)
    whole = Deconvnet(rule=rule, region="image").project(classifier, layer, images, seeds)
    torch.testing.assert_close(found.pictures, whole.pictures, rtol=1e-9, atol=1e-12)
    assert found.pictures.any()


@pytest.mark.parametrize(
    ("name", "layer_name"), [("squeezenet1_1", "features.7.squeeze_activation"), ("alexnet", "features.7")]
)
def test_windows_are_exact_in_real_architectures(name, layer_name):
    classifier = load(f"{name}@random?classes=3")
    classifier.network.double()
    layer = layers_of(classifier, [layer_name])[layer_name]
    height, width = layer.size
    seeds = torch.tensor([(0, 0, 0), (1, height - 1, 2), (2, height // 2, width // 2), (3, 3, width - 1)])
    images = torch.rand(4, 3, 224, 224, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    windows = Deconvnet().project(classifier, layer, images, seeds)
    whole = Deconvnet(region="image").project(classifier, layer, images, seeds)
    torch.testing.assert_close(windows.activations, whole.activations)
    torch.testing.assert_close(windows.pictures, whole.pictures, rtol=1e-7, atol=1e-9 * float(whole.scales.max()))
    assert whole.pictures.any()


def test_a_map_whose_size_does_not_follow_the_image_takes_the_whole_image(images):
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(13),
        nn.Conv2d(4, 4, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(676, 3),
    ).double()
    classifier = wrapped(network)
    layer = layers_of(classifier, ["4"])["4"]
    seeds = torch.tensor([(1, 12, 0), (2, 6, 6)])
    found = Deconvnet().project(classifier, layer, images[:2], seeds)
    expected, _ = literal(classifier, layer, images[1], seeds[1], BackwardRule())
    torch.testing.assert_close(found.pictures[1], expected)


class OfOneSize(nn.Module):
    """Adds a table to a map, or looks at the size, as networks with positions do."""

    def __init__(self, *, checks):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(6, 5, 3), nn.Linear(5, 3)
        self.table = nn.Parameter(torch.randn(1, 6, 33, 33))
        self.relu, self.checks = nn.ReLU(), checks

    def forward(self, x):
        if self.checks:
            assert x.shape[2:] == (PX, PX), "another size"
        x = self.relu(self.first(x) + self.table)
        return self.head(F.max_pool2d(self.relu(self.second(x)), 3).mean((2, 3)))


@pytest.mark.parametrize("checks", [True, False])
@pytest.mark.parametrize("name", ["relu:1", "relu:2"])
def test_a_network_of_one_size_takes_the_whole_image(images, checks, name):
    torch.manual_seed(5)
    classifier = wrapped(OfOneSize(checks=checks).double())
    layer = layers_of(classifier, [name])[name]
    assert max(layer.field.size) < PX
    seeds = torch.tensor([(1, 20, 3), (2, 0, 28)])
    found = Deconvnet().project(classifier, layer, images[:2], seeds)
    for index in range(2):
        expected, activation = literal(classifier, layer, images[index], seeds[index], BackwardRule())
        torch.testing.assert_close(found.pictures[index], expected)
        torch.testing.assert_close(found.activations[index], activation)


def test_fully_connected_units_see_the_whole_image():
    classifier = load("alexnet@random?classes=3")
    layer = layers_of(classifier, ["classifier.2"])["classifier.2"]
    image = torch.rand(1, 3, 224, 224, dtype=torch.float64)
    found = Deconvnet().project(classifier, layer, image, torch.tensor([[17, 0, 0]]))
    assert found.pictures.shape == image.shape
    assert found.boxes.tolist() == [[0, 0, 224, 224]]


def test_one_image_may_come_several_times_with_different_seeds(classifier, images):
    layer = layers_of(classifier)["relu:2"]
    seeds = torch.tensor([(unit, 5, 5) for unit in range(5)])
    together = Deconvnet().project(classifier, layer, images[:1].expand(5, -1, -1, -1), seeds)
    alone = [Deconvnet().project(classifier, layer, images[:1], seed[None]).pictures for seed in seeds]
    torch.testing.assert_close(together.pictures, torch.cat(alone))


@pytest.mark.parametrize("rule", ["deconvnet", "guided", "gradient"])
@pytest.mark.parametrize("region", ["receptive_field", "image"])
@pytest.mark.parametrize("name", ["relu:1", "relu:2", "b", "c"])
def test_seeds_of_one_image_share_its_pass_and_nothing_changes(classifier, images, name, region, rule):
    layer = layers_of(classifier, [name])[name]
    height, width = layer.size
    image_of = torch.tensor([3, 0, 0, 3, 1, 0, 3])  # in no order; of one image none
    seeds = torch.tensor([(index, index % height, 2 * index % width) for index in range(len(image_of))])
    deconvnet = Deconvnet(rule=BackwardRule(rule), region=region)
    shared = deconvnet.project(classifier, layer, images, seeds, image_of)
    alone = deconvnet.project(classifier, layer, images[image_of], seeds)
    assert torch.equal(shared.boxes, alone.boxes)
    torch.testing.assert_close(shared.activations, alone.activations)
    torch.testing.assert_close(shared.pictures, alone.pictures, rtol=1e-9, atol=1e-12)
    assert shared.pictures.any()


def test_seeds_of_one_image_share_its_pass_in_a_real_architecture():
    classifier, layer_name = load("squeezenet1_1@random?classes=3"), "features.12.expand3x3_activation"
    classifier.network.double()
    layer = layers_of(classifier, [layer_name])[layer_name]
    image_of = torch.tensor([1, 0, 1])
    seeds = torch.tensor([(0, 0, 0), (1, layer.size[0] - 1, 2), (2, 3, layer.size[1] // 2)])
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shared = Deconvnet().project(classifier, layer, images, seeds, image_of)
    alone = Deconvnet().project(classifier, layer, images[image_of], seeds)
    torch.testing.assert_close(shared.pictures, alone.pictures, rtol=1e-7, atol=1e-9 * float(alone.scales.max()))
    assert alone.pictures.any()


def test_the_activation_decides_the_scale_only(classifier, images):
    layer = layers_of(classifier)["relu:2"]
    seeds = torch.tensor([(unit, 4, 6) for unit in range(5)])
    one = Deconvnet(seed="one").project(classifier, layer, images, seeds)
    scaled = Deconvnet().project(classifier, layer, images, seeds)
    factor = one.activations.abs()[:, None, None, None]
    torch.testing.assert_close(scaled.pictures, one.pictures * factor)


def test_a_picture_for_the_eye_has_grey_for_zero_and_touches_a_bound(classifier, images):
    found = Deconvnet(seed="one").project(
        classifier, layers_of(classifier)["relu:2"], images, torch.tensor([(1, 0, 0)] * 5)
    )
    shown = found.shown()
    assert ((shown - 0.5).abs().amax((1, 2, 3)) == 0.5).all()
    assert (shown[found.pictures == 0] == 0.5).all()
    assert (found.pictures == 0).any(), "the box reaches out of the image"


def test_a_box_is_cut_with_grey_outside_of_the_image():
    images = torch.arange(2 * 3 * 4 * 4).view(2, 3, 4, 4).float() / 96
    boxes = torch.tensor([[-1, -1, 3, 2], [2, 3, 3, 2]])
    cuts = cut(images, boxes)
    assert cuts.shape == (2, 3, 2, 3)
    assert torch.equal(cuts[0, :, 1, 1:], images[0, :, 0, :2])
    assert (cuts[0, :, 0] == 0.5).all()
    assert torch.equal(cuts[1, :, 0, :2], images[1, :, 3, 2:])
    assert (cuts[1, :, 1] == 0.5).all()
    assert (cuts[1, :, :, 2] == 0.5).all()


def test_pictures_differ_from_image_to_image_only_through_the_switches(classifier, images):
    first = layers_of(classifier)["relu:1"]
    found = Deconvnet(seed="one").project(classifier, first, images, torch.tensor([(3, 9, 9)] * 5))
    torch.testing.assert_close(found.pictures, found.pictures[:1].expand_as(found.pictures))
    second = layers_of(classifier)["relu:2"]
    found = Deconvnet(seed="one").project(classifier, second, images, torch.tensor([(3, 9, 9)] * 5))
    assert (found.pictures[0] - found.pictures[1]).abs().max() > 0.01 * found.scales[0]


@pytest.mark.parametrize(("name", "reason"), [("mobilenet_v2", "no max-pooling"), ("efficientnet_b0", "× silu")])
def test_networks_without_meaning_are_refused_before_any_work(name, reason):
    classifier = load(f"{name}@random?classes=2&input=64")
    layer = layers_of(classifier, ["features.1"])["features.1"]
    with pytest.raises(XvError, match=reason):
        Deconvnet().project(classifier, layer, torch.rand(1, 3, 64, 64).double(), torch.tensor([[0, 0, 0]]))
    assert Deconvnet.gradient().check_fits(classifier).max_pools == 0


def test_seeds_that_do_not_fit_are_refused(classifier, images):
    layer = layers_of(classifier)["relu:2"]
    with pytest.raises(XvError, match=r"unit = 8 … 8: relu:2 has 0 … 7"):
        Deconvnet().project(classifier, layer, images[:1], torch.tensor([[8, 0, 0]]))
    with pytest.raises(XvError, match="5 images, 1 seeds"):
        Deconvnet().project(classifier, layer, images, torch.tensor([[1, 0, 0]]))
    with pytest.raises(XvError, match="was found for"):
        Deconvnet().project(classifier, layer, images[..., :60], torch.tensor([[1, 0, 0]] * 5))
    with pytest.raises(XvError, match=r"image_of = 5 … 5: there are 0 … 4"):
        Deconvnet().project(classifier, layer, images, torch.tensor([[1, 0, 0]]), torch.tensor([5]))


@pytest.mark.gpu
def test_a_gpu_projects_what_the_cpu_does(classifier, images):
    layer = layers_of(classifier)["relu:2"]
    seeds = torch.tensor([(unit, 4, 6) for unit in range(5)])
    expected = Deconvnet().project(classifier, layer, images, seeds)
    with full_precision():
        found = Deconvnet().project(classifier.to("cuda"), layer, images.cuda(), seeds)
    torch.testing.assert_close(found.pictures.cpu(), expected.pictures, rtol=1e-4, atol=1e-5)


def test_contrast_clips_the_largest_values_and_keeps_the_others_in_proportion():
    pictures = torch.zeros(2, 3, 10, 10)
    pictures[0, 0] = torch.arange(100.0).view(10, 10) - 50
    pictures[0, 1, 0, 0] = 1000.0
    found = Projections(pictures, torch.ones(2), torch.zeros(2, 4, dtype=torch.long))
    values = pictures[0].abs().flatten().sort().values
    assert found.scales_at(0.99)[0] == values[296]
    assert found.scales.tolist() == [1000.0, 0.0]
    shown = found.shown(0.99)
    inside = pictures[0].abs() <= values[296]
    torch.testing.assert_close(shown[0][inside], (pictures[0] / (2 * values[296]) + 0.5)[inside])
    assert (shown[0][~inside] == (pictures[0][~inside] > 0).float()).all()
    assert (shown[1] == 0.5).all()  # nothing to show is grey
    assert found.scales_at(0.5)[0] > 0  # where most values are 0 the largest decides
