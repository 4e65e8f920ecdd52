"""Contract: what every architecture that can be named must do."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import get_model, get_model_weights

from xvcore.errors import ParameterError, UnknownNameError, XvError
from xvcore.models import architectures, find, load
from xvcore.models.catalogue import names

TORCHVISION = ["mobilenet_v2", "mobilenet_v3_small", "resnet18", "squeezenet1_1"]
TIMM = [
    "test_convnext",
    "test_efficientnet",
    "test_resnet",
    "test_vit",
    "test_maxvit",
    "vit_tiny_patch16_224",
]
LARGE = ["alexnet", "convnext_tiny", "efficientnet_v2_s", "inception_v3", "maxvit_t", "resnet50", "swin_t", "swin_v2_t"]
LARGE += ["mnasnet0_5", "regnet_x_400mf", "shufflenet_v2_x0_5", "timm/resnet10t"]
LARGE += ["densenet121", "efficientnet_b0", "googlenet", "squeezenet1_0", "vit_b_32"]
LARGE += ["vgg11_bn", "vgg16", "vit_b_16", "wide_resnet50_2", "timm/swin_tiny_patch4_window7_224", "timm/dm_nfnet_f0"]
LARGE += ["timm/deit_tiny_distilled_patch16_224", "timm/levit_128s", "timm/xcit_nano_12_p16_224", "timm/mixer_s32_224"]
HEAVY = [name for name in architectures if name.startswith(("bagnet9", "bagnet17", "bagnet33", "zfnet_", "krizhevsky"))]
SAMPLE = [*(name for name in architectures if name not in HEAVY), *TORCHVISION, *(f"timm/{name}" for name in TIMM)]
EVERY = [*SAMPLE, *(pytest.param(name, marks=pytest.mark.slow) for name in (*HEAVY, *LARGE))]


@lru_cache(maxsize=2)
def classifier_of(name):
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    return load(f"{name}@random")


def images_for(classifier, count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, *classifier.preprocessing.input_px, generator=generator)


@pytest.mark.parametrize("name", EVERY)
def test_the_contract(name):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    classifier = classifier_of(name)
    assert torch.equal(torch.get_rng_state(), before), "building disturbed the global generator"

    images = images_for(classifier)
    kept = images.clone()
    leaf = images.requires_grad_()
    logits = classifier.logits(leaf)
    assert logits.shape == (2, classifier.n_classes)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()
    assert torch.equal(images, kept), "the images were written to"

    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), leaf)
    assert (gradient.flatten(1).abs().amax(1) > 0).all(), "no gradient reaches an image"
    assert not any(module.training for module in classifier.network.modules())
    for parameter in classifier.network.parameters():
        assert not parameter.requires_grad
        assert parameter.grad is None

    images = kept
    with torch.no_grad():
        again = classifier.logits(images)  # attention takes a faster path without gradients
        assert (logits - again).abs().max() <= 1e-5 * logits.abs().max() + 1e-6, "two passes differ"
        alone = classifier.logits(images[1:])
        assert (logits[1:] - alone).abs().max() <= 1e-4 * logits.abs().max() + 1e-6, "depends on the batch"
        by_hand = classifier.network(classifier.preprocessing.normalise(images))
        assert (logits - by_hand).abs().max() <= 1e-5 * logits.abs().max() + 1e-6, "normalises otherwise than it says"
        probabilities = classifier.probabilities(images)
    assert torch.allclose(probabilities.sum(1), torch.ones(2), atol=1e-5)

    assert classifier.name == name == classifier.architecture.name
    assert classifier.layers
    for layer in classifier.layers:
        assert classifier.layer(layer) is classifier.network.get_submodule(layer)


def test_one_seed_one_network():
    first, again, other = (load(f"squeezenet1_1@random?classes=3&seed={seed}") for seed in (7, 7, 8))
    assert first.weights_sha256 == again.weights_sha256 != other.weights_sha256
    images = images_for(first)
    assert torch.equal(first.logits(images), again.logits(images))
    assert not torch.equal(first.logits(images), other.logits(images))


@pytest.mark.parametrize("name", ["googlenet", pytest.param("inception_v3", marks=pytest.mark.slow)])
def test_input_in_minus_one_to_one_equals_torchvisions_transform_input(name):
    classifier = classifier_of(name)
    # A published file carries the auxiliary heads; ours drops them and converts the input outside of the network.
    official = get_model(name, weights=None, init_weights=False, transform_input=True, aux_logits=False).eval()
    official.load_state_dict(classifier.network.state_dict())
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((400, 360))
    with torch.no_grad():
        expected = official(get_model_weights(name).DEFAULT.transforms()(picture)[None])
        seen = classifier.logits(classifier.preprocessing.pixels(picture)[None])
    torch.testing.assert_close(seen, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "vit_b_32", "timm/vit_tiny_patch16_224"])
def test_images_of_another_size_are_taken_or_refused_with_both_sizes_named(name):
    classifier = classifier_of(name)
    images = torch.rand(1, 3, 96, 128)
    if name == "mobilenet_v3_small":
        assert classifier.logits(images).shape == (1, 1000)
    else:
        with pytest.raises(ParameterError, match="96 × 128 px: expected 224 × 224"):
            classifier.logits(images)


def test_an_input_size_the_network_cannot_take_is_refused_at_once():
    assert load("mobilenet_v2@random?input=225").preprocessing.input_px == (225, 225)
    with pytest.raises(ParameterError, match=r"input=225.*take 224"):
        load("vit_b_32@random?input=225")


def test_moving_leaves_the_classifier_where_it_was():
    classifier = classifier_of("squeezenet1_1")
    moved = classifier.to("meta")
    assert moved.device.type == "meta"
    assert classifier.device.type == "cpu"
    assert classifier.to("cpu") is classifier
    assert moved.name == classifier.name
    assert moved.weights_sha256 == classifier.weights_sha256


@pytest.mark.gpu
def test_the_gpu_says_what_the_cpu_says():
    classifier = classifier_of("resnet18")
    images = images_for(classifier)
    expected = classifier.logits(images)
    torch.testing.assert_close(classifier.to("cuda").logits(images.cuda()).cpu(), expected, rtol=1e-2, atol=1e-2)


def test_an_unknown_layer_is_refused_with_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"did you mean features\.3"):
        classifier_of("squeezenet1_1").layer("feature.3")


@pytest.mark.parametrize("name", ["resnet81", "timm/resnet81", "RESNET18", "fasterrcnn_resnet50_fpn", ""])
def test_an_unknown_architecture_is_refused(name):
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    with pytest.raises(UnknownNameError, match="unknown architecture"):
        find(name)


def test_timm_is_missed_only_when_it_is_asked_for(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    assert find("resnet18").name == "resnet18"
    with pytest.raises(XvError, match=r"pip install 'xv\[timm\]'"):
        find("timm/resnet18")


def test_a_timm_tag_chooses_weights_and_preprocessing():
    pytest.importorskip("timm")
    architecture = find("timm/resnet18.a3_in1k")
    assert architecture.preprocessing.input_px == (160, 160)
    assert next(iter(architecture.published)) == "a3_in1k"
    assert find("timm/resnet18").published["a3_in1k"].preprocessing == architecture.preprocessing


def test_a_timm_name_without_a_tag_is_built_and_takes_a_file(tmp_path):
    pytest.importorskip("timm")
    drawn = load("timm/test_mambaout@random?classes=3")
    torch.save(drawn.network.state_dict(), tmp_path / "w.pt")
    loaded = load(f"timm/test_mambaout@{tmp_path / 'w.pt'}")
    images = images_for(drawn)
    assert torch.equal(loaded.logits(images), drawn.logits(images))
    assert not find("timm/test_mambaout").published
    with pytest.raises(XvError, match="has no published weights: give timm/test_mambaout@FILE"):
        load("timm/test_mambaout")
    for name in ("timm/test_mambaout.", "timm/resnet18.", "timm/test_mambaout.none"):
        with pytest.raises(UnknownNameError, match="unknown"):
            find(name)


def test_every_timm_name_without_a_tag_resolves_or_is_no_classifier():
    timm = pytest.importorskip("timm")
    untagged = [
        name
        for name in timm.list_models()
        if not all(each.tag for each in timm.models.get_arch_pretrained_cfgs(name).values())
    ]
    assert len(untagged) > 20
    refused = []
    for name in untagged:
        try:
            assert not find(f"timm/{name}").published
        except ParameterError as error:
            assert "is no classifier" in str(error)  # noqa: PT017  which of many names is refused is what is asked
            refused.append(name)
    assert len(refused) < 3, refused


def test_a_timm_model_without_classes_has_no_published_weights():
    pytest.importorskip("timm")
    assert not find("timm/vit_small_patch14_dinov2").published


def test_a_vit_is_built_for_the_input_of_its_weights():
    weights = find("vit_b_16").published["IMAGENET1K_SWAG_E2E_V1"]
    assert weights.preprocessing.input_px == (384, 384)
    with torch.device("meta"):
        assert weights.build(1000).image_size == 384


@lru_cache(maxsize=1)
def network_without_memory(build):
    try:
        with torch.device("meta"):
            return build(7).eval()
    except NotImplementedError:  # RegNet computes its widths with tensors
        return build(7).eval().to("meta")


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_every_name_resolves_and_takes_its_own_input(name):
    architecture = find(name)
    for each in (architecture, *architecture.published.values()):
        network = network_without_memory(each.build or architecture.build)
        assert network(torch.empty(1, 3, *each.preprocessing.input_px, device="meta")).shape == (1, 7)


def test_a_vit_file_of_another_size_is_built_for_the_input_it_is_given():
    classifier = load("vit_b_16@random?classes=2&input=384")
    assert classifier.preprocessing == find("vit_b_16").published["IMAGENET1K_SWAG_E2E_V1"].preprocessing
    assert classifier.network.image_size == 384


@pytest.mark.slow
def test_every_timm_name_resolves_or_says_why_not():
    timm = pytest.importorskip("timm")
    refused = []
    for name in timm.list_models():
        try:
            assert find(f"timm/{name}").preprocessing
        except ParameterError:
            refused.append(name)
    assert len(refused) < 10, refused
