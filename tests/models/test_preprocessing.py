"""Preprocessing equals the official transforms, and its geometry equals what happens to painted dots."""

import resource

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from xvcore.errors import ParameterError, UnknownNameError, XvError
from xvcore.models import Preprocessing, find

SIZES = [(500, 375), (375, 500), (1000, 251), (224, 224), (180, 120), (97, 400), (257, 256)]


def picture(width, height, seed=0):
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (9, 11, 3), dtype=np.uint8)).resize((width, height))
    noisy = np.asarray(coarse, dtype=int) + generator.integers(-40, 40, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("crop", "resize", "interpolation"),
    [
        (224, 256, "bilinear"),
        (224, 232, "bicubic"),
        (225, 256, "bilinear"),
        (299, 342, "bilinear"),
        (300, 256, "bicubic"),
    ],
)
def test_pixels_then_normalise_is_the_official_transform(size, crop, resize, interpolation):
    image = picture(*size)
    official = ImageClassification(crop_size=crop, resize_size=resize, interpolation=InterpolationMode(interpolation))
    ours = Preprocessing((crop, crop), resize, interpolation=interpolation)
    pixels = ours.pixels(image)
    assert pixels.shape == (3, crop, crop)
    assert pixels.dtype == torch.float32
    assert 0 <= pixels.min() <= pixels.max() <= 1
    torch.testing.assert_close(ours.normalise(pixels[None])[0], official(image), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["alexnet", "resnet50", "efficientnet_b1", "efficientnet_v2_s", "vit_b_16", "swin_v2_t", "inception_v3"]
)
def test_every_published_weight_has_its_official_transform(name):
    from torchvision.models import get_model_weights

    image = picture(640, 427)
    for weights in find(name).published.values():
        expected = get_model_weights(name)[weights.name].transforms()(image)
        seen = weights.preprocessing.normalise(weights.preprocessing.pixels(image)[None])[0]
        if name == "inception_v3":  # torchvision converts to [-1, 1] inside the network; we do it outside
            std, mean = torch.tensor([0.229, 0.224, 0.225]), torch.tensor([0.485, 0.456, 0.406])
            expected = (expected * std[:, None, None] + mean[:, None, None] - 0.5) / 0.5
        torch.testing.assert_close(seen, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet18.a3_in1k",
        "vit_tiny_patch16_224",
        "efficientnet_b1",
        "dm_nfnet_f0",
        "vit_base_patch32_clip_384",
    ],
)
def test_timm_preprocessing_is_timms_own_transform(name):
    timm = pytest.importorskip("timm")
    from timm.data import create_transform, resolve_data_config

    image = picture(500, 375)
    config = resolve_data_config(pretrained_cfg=timm.models.get_pretrained_cfg(name).to_dict())
    ours = find(f"timm/{name}").preprocessing
    seen = ours.normalise(ours.pixels(image)[None])[0]
    torch.testing.assert_close(seen, create_transform(**config, is_training=False)(image), rtol=0, atol=1e-5)


def test_without_a_resize_the_aspect_is_lost_and_nothing_is_cut():
    image = picture(300, 150)
    seen = Preprocessing((64, 96), None).pixels(image)
    expected = torch.from_numpy(np.array(image.resize((96, 64), Image.Resampling.BILINEAR))).permute(2, 0, 1) / 255
    torch.testing.assert_close(seen, expected)


def test_a_grey_picture_has_three_equal_channels():
    pixels = Preprocessing((32, 32), 40).pixels(picture(90, 60).convert("L"))
    assert torch.equal(pixels[0], pixels[1])
    assert torch.equal(pixels[0], pixels[2])


