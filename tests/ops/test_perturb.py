"""Baselines and blends: 1 keeps, 0 replaces, and no image knows of its neighbours."""

import typing

import cv2
import numpy as np
import pytest
import torch

from xvcore.ops.perturb import Baseline, Perturbation, baseline, blend

KINDS = typing.get_args(Baseline)


def pictures(n=3, height=40, width=48, dtype=torch.float32):
    return torch.rand((n, 3, height, width), generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_of_ones_keeps_and_of_zeros_replaces(kind):
    images = pictures()
    replaced, ones = baseline(images, kind), torch.ones(3, 1, 40, 48)
    torch.testing.assert_close(blend(images, replaced, ones), images)
    torch.testing.assert_close(blend(images, replaced, torch.zeros_like(ones)), replaced, rtol=0, atol=0)
    assert replaced.min() >= 0
    assert replaced.max() <= 1 + 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_the_baseline_of_an_image_does_not_depend_on_its_batch(kind):
    images = pictures(dtype=torch.float64)
    together = baseline(images, kind)
    alone = torch.cat([baseline(image[None], kind) for image in images])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
    torch.testing.assert_close(together.flip(0), baseline(images.flip(0), kind), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_input_is_not_changed(kind):
    images = pictures()
    before = images.clone()
    baseline(images, kind).zero_()
    assert torch.equal(images, before)


@pytest.mark.parametrize(("kind", "size"), [("blur_weak", (11, 11)), ("blur_strong", (0, 0))])
def test_blurs_are_opencvs(kind, size):
    images = pictures(1, 100, 120)
    expected = cv2.GaussianBlur(images[0].permute(1, 2, 0).numpy(), size, 10)
    np.testing.assert_allclose(baseline(images, kind)[0].permute(1, 2, 0), expected, atol=1e-5)


def test_eleven_taps_leave_a_blur_of_three_pixels():
    point = torch.zeros(1, 3, 41, 41, dtype=torch.float64)
    point[..., 20, 20] = 1
    profile = baseline(point, "blur_weak")[0, 0].sum(0)
    spread = (profile * (torch.arange(41) - 20) ** 2).sum().sqrt()
    assert spread.item() == pytest.approx(3.10, abs=0.01)


def test_noise_is_seeded_and_lies_about_the_mean_colour():
    images = pictures(2, 64, 64) * 0.2 + 0.4
    noise = baseline(images, "noise", seed=3)
    assert torch.equal(noise, baseline(images, "noise", seed=3))
    assert not torch.equal(noise, baseline(images, "noise", seed=4))
    torch.testing.assert_close(noise.mean((2, 3)), images.mean((2, 3)), rtol=0, atol=0.01)
    assert noise.std().item() == pytest.approx(0.2, abs=0.01)


def test_the_gradient_by_the_mask_is_autograds():
    images = pictures(dtype=torch.float64)
    replaced = baseline(images, "blur_weak")
    masks = torch.rand(3, 1, 40, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    weights = pictures(dtype=torch.float64).flip(0)
    (expected,) = torch.autograd.grad((weights * (images * masks + replaced * (1 - masks))).sum(), masks)
    torch.testing.assert_close(Perturbation.of(images, replaced).pulled_back(weights), expected)


def test_a_window_of_the_perturbation_is_the_perturbation_of_the_window():
    images = pictures()
    replaced, masks = baseline(images, "mean"), torch.rand(3, 1, 10, 12, generator=torch.Generator().manual_seed(2))
    cut = Perturbation.of(images, replaced).cropped(3, 5, 10, 12)(masks)
    torch.testing.assert_close(cut, blend(images[..., 3:13, 5:17], replaced[..., 3:13, 5:17], masks))
