"""Laws of finding the last map: it is what the network goes on with, and a network without one is refused."""

import pytest
import torch
from torch import nn

from xvcore.errors import XvError
from xvcore.models import Preprocessing, load, wrap
from xvcore.prototypes.method.feature_map import feature_map

SMALL = Preprocessing((64, 64), None)


class Wrapped(nn.Module):
    """A network within another one, rectified by a function, with a head of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 4), nn.BatchNorm2d(8))
        self.head = nn.Sequential(nn.Conv2d(8, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))

    def forward(self, images):
        return self.head(torch.relu_(self.body(images)))


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Wrapped()

    def forward(self, images):
        return self.inner(images * 2)


class Tokens(nn.Module):
    """Patches as tokens behind two that are none."""

    def __init__(self, n_prefix: int = 2) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 10, 8, 8)
        self.prefix = nn.Parameter(torch.randn(1, n_prefix, 10))
        self.block = nn.TransformerEncoderLayer(10, 2, 20, batch_first=True, dropout=0.0)
        self.last = nn.LayerNorm(10)
        self.out = nn.Linear(10, 4)

    def forward(self, images):
        tokens = self.embed(images).flatten(2).mT
        tokens = torch.cat([self.prefix.expand(len(images), -1, -1), tokens], dim=1)
        return self.out(self.last(self.block(tokens))[:, 0])


@pytest.mark.parametrize("make", [Wrapped, Outer])
def test_a_head_is_not_looked_into_and_a_function_behind_the_map_is_seen(make):
    classifier = wrap(make(), preprocessing=SMALL)
    found = feature_map(classifier)
    assert found.module.endswith("body")
    assert (found.rows, found.columns, found.n_channels, found.is_rectified) == (16, 16, 8, True)
    images = torch.rand(2, 3, 64, 64)
    maps, scores = found.maps(classifier.network, classifier.logits, images)
    assert maps.min() == 0
    torch.testing.assert_close(scores, classifier.logits(images))


@pytest.mark.parametrize("n_prefix", [1, 2])
def test_tokens_of_patches_are_told_from_others(n_prefix):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        classifier = wrap(Tokens(n_prefix), preprocessing=Preprocessing((64, 48), None))
    found = feature_map(classifier)
    assert (found.module, found.n_prefix, found.rows, found.columns) == ("last", n_prefix, 8, 6)
    images = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(2))
    maps, _ = found.maps(classifier.network, classifier.logits, images)
    images[..., 40:48, 16:24] = 1 - images[..., 40:48, 16:24].round()
    moved, _ = found.maps(classifier.network, classifier.logits, images)
    assert (maps - moved).abs().sum(dim=1).flatten().argmax() == 5 * 6 + 2


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 8), nn.ReLU(), nn.Linear(8, 3)),
        nn.Sequential(nn.Conv2d(3, 8, 64), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)),
    ],
)
def test_a_network_without_places_is_refused_with_the_reason(network):
    with pytest.raises(XvError, match=r"no map.*expected a network whose last map has places"):
        feature_map(wrap(network, preprocessing=SMALL, name="flat"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows", "channels", "prefix"),
    [
        ("resnet18", 7, 512, 0),
        ("densenet121", 7, 1024, 0),
        ("convnext_tiny", 7, 768, 0),
        ("squeezenet1_1", 13, 512, 0),
        ("mobilenet_v2", 7, 1280, 0),
        ("swin_t", 7, 768, 0),
        ("maxvit_t", 7, 512, 0),
        ("timm/tf_efficientnet_lite0", 7, 1280, 0),
        ("timm/vit_tiny_patch16_224", 14, 192, 1),
        ("timm/deit_tiny_distilled_patch16_224", 14, 192, 2),
        ("timm/swin_tiny_patch4_window7_224", 7, 768, 0),
        ("timm/mixer_s16_224", 14, 512, 0),
    ],
)
def test_every_kind_of_network_has_its_map(name, rows, channels, prefix):
    classifier = load(f"{name}@random?classes=7")
    found = feature_map(classifier)
    assert (found.rows, found.columns, found.n_channels, found.n_prefix) == (rows, rows, channels, prefix)
    assert found.is_rectified == (name == "densenet121")
    maps, scores = found.maps(classifier.network, classifier.logits, torch.rand(2, 3, 224, 224))
    assert maps.shape == (2, channels, rows, rows)
    assert scores.shape == (2, 7)