@pytest.mark.parametrize("resize", [256, (300, 280), None])
@pytest.mark.parametrize("size", SIZES)
def test_geometry_is_where_a_painted_dot_lands(size, resize):
    width, height = size
    preprocessing = Preprocessing((224, 240), resize)
    geometry = preprocessing.geometry(width, height)
    sigma = 9 / max(geometry.scale_x, geometry.scale_y)
    for goal in np.random.default_rng(1).uniform((70, 70), (170, 154), (4, 2)):
        x, y = (goal - (geometry.offset_x, geometry.offset_y)) / (geometry.scale_x, geometry.scale_y)
        rows, columns = np.mgrid[:height, :width] + 0.5
        dot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
        seen = preprocessing.pixels(Image.fromarray((255 * dot).astype(np.uint8)))[0].double().numpy()
        rows, columns = np.mgrid[:224, :240] + 0.5
        found = np.array([(seen * columns).sum(), (seen * rows).sum()]) / seen.sum()
        np.testing.assert_allclose(found, geometry.points(np.array([[x, y]]))[0], atol=0.3)


def test_a_box_moves_as_its_corners_do():
    geometry = Preprocessing((224, 224), 256).geometry(500, 375)
    boxes = np.array([[10.0, 20.0, 100.0, 50.0], [0.0, 0.0, 0.0, 0.0]])
    corners = geometry.points(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]))
    moved = geometry.boxes(boxes)
    np.testing.assert_allclose(np.concatenate([moved[:, :2], moved[:, :2] + moved[:, 2:]]), corners)


def test_the_whole_picture_covers_the_input_after_a_crop():
    x, y, w, h = Preprocessing((224, 224), 256).geometry(500, 375).boxes(np.array([[0, 0, 500, 375]]))[0]
    assert x <= 0
    assert y <= 0
    assert x + w >= 224
    assert y + h >= 224


def test_the_key_tells_apart_what_makes_other_pixels_only():
    plain = Preprocessing()
    assert plain.key() == Preprocessing(mean=(0.5, 0.5, 0.5)).key()
    others = [
        Preprocessing((225, 225)),
        Preprocessing(resize_px=232),
        Preprocessing(resize_px=None),
        Preprocessing(interpolation="bicubic"),
    ]
    assert all(plain.key() != other.key() for other in others)


def test_the_order_of_channels_is_the_networks_and_not_the_pictures():
    image = picture(90, 60)
    plain, turned = (Preprocessing((32, 40), 48, channels=channels) for channels in ("rgb", "bgr"))
    pixels = plain.pixels(image)
    assert torch.equal(turned.pixels(image), pixels)
    assert turned.key() == plain.key()
    assert torch.equal(turned.normalise(pixels[None]), plain.normalise(pixels[None])[:, [2, 1, 0]])
    assert torch.equal(turned.in_order(turned.in_order(pixels[None])), pixels[None])


@pytest.mark.parametrize(
    "change", [{"channels": "gbr"}, {"mean": (0.0, float("nan"), 0.0)}, {"std": (1.0, float("inf"), 1.0)}]
)
def test_impossible_channels_are_refused(change):
    with pytest.raises(XvError):
        Preprocessing(**change)


@pytest.mark.parametrize(
    "change", [{"input_px": (0, 224)}, {"resize_px": 0}, {"std": (0.2, 0.0, 0.2)}, {"resize_px": (0, 5)}]
)
def test_an_impossible_preprocessing_is_refused(change):
    with pytest.raises(ParameterError):
        Preprocessing(**change)


@pytest.mark.parametrize("change", [{"input_px": (32.5, 32)}, {"resize_px": 3.5}, {"resize_px": (3, 5.0)}])
def test_parts_of_pixels_are_refused(change):
    with pytest.raises((ParameterError, TypeCheckError), match="px"):
        Preprocessing(**change)


def test_an_unknown_interpolation_is_refused_with_the_known_ones():
    with pytest.raises(UnknownNameError, match="did you mean bilinear"):
        Preprocessing(interpolation="bilinaer")


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000), (90_000, 40)])
def test_a_strip_costs_no_more_memory_than_its_crop(size):
    ramp = np.linspace(0, 255, max(size)).astype(np.uint8)
    grey = np.broadcast_to(ramp[None, :] if size[0] > size[1] else ramp[:, None], size[::-1])
    picture = Image.fromarray(np.ascontiguousarray(grey)).convert("RGB")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pixels = Preprocessing().pixels(picture)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1e6  # kilobytes; resized whole the thinnest would take 12 GB
    assert (pixels - 0.5).abs().max() < 0.05  # the middle of the ramp
