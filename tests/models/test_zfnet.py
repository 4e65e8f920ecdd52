"""The paper's figure 3 and table 3: sizes, numbers of parameters, what each variant leaves out."""

from functools import lru_cache

import pytest
import torch
from torch import nn

from xvcore.models import find, load
from xvcore.models.zfnet import VARIANTS, ZFNet, limit_filters

SHAPES = {
    "conv1": (96, 110, 110),
    "pool1": (96, 55, 55),
    "norm1": (96, 55, 55),
    "conv2": (256, 26, 26),
    "pool2": (256, 13, 13),
    "norm2": (256, 13, 13),
    "conv3": (384, 13, 13),
    "conv4": (384, 13, 13),
    "conv5": (256, 13, 13),
    "pool5": (256, 6, 6),
    "flatten": (9216,),
    "fc6": (4096,),
    "fc7": (4096,),
    "fc8": (1000,),
}
PARAMETERS = {
    "conv1": 14_208,
    "conv2": 614_656,
    "conv3": 885_120,
    "conv4": 1_327_488,
    "conv5": 884_992,
    "fc6": 37_752_832,
    "fc7": 16_781_312,
    "fc8": 4_097_000,
}


@lru_cache
def on_meta(build: ZFNet) -> nn.Sequential:
    with torch.device("meta"):
        return build(1000).eval()


def n_parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


def test_the_sizes_are_those_of_the_figure():
    values, seen = torch.empty(1, 3, 224, 224, device="meta"), {}
    for name, module in on_meta(ZFNet()).named_children():
        values = module(values)
        seen[name] = tuple(values.shape[1:])
    assert {name: seen[name] for name in SHAPES} == SHAPES


def test_the_parameters_are_those_of_the_paper():
    network = on_meta(ZFNet())
    assert {name: n_parameters(network.get_submodule(name)) for name in PARAMETERS} == PARAMETERS
    assert n_parameters(network) == 62_357_608
    assert n_parameters(on_meta(ZFNet((512, 1024, 512)))) == 107_627_624
    assert n_parameters(on_meta(ZFNet(is_krizhevsky=True))) == 60_965_224


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_variant_is_in_the_catalogue_and_takes_its_input(name):
    build = VARIANTS[name][0]
    assert find(name).build is build
    assert on_meta(build)(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)


def test_variants_differ_in_what_their_names_say():
    def layers(name):
        modules = on_meta(VARIANTS[name][0]).named_children()
        return {name for name, module in modules if isinstance(module, (nn.Conv2d, nn.Linear))}

    assert layers("krizhevsky") - layers("krizhevsky_without_3_4") == {"conv3", "conv4"}
    assert layers("krizhevsky") - layers("krizhevsky_without_7") == {"fc7"}
    assert layers("krizhevsky") - layers("krizhevsky_without_6_7") == {"fc6", "fc7"}
    assert layers("krizhevsky") - layers("krizhevsky_without_3_4_6_7") == {"conv3", "conv4", "fc6", "fc7"}
    assert on_meta(VARIANTS["zfnet_fc8192"][0]).fc7.out_features == 8192
    wide = on_meta(VARIANTS["zfnet_wide"][0])
    assert [wide.get_submodule(f"conv{i}").out_channels for i in (3, 4, 5)] == [512, 1024, 512]


def test_the_published_errors_are_those_of_table_3():
    assert len(VARIANTS) == 12
    assert VARIANTS["zfnet"][1] == (33.1, 38.4, 16.5)
    assert min(VARIANTS, key=lambda name: VARIANTS[name][1].val_top5) == "zfnet_wide"


def test_a_random_one_classifies():
    classifier = load("zfnet@random?classes=3")
    assert classifier.probabilities(torch.rand(1, 3, 224, 224)).shape == (1, 3)


def test_only_filters_beyond_the_radius_are_pulled_back():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(2, 2))
    with torch.no_grad():
        network[0].weight[:2].normal_(std=0.5)
        network[0].weight[2:].normal_(std=0.01)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert limit_filters(network) == 2
    after = network.state_dict()
    rms = after["0.weight"].square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close(rms[:2], torch.full((2,), 0.1))
    assert torch.equal(after["0.weight"][2:], before["0.weight"][2:])
    assert torch.equal(after["1.weight"], before["1.weight"])
    direction = nn.functional.cosine_similarity(after["0.weight"][:2].flatten(1), before["0.weight"][:2].flatten(1))
    torch.testing.assert_close(direction, torch.ones(2))
