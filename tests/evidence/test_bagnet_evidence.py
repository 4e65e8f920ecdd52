"""Evidence adds up to the decision where it can, and is refused where it cannot."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from xvcore.errors import ParameterError, XvError
from xvcore.evidence.method.bagnet_evidence import BagNetEvidence, _tiles
from xvcore.models import Classifier, Preprocessing, find, load
from xvcore.models.architecture import Architecture
from xvcore.ops.full_precision import PLACES

SIDES = (9, 17, 33)


def small(side: int) -> Classifier:
    """Return a small BagNet in float64 whose batch norms do something."""
    classifier = load(f"partbirds_bagnet{side}@random?seed=2")
    classifier.network.double()
    generator = torch.Generator().manual_seed(side)
    for module in classifier.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.uniform_(-0.2, 0.4, generator=generator)
            module.running_mean.uniform_(-0.3, 0.3, generator=generator)
    return classifier


def pictures(height: int, width: int, n: int = 2) -> Tensor:
    return torch.rand(n, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def classifier_of(network: nn.Module, px: int = 32, n_classes: int = 4) -> Classifier:
    preprocessing = Preprocessing((px, px))
    architecture = Architecture("own", lambda _: network, preprocessing, n_classes)
    return Classifier("own", architecture, preprocessing, network, "drawn", "0" * 64, n_classes)


@pytest.mark.parametrize("side", SIDES)
def test_evidence_for_a_target_is_the_logit_of_the_patch_in_its_box(side):
    classifier, images = small(side), pictures(side + 17, side + 9)
    found = BagNetEvidence()(classifier, images, torch.tensor([[5, 0], [1, 1]]))
    assert found.values.shape == (2, 2, 3, 2)
    assert found.boxes.shape == (3, 2, 4)
    assert found.is_local
    assert found.sums_to_logit
    for i in range(3):
        for j in range(2):
            x, y, w, h = found.boxes[i, j].int().tolist()
            assert w == h == side
            logits = classifier.logits(images[:, :, y : y + h, x : x + w])
            expected = torch.stack([logits[0, [5, 0]], logits[1, [1, 1]]])
            torch.testing.assert_close(found.values[:, :, i, j], expected, rtol=1e-12, atol=1e-12)
    logits = classifier.logits(images)
    torch.testing.assert_close(found.values.mean((2, 3)), found.logits, rtol=1e-12, atol=1e-12)
    assert torch.equal(found.logits, logits.gather(1, torch.tensor([[5, 0], [1, 1]])))


@pytest.mark.parametrize("side", SIDES)
def test_the_full_resolution_is_the_definition_patch_by_patch(side):
    # The authors' way: zeros around the normalised image, each window by itself through the network.
    classifier, (height, width) = small(side), (side + 3, side + 10)
    images, targets = pictures(height, width), torch.tensor([3, 6])
    found = BagNetEvidence(resolution="full")(classifier, images, targets)
    assert found.values.shape == (2, 1, height, width)
    assert not found.sums_to_logit
    padded = nn.functional.pad(classifier.preprocessing.normalise(images), [(side - 1) // 2] * 4)
    rows, columns = range(0, height, 5 if side == 33 else 2), range(width)
    for y in rows:
        windows = torch.cat([padded[:, :, y : y + side, x : x + side] for x in columns])
        logits = classifier.network(windows).unflatten(0, (width, 2))
        expected = torch.stack([logits[:, 0, 3], logits[:, 1, 6]])
        torch.testing.assert_close(found.values[:, 0, y], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("side", SIDES)
def test_the_full_resolution_holds_the_evidence_of_the_decision_at_the_patches_centres(side):
    classifier, images, targets = small(side), pictures(60, 71), torch.tensor([0, 4])
    decision = BagNetEvidence()(classifier, images, targets)
    full = BagNetEvidence(resolution="full")(classifier, images, targets)
    centres = decision.boxes[..., :2].long() + (side - 1) // 2
    at_centres = full.values[:, :, centres[..., 1], centres[..., 0]]
    torch.testing.assert_close(at_centres, decision.values, rtol=1e-12, atol=1e-12)
    assert torch.equal(full.boxes[centres[..., 1], centres[..., 0]], decision.boxes)
    assert torch.equal(full.logits, decision.logits)
    assert not torch.allclose(full.values.mean((2, 3)), full.logits, atol=1e-3)


def test_tiles_do_not_show():
    classifier, images, targets = small(17), pictures(70, 61, n=1), torch.tensor([2])
    whole, tiled = (BagNetEvidence("full", tile_mib)(classifier, images, targets).values for tile_mib in (4096, 1))
    assert BagNetEvidence("full", 1)._side(classifier.network, 8) < 61
    torch.testing.assert_close(tiled, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("size", "side"), [(7, 7), (7, 8), (100, 33), (1, 5)])
def test_tiles_cover_a_length_once_and_none_is_too_long(size, side):
    tiles = list(_tiles(size, side))
    assert [pixel for start, end in tiles for pixel in range(start, end)] == list(range(size))
    assert max(end - start for start, end in tiles) <= side


EXACT = ["resnet18", "squeezenet1_1", "mobilenet_v2", "shufflenet_v2_x0_5", "partbirds_wide", "timm/test_resnet"]
LARGE = ["googlenet", "densenet121", "efficientnet_b0", "regnet_x_400mf", "mnasnet0_5", "inception_v3", "swin_t"]
LARGE += ["timm/mixer_s32_224", "timm/repvit_m0_9", "timm/levit_128s", "timm/resmlp_12_224"]


@pytest.mark.parametrize("name", [*EXACT, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_evidence_of_a_network_with_a_mean_and_a_linear_layer_adds_up(name):
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    classifier = load(f"{name}@random?seed=1")
    height, width = classifier.preprocessing.input_px
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    found = BagNetEvidence()(classifier, images, torch.tensor([[1, 2, 3], [6, 0, 6]]))
    assert found.values[0, 0].numel() > 1
    assert found.values.std() > 0
    assert not found.is_local
    scale = found.values.abs().max()
    assert (found.values.mean((2, 3)) - found.logits).abs().max() <= 1e-5 * scale
    with torch.no_grad():
        expected = classifier.logits(images)
    assert (found.logits[1] - expected[1, [6, 0, 6]]).abs().max() <= 1e-5 * scale
    assert found.boxes[0, 0, :2].tolist() == [0, 0]
    assert found.boxes[-1, -1].tolist()[0] + found.boxes[-1, -1].tolist()[2] == pytest.approx(width)


def test_evidence_of_a_residual_network_is_its_class_activation_map_with_the_bias():
    classifier = load("resnet18@random")
    images, kept = torch.rand(1, 3, 64, 96), []
    with classifier.network.layer4.register_forward_hook(lambda *call: kept.append(call[2])):
        found = BagNetEvidence()(classifier, images, torch.tensor([7]))
    head = classifier.network.fc
    expected = torch.einsum("f,fij->ij", head.weight[7], kept[0][0]) + head.bias[7]
    torch.testing.assert_close(found.values[0, 0], expected)
    assert found.boxes[1, 2].tolist() == [64, 32, 32, 32]


class Ends(nn.Module):
    """A convolution and one of several ends."""

    def __init__(self, end: str) -> None:
        super().__init__()
        self.convolution, self.linear, self.end = nn.Conv2d(3, 8, 3, stride=4), nn.Linear(8, 4), end
        self.one_by_one, self.flat = nn.Conv2d(8, 4, 1), nn.Linear(8 * 49, 4)
        self.norm, self.second, self.last_norm = nn.BatchNorm1d(8), nn.Linear(8, 4), nn.BatchNorm1d(4)
        self.third = nn.Linear(4, 4)
        for norm in (self.norm, self.last_norm):
            norm.running_mean.uniform_(-1, 1), norm.running_var.uniform_(0.5, 2), nn.init.uniform_(norm.weight)

    def heads(self, mean: Tensor) -> Tensor:
        return (self.linear(self.norm(mean)) + self.second(mean)) / 2

    def forward(self, images: Tensor) -> Tensor:
        maps = self.convolution(images).relu()[:, :, :7, :7]
        ends = {
            "mean": lambda: self.linear(maps.mean((2, 3))),
            "mean_of_keywords": lambda: nn.functional.linear(
                torch.mean(maps, dim=(2, 3)), bias=self.linear.bias, weight=self.linear.weight
            ),
            "no_bias": lambda: nn.functional.linear(maps.mean((-1, -2)), self.linear.weight),
            "one_by_one": lambda: self.one_by_one(nn.functional.adaptive_avg_pool2d(maps, 1)).flatten(1),
            "channels_last": lambda: self.linear(maps.permute(0, 2, 3, 1).mean((1, 2))),
            "dropout": lambda: self.linear(nn.functional.dropout(maps.mean((2, 3)), training=False)),
            "tokens": lambda: self.linear(maps.flatten(2).transpose(1, 2).mean(1)),
            "flattened": lambda: self.linear(maps.flatten(2).mean(-1)),
            "pooled_tokens": lambda: self.linear(nn.functional.adaptive_avg_pool1d(maps.flatten(2), 1)[..., 0]),
            "tokens_of_rows": lambda: self.linear(maps.permute(0, 2, 3, 1).reshape(-1, 49, 8).mean(1, keepdim=True))[
                :, 0
            ],
            "rows_then_columns": lambda: self.linear(maps.mean(3).mean(2)),
            "divided": lambda: self.linear(maps.sum((2, 3)) / 49),
            "batch_norm": lambda: self.linear(self.norm(maps.mean((2, 3)))),
            "norm_of_logits": lambda: self.last_norm(self.linear(maps.mean((2, 3)))),
            "tokens_and_norm": lambda: self.linear(self.norm(maps.flatten(2).mean(-1))),
            "two_heads": lambda: self.heads(maps.mean((2, 3))),
            "by_hand": lambda: (
                (maps.mean((2, 3)) * self.norm.weight - self.norm.running_mean) @ self.linear.weight.T + 0.1
            ),
            "in_place": lambda: self.linear(maps.mean((2, 3)).clone().mul_(2).add_(1)),
            "two_linear": lambda: self.third(self.linear(maps.mean((2, 3)))),
            "gate_before": lambda: self.linear(
                self.norm((maps * maps.mean((2, 3), keepdim=True).sigmoid()).mean((2, 3)))
            ),
            "one_place": lambda: self.linear(
                nn.functional.adaptive_avg_pool2d(
                    torch.cat([nn.functional.max_pool2d(maps, 7)[:, :4], maps[:, 4:, 3:4, 3:4]], 1), 1
                ).flatten(1)
            ),
            "norm_and_layer_norm": lambda: self.linear(nn.functional.layer_norm(self.norm(maps.mean((2, 3))), (8,))),
            "faint_hardswish": lambda: self.linear(nn.functional.hardswish((maps * 1e-9).mean((2, 3)))),
            "with_a_token": lambda: self.linear(
                torch.cat([maps.new_ones(len(maps), 1, 8), maps.flatten(2).mT], 1).mean(1)
            ),
            "two_means": lambda: self.linear(maps.mean((2, 3))) + self.second(maps.square().mean((2, 3))),
            "and_a_maximum": lambda: self.second(maps.amax((2, 3))) + self.linear(maps.mean((2, 3))),
            "max_module": lambda: self.one_by_one(nn.functional.adaptive_max_pool2d(maps, 1)).flatten(1),
            "max": lambda: self.linear(maps.amax((2, 3))),
            "sum": lambda: self.linear(maps.sum((2, 3))),
            "relu_behind": lambda: self.linear(maps.mean((2, 3))).relu(),
            "norm_between": lambda: self.linear(nn.functional.layer_norm(maps.mean((2, 3)), (8,))),
            "two_layers": lambda: self.flat(self.linear(maps.mean((2, 3))).tanh().repeat(1, 98)),
            "flat": lambda: self.flat(maps.flatten(1)),
            "token": lambda: self.linear(maps.flatten(2).transpose(1, 2)[:, 0]),
        }
        return ends[self.end]()


PLAIN = ("mean", "mean_of_keywords", "no_bias", "one_by_one", "channels_last", "dropout")
TOKENS = ("tokens", "flattened", "pooled_tokens", "tokens_of_rows", "rows_then_columns", "divided")
AFFINE = (
    "batch_norm",
    "norm_of_logits",
    "tokens_and_norm",
    "two_heads",
    "by_hand",
    "in_place",
    "two_linear",
    "gate_before",
)


@pytest.mark.parametrize("end", [*PLAIN, *TOKENS, *AFFINE])
def test_a_mean_and_affine_layers_are_found_however_they_are_written(end):
    torch.manual_seed(0)
    classifier, images = classifier_of(Ends(end)), torch.rand(2, 3, 32, 32)
    found = BagNetEvidence()(classifier, images, torch.tensor([1, 3]))
    assert found.values.shape == (2, 1, 7, 7)
    expected = classifier.logits(images)[[0, 1], [1, 3]]
    torch.testing.assert_close(found.values.mean((2, 3))[:, 0], expected)


@pytest.mark.parametrize("end", [*TOKENS[:3], *AFFINE[:-1]])
def test_evidence_of_a_position_is_the_logit_of_an_image_that_is_this_position_everywhere(end):
    torch.manual_seed(0)
    network = Ends(end)
    classifier, images, targets = classifier_of(network), torch.rand(2, 3, 32, 32), torch.tensor([[1, 3], [0, 0]])
    found = BagNetEvidence()(classifier, images, targets)
    step = network.convolution.stride[0]
    for row, column in ((0, 0), (2, 5), (6, 6)):
        patch = images[:, :, row * step : row * step + 3, column * step : column * step + 3]
        tiled = torch.zeros(2, 3, 32, 32)
        for top in range(0, 28, step):
            for left in range(0, 28, step):
                tiled[:, :, top : top + 3, left : left + 3] = patch
        expected = classifier.logits(tiled).gather(1, targets)
        torch.testing.assert_close(found.values[:, :, row, column], expected, rtol=1e-4, atol=1e-5)


OTHER = ("max", "sum", "flat", "token", "with_a_token", "two_means", "and_a_maximum", "max_module")
CURVED = ("relu_behind", "norm_between", "two_layers", "norm_and_layer_norm", "faint_hardswish")


@pytest.mark.parametrize("end", [*OTHER, *CURVED])
def test_any_other_end_is_refused(end):
    torch.manual_seed(0)
    with pytest.raises(XvError, match="no exact evidence in own: the logits are no mean over positions") as refusal:
        BagNetEvidence()(classifier_of(Ends(end)), torch.rand(2, 3, 32, 32), torch.tensor([1, 3]))
    assert ("is not affine" in str(refusal.value)) == (end in CURVED)
    assert ("50 tokens, which are of no grid" in str(refusal.value)) == (end == "with_a_token")
    assert ("something else of the image" in str(refusal.value)) == (end in ("two_means", "and_a_maximum"))


def test_a_map_of_one_place_is_its_own_mean():
    torch.manual_seed(0)
    classifier, images = classifier_of(Ends("one_place")), torch.rand(2, 3, 32, 32)
    found = BagNetEvidence()(classifier, images, torch.tensor([1, 3]))
    assert found.values.shape == (2, 1, 1, 1)
    torch.testing.assert_close(found.values[:, 0, 0, 0], classifier.logits(images)[[0, 1], [1, 3]])


def test_a_refusal_says_how_far_the_mean_of_the_positions_is_from_the_logits():
    torch.manual_seed(0)
    network = Ends("norm_between")
    classifier, images = classifier_of(network), torch.rand(2, 3, 32, 32)
    with pytest.raises(XvError, match="differs from the") as refusal:
        BagNetEvidence()(classifier, images, torch.tensor([1, 3]))
    with torch.no_grad():
        maps = network.convolution(classifier.preprocessing.normalise(images)).relu()[:, :, :7, :7].permute(0, 2, 3, 1)
        says = network.linear(nn.functional.layer_norm(maps, (8,))).mean((1, 2))
        logits = classifier.logits(images)
    largest = float(logits.abs().max())
    assert f"logits by up to {float((says - logits).abs().max()):.3g} (largest logit: {largest:.3g})" in str(
        refusal.value
    )


def test_evidence_of_tokens_lies_in_the_rows_and_columns_that_they_came_from():
    torch.manual_seed(0)
    classifier = classifier_of(Ends("tokens"))
    plain = replace(classifier, network=Ends("mean"))
    plain.network.load_state_dict(classifier.network.state_dict())
    images, targets = torch.rand(2, 3, 32, 24), torch.tensor([1, 3])
    found, expected = (BagNetEvidence()(each, images, targets) for each in (classifier, plain))
    assert found.values.shape == (2, 1, 7, 6)
    torch.testing.assert_close(found.values, expected.values)


REFUSED = ["vit_b_32", "mobilenet_v3_small", "timm/test_vit", "timm/test_convnext"]


@pytest.mark.parametrize("name", [*REFUSED, pytest.param("vgg11", marks=pytest.mark.slow)])
def test_networks_without_exact_evidence_are_refused(name):
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    classifier = load(f"{name}@random")
    images = torch.rand(1, 3, *classifier.preprocessing.input_px)
    with pytest.raises(XvError, match="no exact evidence in"):
        BagNetEvidence()(classifier, images, torch.tensor([1]))


def test_impossible_wishes_are_refused():
    classifier, images = small(9), pictures(20, 20)
    with pytest.raises(ParameterError, match=r"targets \[-1, 7\]: partbirds_bagnet9 has the outputs 0 … 6"):
        BagNetEvidence()(classifier, images, torch.tensor([[-1, 2], [7, 7]]))
    with pytest.raises(ParameterError, match="cannot take images of 8 × 20"):
        BagNetEvidence()(classifier, images[:, :, :8], torch.tensor([1, 2]))
    with pytest.raises(XvError, match="needs a BagNet; resnet18 is none"):
        BagNetEvidence(resolution="full")(load("resnet18@random"), torch.rand(1, 3, 64, 64), torch.tensor([1]))


def test_autocast_around_does_not_matter_and_flags_are_as_before():
    classifier, images = load("partbirds_bagnet9@random"), torch.rand(2, 3, 64, 64)
    before = [place.fp32_precision for place in PLACES]
    plain = BagNetEvidence()(classifier, images, torch.tensor([1, 2]))
    with torch.autocast("cpu", torch.bfloat16):
        under = BagNetEvidence()(classifier, images, torch.tensor([1, 2]))
    assert torch.equal(plain.values, under.values)
    assert [place.fp32_precision for place in PLACES] == before


def robins(classifier: Classifier, folder, n: int) -> Tensor:
    paths = sorted((folder / "imagenet-mini" / "train" / "n01558993").iterdir())[:n]
    images = []
    for path in paths:
        with Image.open(path) as picture:
            images.append(classifier.preprocessing.pixels(picture.convert("RGB")))
    return torch.stack(images)


@pytest.mark.parametrize(
    ("spec", "columns"),
    [
        ("squeezenet1_1@{}/squeezenet1_1.pt", 13),
        ("squeezenet1_0@{}/squeezenet1_0.pt", 13),
        ("mobilenet_v2@{}/mobilenet_v2.pt?input=225", 8),
    ],
)
def test_evidence_of_real_networks_adds_up_and_lies_on_the_bird(test_data, spec, columns):
    classifier = load(spec.format(test_data / "weights"))
    images = robins(classifier, test_data, 6)
    robin, hammerhead = 15, 4
    found = BagNetEvidence()(classifier, images, torch.tensor([[robin, hammerhead]] * len(images)))
    assert found.values.shape == (6, 2, columns, columns)
    scale = found.values.abs().max()
    assert (found.values.mean((2, 3)) - found.logits).abs().max() <= 1e-5 * scale
    assert (found.logits[:, 0] > found.logits[:, 1]).all()
    # A robin is in the middle more often than in the corners.
    middle = found.values[:, 0, columns // 4 : -(columns // 4), columns // 4 : -(columns // 4)].mean()
    assert middle > found.values[:, 0].mean()


def test_the_official_layout_is_the_one_of_the_architectures():
    for side in SIDES:
        assert find(f"bagnet{side}").patches.size(224, 224) == ({9: 27, 17: 26, 33: 24}[side],) * 2
