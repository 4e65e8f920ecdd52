"""BagNets: the published sizes, files that load as they are, and what a patch is."""

import pytest
import torch
from torch import Tensor, nn

from xvcore.errors import ParameterError, WeightsError
from xvcore.models import find, load
from xvcore.models.bagnet import FILES, RELEASE, BagNet, Layout, build
from xvcore.ops.patch_grid import PatchGrid

SIDES = (9, 17, 33)
GRIDS = {9: (27, 28, 31, 37), 17: (26, 27, 30, 36), 33: (24, 25, 28, 34)}  # at 224, 225, 256, 299 px


def narrow(side: int, *, is_padded: bool = False, n_classes: int = 5) -> BagNet:
    """Return a network with the published structure and few channels, in float64, whose batch norms do something."""
    layout = Layout(side, 16, (8, 8, 16, 16), is_padded=is_padded)
    generator = torch.Generator().manual_seed(side)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(side)
        network = build(n_classes, layout=layout).double().eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for name, low, high in (("weight", 0.5, 1.5), ("bias", -0.2, 0.4), ("running_mean", -0.3, 0.3)):
                getattr(module, name).uniform_(low, high, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network


def pictures(height: int, width: int, n: int = 1) -> Tensor:
    return torch.randn(n, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def evidence(network: BagNet, images: Tensor) -> Tensor:
    return nn.functional.conv2d(network.features(images), network.fc.weight[:, :, None, None], network.fc.bias)


@pytest.mark.parametrize(("side", "size"), [(9, 15_688_744), (17, 16_213_032), (33, 18_310_184)])
def test_the_published_sizes(side, size):
    with torch.device("meta"):
        network = find(f"bagnet{side}").build(1000)
        later = find(f"bagnet{side}_v2").build(1000)
    assert sum(each.numel() for each in network.parameters()) == size
    state = network.state_dict()
    assert len(state) == 321
    assert sum(not key.endswith("num_batches_tracked") for key in state) == 268
    assert list(state)[:3] == ["conv1.weight", "conv2.weight", "bn1.weight"]
    assert list(state)[-2:] == ["fc.weight", "fc.bias"]
    spatial = [key for key in state if state[key].ndim == 4 and state[key].shape[2:] == (3, 3)]
    wide = [f"layer{stage}.0.conv2.weight" for stage in range(1, 3 + SIDES.index(side))]
    assert spatial == ["conv2.weight", *wide]
    block = [f"layer3.0.{name}" for name in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "downsample")]
    keys = [key for key in state if key.startswith("layer3.0.")]
    order = [next(name for name in block if key.startswith(f"{name}.")) for key in keys]
    assert order == sorted(order, key=block.index)
    assert sum(each.numel() for each in later.parameters()) == size - 3 * 64 - 64 * 64 * 9 + 3 * 64 * 9
    assert len(later.state_dict()) == 320


@pytest.mark.parametrize(
    ("wrap", "has_counters"), [(None, True), (None, False), ("state_dict", True), ("module", False)]
)
def test_a_file_of_the_release_loads_as_it_is(tmp_path, wrap, has_counters):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        kept = find("bagnet9").build(1000).state_dict()
    for key, value in kept.items():
        if "running" in key:
            value.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
    state = {key: value for key, value in kept.items() if has_counters or not key.endswith("num_batches_tracked")}
    assert len(state) == (321 if has_counters else 268)
    if wrap == "module":
        state = {f"module.{key}": value for key, value in state.items()}
    path = tmp_path / "bagnet8.pth.tar"
    torch.save({"state_dict": state, "epoch": 3} if wrap else state, path, _use_new_zipfile_serialization=False)
    loaded = load(f"bagnet9@{path}")
    assert loaded.n_classes == 1000
    assert len(loaded.outputs) == 1000
    found = loaded.network.state_dict()
    assert all(torch.equal(found[key], kept[key]) for key in kept)


def test_a_file_of_another_member_of_the_family_is_refused(tmp_path):
    path = tmp_path / "w.pt"
    torch.save(find("partbirds_bagnet17").build(7).state_dict(), path)
    with pytest.raises(WeightsError, match="do not fit partbirds_bagnet33"):
        load(f"partbirds_bagnet33@{path}")
    with pytest.raises(WeightsError, match="do not fit bagnet17"):
        load(f"bagnet17@{path}")


@pytest.mark.parametrize("side", SIDES)
def test_the_release_is_known_with_its_digest(side):
    (weights,) = find(f"bagnet{side}").published.values()
    digest = {9: "34f4ccd2", 17: "105524de", 33: "2ddd53ed"}[side]
    assert weights.url == f"{RELEASE}/{FILES[side]}#sha256={digest}"
    assert weights.preprocessing.input_px == (224, 224)
    assert find(f"bagnet{side}_v2").published == {}


@pytest.mark.parametrize("side", [9, *(pytest.param(side, marks=pytest.mark.slow) for side in SIDES if side != 9)])
def test_grids_of_usual_inputs(side):
    with torch.device("meta"):
        network, later = find(f"bagnet{side}").build(7).eval(), find(f"bagnet{side}_v2").build(7).eval()
        for px, n in zip((224, 225, 256, 299), GRIDS[side], strict=True):
            images = torch.empty(1, 3, px, px)
            assert network.features(images).shape[2:] == (n, n) == network.layout.patches.size(px, px)
            expected = later.layout.patches.size(px, px)
            assert later.features(images).shape[2:] == expected == (-(-px // 8),) * 2
            assert network(images).shape == (1, 7)
        assert network.features(torch.empty(1, 3, 224, 299)).shape[2:] == (GRIDS[side][0], GRIDS[side][3])


@pytest.mark.parametrize("side", SIDES)
def test_evidence_is_the_network_on_the_patch_cut_out(side):
    network, images = narrow(side), pictures(side + 19, side + 34)
    found = evidence(network, images)
    for i in range(found.shape[2]):
        for j in range(found.shape[3]):
            patch = images[:, :, 8 * i : 8 * i + side, 8 * j : 8 * j + side]
            torch.testing.assert_close(found[:, :, i, j], network(patch), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("is_padded", [False, True])
def test_the_mean_of_the_evidence_is_the_logit_at_any_size(side, is_padded):
    network = narrow(side, is_padded=is_padded)
    for size in ((side, side), (side + 8, side + 30), (64, 41)):
        images = pictures(*size, n=2)
        torch.testing.assert_close(evidence(network, images).mean((2, 3)), network(images), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("is_padded", [False, True])
def test_the_gradient_of_an_element_lives_on_its_patch_and_on_all_of_it(side, is_padded):
    network, images = narrow(side, is_padded=is_padded), pictures(side + 24, side + 31, n=4).requires_grad_()
    features = network.features(images)
    boxes = network.layout.patches.boxes(*images.shape[2:])
    for i, j in ((0, 0), (1, 2), (features.shape[2] - 1, features.shape[3] - 1)):
        (gradient,) = torch.autograd.grad(features[:, :, i, j].sum(), images, retain_graph=True)
        expected = torch.zeros(images.shape[2:], dtype=torch.bool)
        x, y, w, h = boxes[i, j].int().tolist()
        expected[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = True
        assert torch.equal(gradient.abs().amax((0, 1)) > 0, expected)


@pytest.mark.parametrize("side", SIDES)
def test_pixels_after_the_last_whole_patch_are_not_seen(side):
    network, images = narrow(side), pictures(side + 15, side + 15)
    other = images.clone()
    other[:, :, side + 8 :], other[:, :, :, side + 8 :] = 9, 9
    assert torch.equal(network(images), network(other))
    other[:, :, side + 7] = 9
    assert not torch.equal(network(images), network(other))


@pytest.mark.parametrize("side", SIDES)
def test_removed_regions_add_up_from_a_gap_of_a_patch_less_one_pixel_on(side):
    network, removed = narrow(side), 5
    width = 2 * removed + side + 24
    images = pictures(side + 8, width)

    def error(gap: int, start: int) -> float:
        first, second = images.clone(), images.clone()
        first[..., start : start + removed] = 0
        second[..., start + removed + gap : start + 2 * removed + gap] = 0
        both = first.where(first == 0, second)
        logits = network(torch.cat([images, first, second, both]))
        drops = logits[0] - logits[1:]
        return float((drops[0] + drops[1] - drops[2]).abs().max())

    assert max(error(side - 1, start) for start in range(8)) < 1e-12
    assert max(error(side - 2, start) for start in range(8)) > 1e-6


@pytest.mark.parametrize("side", SIDES)
def test_dense_features_are_those_of_the_patch_that_starts_at_each_pixel(side):
    network, images = narrow(side), pictures(side + 9, side + 12)
    dense = network.dense_features(images)
    assert dense.shape[2:] == (10, 13)
    torch.testing.assert_close(dense[:, :, ::8, ::8], network.features(images), rtol=1e-12, atol=1e-12)
    for y, x in ((0, 0), (3, 5), (9, 12), (7, 1)):
        patch = network.features(images[:, :, y : y + side, x : x + side])
        torch.testing.assert_close(dense[:, :, y, x], patch[:, :, 0, 0], rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
def test_the_identities_hold_at_full_width(side):
    classifier = load(f"bagnet{side}@random?seed=1")
    network, images = classifier.network.double(), pictures(224, 224)
    found = evidence(network, images)
    n = GRIDS[side][0]
    assert found.shape == (1, 1000, n, n)
    torch.testing.assert_close(found.mean((2, 3)), network(images), rtol=1e-10, atol=1e-12)
    for i, j in ((0, 0), (3, n - 1), (n - 1, 5)):
        patch = network(images[:, :, 8 * i : 8 * i + side, 8 * j : 8 * j + side])
        torch.testing.assert_close(found[:, :, i, j], patch, rtol=1e-10, atol=1e-12)


def test_what_cannot_be_is_refused():
    with pytest.raises(ParameterError, match="patch_px = 16: expected one of 9, 17, 33"):
        Layout(16)
    with pytest.raises(ParameterError, match="padded"):
        narrow(9, is_padded=True).dense_features(pictures(40, 40))
    with pytest.raises(ParameterError, match="at least 33 px"):
        PatchGrid(33, 8).size(32, 64)
    with pytest.raises(ParameterError, match="cannot take images of 16 × 16 px"):
        load("partbirds_bagnet17@random").logits(torch.rand(1, 3, 16, 16))


def test_official_weights_are_used_in_float32_and_trained_in_whatever_is_wanted():
    images = pictures(40, 40).float()
    network = narrow(17).float()
    exact = network(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(images), exact)
        assert torch.equal(network.features(images), network.features(images).float())
        assert network.train()(images).dtype == torch.bfloat16


def test_the_small_networks_are_of_whole_multiples_of_eight_channels():
    # oneDNN of torch 2.15 writes beyond its memory in the weight gradient of narrower strided layers, channels last.
    for side in SIDES:
        network = find(f"partbirds_bagnet{side}").build(7)
        convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
        assert all(each.out_channels % 8 == 0 for each in convolutions)
        strided = [each for each in convolutions if each.stride != (1, 1)]
        assert all(each.in_channels >= 8 for each in strided)
