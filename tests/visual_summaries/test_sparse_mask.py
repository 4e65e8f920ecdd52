"""Sparse masks against a literal restatement of the paper, and the laws of their options."""

import dataclasses
import itertools
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn

from xvcore.errors import ParameterError, XvError
from xvcore.methods import methods
from xvcore.ops.adam import Adam
from xvcore.ops.perturb import baseline
from xvcore.parameters import as_dict, replaced
from xvcore.visual_summaries.method.judged_masks import Judge
from xvcore.visual_summaries.method.rise import without_most_salient
from xvcore.visual_summaries.method.sparse_mask import JUDGES, SparseMask

TENSORS = ("low", "smooth", "crisp", "prob_full", "prob_smooth", "prob_crisp", "prob_blurred")


def assert_same(found, expected, atol):
    for name in TENSORS:
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=atol, msg=name)


def literal_penalty(mask, area_weight, variation_weight, crispness_weight):
    """Return λ1 mean|1 − m| + λtv [mean|D_row m|³ + mean|D_col m|³] + λlas mean|m(1 − m)| of one mask, in loops."""
    rows = list(mask)
    pixels = [pixel for row in rows for pixel in row]
    downwards = [b - a for upper, lower in itertools.pairwise(rows) for a, b in zip(upper, lower, strict=True)]
    sideways = [b - a for row in rows for a, b in itertools.pairwise(row)]
    area = sum((1 - pixel).abs() for pixel in pixels) / len(pixels)
    variation = sum(sum(step.abs() ** 3 for step in steps) / len(steps) for steps in (downwards, sideways))
    softness = sum((pixel * (1 - pixel)).abs() for pixel in pixels) / len(pixels)
    return area_weight * area + variation_weight * variation + crispness_weight * softness


def literal_probability(classifier, image, blurred, mask, target):
    picture = mask * image + (1 - mask) * blurred
    return classifier.logits(picture[None]).softmax(1)[0, target]


def literal_stage(classifier, image, blurred, target, mask, show, weights, n_steps):
    """Return one image's mask after so many steps of torch's Adam; ``show`` makes the pixel mask of the variable."""
    mask = mask.clone().requires_grad_()
    optimiser = torch.optim.Adam([mask], lr=0.1)
    for _ in range(n_steps):
        optimiser.zero_grad()
        loss = literal_probability(classifier, image, blurred, show(mask), target) + literal_penalty(mask, *weights)
        loss.backward()
        optimiser.step()
        mask.data.clamp_(0, 1)
    return mask.detach()


def literal_sparse_mask(classifier, image, target, smooth_steps, crisp_steps):
    """Return low, smooth and crisp mask of one image, as the original computes them but for the PNG file between."""
    blurred = baseline(image[None], "blur_weak")[0]

    def upsampled_and_blurred(low):
        shown = F.interpolate(low[None, None], image.shape[1:], mode="bilinear", align_corners=True)[0, 0]
        shown.data = torch.from_numpy(ndimage.gaussian_filter(shown.detach().numpy(), 5.0))  # the graph knows no blur
        return shown

    rows, columns = image.shape[1] // 8, image.shape[2] // 8
    centre, radius = ((rows - 1) / 2, (columns - 1) / 2), min(rows, columns) / 2
    start = torch.ones(rows, columns, dtype=image.dtype)
    for i in range(rows):
        for j in range(columns):
            if (i - centre[0]) ** 2 + (j - centre[1]) ** 2 < radius**2:
                start[i, j] = 0
    scene = (classifier, image, blurred, target)
    low = literal_stage(*scene, start, upsampled_and_blurred, (0.5, 1e-2, 0.0), smooth_steps)
    smooth = upsampled_and_blurred(low)
    crisp = literal_stage(*scene, smooth, lambda mask: mask, (0.01, 1.0, 2.0), crisp_steps)
    return low, smooth, crisp


def test_a_short_optimisation_is_the_papers(make_classifier, make_images):
    classifier, (images, targets) = make_classifier(torch.float64), make_images(2, torch.float64)
    method = dataclasses.replace(SparseMask.published(), smooth_steps=5, crisp_steps=2)
    masks = method(classifier, images, targets)
    for index, (image, target) in enumerate(zip(images, targets, strict=True)):
        low, smooth, crisp = literal_sparse_mask(classifier, image, int(target), 5, 2)
        torch.testing.assert_close(masks.low[index, 0], low, rtol=0, atol=1e-9)
        torch.testing.assert_close(masks.smooth[index, 0], smooth, rtol=0, atol=1e-9)
        torch.testing.assert_close(masks.crisp[index, 0], crisp, rtol=0, atol=1e-7)


def test_probabilities_are_those_of_the_masks(make_classifier, make_images):
    classifier, (images, targets) = make_classifier(torch.float64), make_images(3, torch.float64)
    masks = SparseMask(smooth_steps=6, crisp_steps=4)(classifier, images, targets)
    blurred = baseline(images, "blur_weak")
    for index, target in enumerate(targets.tolist()):
        pair, binary = (images[index], blurred[index]), (masks.crisp[index] >= 0.5).double()
        expected = {
            "prob_full": torch.ones_like(binary),
            "prob_smooth": masks.smooth[index],
            "prob_crisp": binary,
            "prob_blurred": torch.zeros_like(binary),
        }
        for name, mask in expected.items():
            probability = literal_probability(classifier, *pair, mask, target)
            torch.testing.assert_close(getattr(masks, name)[index], probability, rtol=0, atol=1e-12)
        assert masks.removed[index].sum() == (binary == 0).sum()
    torch.testing.assert_close(masks.drop_crisp, 1 - masks.prob_crisp / masks.prob_full)
    torch.testing.assert_close(masks.drop_smooth, 1 - masks.prob_smooth / masks.prob_full)
    torch.testing.assert_close(masks.area_crisp, masks.removed.double().mean((1, 2, 3)))


def test_more_steps_lower_the_loss_and_the_crisp_stage_hardens_the_mask(make_classifier, make_images):
    classifier, (images, targets) = make_classifier(), make_images()
    short, long = (SparseMask(smooth_steps=n, crisp_steps=0)(classifier, images, targets) for n in (2, 60))
    area = [(1 - masks.low).mean((1, 2, 3)) for masks in (short, long)]
    loss = [masks.prob_smooth + 0.5 * each for masks, each in zip((short, long), area, strict=True)]
    assert (loss[1] < loss[0]).all()
    crisp = SparseMask(smooth_steps=60, crisp_steps=60)(classifier, images, targets)
    assert crisp.crispness.mean() < 0.25 * (crisp.smooth * (1 - crisp.smooth)).mean()
    assert torch.equal(long.crisp, long.smooth)
    assert long.crisp_iterations.tolist() == [0] * len(images)


def mean_objectives(masks):
    return masks.smooth_objective.mean(), masks.crisp_objective.mean()


class Surer(nn.Module):
    """A network whose scores differ three times as much; class 4 is what it says of pictures that show nothing."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images):
        return 3 * (self.network(images) - 2.5 * torch.eye(5)[4])


def test_a_tenth_of_the_published_passes_reaches_lower_objectives(make_classifier, make_images):
    classifier, batch = make_classifier(wrap=Surer), make_images()
    published, ours = SparseMask.published()(classifier, *batch), SparseMask()(classifier, *batch)
    passes = [(masks.smooth_iterations + masks.crisp_iterations).unique().tolist() for masks in (published, ours)]
    assert passes == [[450], [45]]
    for found, expected in zip(mean_objectives(ours), mean_objectives(published), strict=True):
        assert found <= expected


@pytest.mark.parametrize("preset", ["published", "robust", None])
def test_objectives_are_those_of_the_masks(preset, make_classifier, make_images):
    classifier, (images, targets) = make_classifier(torch.float64), make_images(3, torch.float64)
    method = SparseMask(preset=preset, smooth_steps=6, crisp_steps=4)
    masks = method(classifier, images, targets)
    kinds = method.baselines or (method.baseline,)
    for index, target in enumerate(targets.tolist()):
        for mask, variable, weights, objective in (
            (masks.smooth, masks.low, (0.5, 1e-2, 0.0), masks.smooth_objective),
            (masks.crisp, masks.crisp, (0.01, 1.0, 2.0), masks.crisp_objective),
        ):
            shown = [(images[index], baseline(images, kind)[index], mask[index]) for kind in kinds]
            mean = sum(literal_probability(classifier, *each, target) for each in shown) / len(kinds)
            expected = mean + literal_penalty(variable[index, 0], *weights)
            torch.testing.assert_close(objective[index], expected, rtol=0, atol=1e-9)


def test_masks_are_judged_under_every_baseline(make_classifier, make_images):
    classifier, (images, targets) = make_classifier(torch.float64), make_images(3, torch.float64)
    masks = SparseMask(smooth_steps=6, crisp_steps=4, baseline="mean")(classifier, images, targets)
    binary = (masks.crisp >= 0.5).double()
    for column, kind in enumerate(JUDGES):
        picture = binary * images + (1 - binary) * baseline(images, kind)
        expected = classifier.probabilities(picture).gather(1, targets[:, None]).squeeze(1)
        torch.testing.assert_close(masks.prob_by_baseline[:, column], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(masks.drop_by_baseline[:, JUDGES.index("mean")], masks.drop_crisp)


def test_robust_masks_hold_under_the_baseline_that_fools_those_of_one(make_classifier, make_images):
    classifier, batch = make_classifier(), make_images()
    one, robust = SparseMask()(classifier, *batch), SparseMask.robust()(classifier, *batch)
    assert robust.smooth_iterations.tolist() == one.smooth_iterations.tolist()
    assert robust.drop_by_baseline.amin(dim=1).mean() >= one.drop_by_baseline.amin(dim=1).mean()


def test_within_a_tenth_of_the_picture_more_is_taken_than_by_the_robust_masks_first_tenth(make_classifier, make_images):
    classifier, (images, targets) = make_classifier(wrap=Surer), make_images()
    short = [SparseMask(preset=preset, crisp_steps=6) for preset in ("tenth", "robust")]
    tenth, robust = (method(classifier, images, targets) for method in short)
    assert tenth.area_crisp.max() < 0.125  # the limit is soft
    judge = Judge(classifier, images, targets, "blur_weak")
    left = {}
    for name, masks in {"tenth": tenth, "robust": robust}.items():
        removed = without_most_salient(2 - masks.crisp - masks.smooth, 0.1)
        left[name] = torch.stack([judge(removed, kind) for kind in JUDGES]).mean()
    assert left["tenth"] < left["robust"]


@pytest.mark.parametrize("optimiser", ["margin", "adam"])
def test_single_precision_results_agree_between_batches(optimiser, make_classifier, make_images):
    method = SparseMask(smooth_steps=10, crisp_steps=5, optimiser=optimiser)
    classifier, (images, targets) = make_classifier(), make_images()
    whole = method(classifier, images, targets)
    alone = type(whole).joined([method(classifier, images[[i]], targets[[i]]) for i in range(len(images))])
    assert_same(alone, whole, atol=2e-3)


@pytest.mark.parametrize("optimiser", ["margin", "adam"])
def test_images_that_settle_say_so(optimiser, make_classifier, make_images):
    classifier, batch = make_classifier(torch.float64), make_images(3, torch.float64)
    whole = SparseMask(smooth_steps=12, crisp_steps=6, optimiser=optimiser)
    masks = whole(classifier, *batch)
    assert not masks.smooth_settled.any()
    assert not masks.crisp_settled.any()
    early = dataclasses.replace(whole, stop_window=2, stop_tolerance=10.0)(classifier, *batch)
    assert early.smooth_settled.all()
    assert (early.smooth_iterations == 2).all()


def test_images_that_finish_early_leave_the_rest_as_it_is(make_classifier, make_images):
    classifier, (images, targets) = make_classifier(torch.float64), make_images(6, torch.float64)
    full = dataclasses.replace(SparseMask.published(), smooth_steps=40, crisp_steps=10)
    stopping = dataclasses.replace(full, stop_window=5, stop_tolerance=4e-3)
    masks = stopping(classifier, images, targets)
    steps = masks.smooth_iterations.tolist()
    assert len(set(steps)) > 1
    for index, (smooth, crisp) in enumerate(zip(steps, masks.crisp_iterations.tolist(), strict=True)):
        alone = dataclasses.replace(full, smooth_steps=smooth, crisp_steps=crisp)
        expected = alone(classifier, images[[index]], targets[[index]])
        torch.testing.assert_close(masks.crisp[[index]], expected.crisp, rtol=0, atol=1e-9)


class Narrow(nn.Module):
    """A network on a device with memory for a few images."""

    def __init__(self, network: nn.Module, limit: int) -> None:
        super().__init__()
        self.network, self.limit, self.sizes = network, limit, []

    def forward(self, images):
        self.sizes.append(len(images))
        if len(images) > self.limit:
            raise torch.OutOfMemoryError("no memory")
        return self.network(images)


def test_a_batch_that_does_not_fit_goes_in_halves(make_classifier, make_images):
    method, (images, targets) = SparseMask(smooth_steps=3, crisp_steps=2), make_images(7, torch.float64)
    narrow = make_classifier(torch.float64, lambda network: Narrow(network, 2))
    expected = method(make_classifier(torch.float64), images, targets)
    assert_same(method(narrow, images, targets), expected, atol=1e-9)
    assert {1, 2} <= set(narrow.network.sizes)
    with pytest.raises(torch.OutOfMemoryError):
        method(make_classifier(torch.float64, lambda network: Narrow(network, 0)), images, targets)


def test_numbers_that_overflow_are_an_error(make_classifier, make_images):
    class Overflowing(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, images):
            return self.network(images) * torch.inf

    with pytest.raises(XvError, match="not finite: small overflows in float32"):
        SparseMask(smooth_steps=2, crisp_steps=1)(make_classifier(wrap=Overflowing), *make_images(2))


@pytest.mark.parametrize("kind", ["blur_weak", "blur_strong", "mean", "noise"])
def test_every_baseline_gives_masks(kind, make_classifier, make_images):
    masks = SparseMask(smooth_steps=4, crisp_steps=2, baseline=kind)(make_classifier(), *make_images())
    assert masks.crisp.min() >= 0
    assert masks.crisp.max() <= 1


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_changes_the_masks_little(precision, make_classifier, make_images):
    single = SparseMask(smooth_steps=8, crisp_steps=0)
    mixed = dataclasses.replace(single, precision=precision)
    classifier, (images, targets) = make_classifier(), make_images()
    expected, found = single(classifier, images, targets), mixed(classifier, images, targets)
    assert found.crisp.dtype == torch.float32
    assert (found.smooth - expected.smooth).abs().mean() < 0.05
    assert not torch.equal(found.smooth, expected.smooth)


def test_the_blur_can_be_differentiated(make_classifier, make_images):
    through = dataclasses.replace(SparseMask.published(), smooth_steps=5, crisp_steps=0)
    true = dataclasses.replace(through, blur_gradient="differentiated")
    classifier, batch = make_classifier(), make_images()
    assert not torch.allclose(through(classifier, *batch).low, true(classifier, *batch).low)
    unblurred = [dataclasses.replace(each, mask_blur=0.0)(classifier, *batch).low for each in (through, true)]
    assert torch.equal(*unblurred)


def test_the_png_round_trip_stretches_and_quantises(make_classifier, make_images):
    method = SparseMask(smooth_steps=5, crisp_steps=0, png_round_trip=True)
    masks = method(make_classifier(), *make_images())
    smooth = masks.smooth.double().numpy()
    low, high = smooth.min((2, 3), keepdims=True), smooth.max((2, 3), keepdims=True)
    written = np.round(255 * (1 - (smooth - low) / high))
    np.testing.assert_allclose(masks.crisp.numpy(), 1 - written / 255, atol=1.01 / 255)
    assert (np.abs(masks.crisp.numpy() - (1 - written / 255)) > 1e-6).mean() < 1e-3
    torch.testing.assert_close(masks.crisp * 255, (masks.crisp * 255).round(), rtol=0, atol=1e-4)


def test_total_steps_are_shared_two_to_one_and_leave_one_spelling_of_the_settings():
    assert as_dict(replaced(SparseMask(), {"steps": 100})) == as_dict(SparseMask(smooth_steps=67, crisp_steps=33))
    assert SparseMask(steps=45) == SparseMask()
    assert SparseMask(preset="published", steps=450) == SparseMask.published()


def test_nonsense_is_refused_with_what_is_allowed():
    with pytest.raises(ParameterError, match=r"crisp_steps = -1 is outside 0"):
        SparseMask(crisp_steps=-1)
    with pytest.raises(ParameterError, match="smooth_steps"):
        replaced(SparseMask(), {"smooth_step": 3})
    with pytest.raises(ParameterError, match=r"adam\.learning_rate = -0\.1"):
        replaced(SparseMask(), {"adam.learning_rate": -0.1})


def test_presets_have_names():
    assert methods["sparse_mask"]() == SparseMask()
    published = methods["sparse_mask_published"]()
    assert (published.optimiser, published.smooth_steps, published.crisp_steps) == ("adam", 300, 150)
    assert methods["sparse_mask_robust"]().baselines == JUDGES
    early = methods["sparse_mask_before_may_2018"]()
    assert (early.smooth_area_weight, early.smooth_variation_weight) == (0.01, 1e-4)
    original = methods["fong_vedaldi"]()
    assert (original.reduction, original.variation, original.jitter_px, original.crisp_steps) == (
        "sum",
        "isotropic",
        4,
        0,
    )


def test_a_preset_sets_what_is_left_at_its_default_and_leaves_one_spelling():
    published = replaced(SparseMask(), {"preset": "published"})
    assert as_dict(published) == as_dict(SparseMask.published())
    shorter = replaced(SparseMask(), {"preset": "published", "smooth_steps": "40", "adam.learning_rate": "0.05"})
    assert shorter == dataclasses.replace(published, smooth_steps=40, adam=Adam(0.05))
    assert replaced(shorter, {"crisp_steps": "20"}) == dataclasses.replace(shorter, crisp_steps=20)
    with pytest.raises(ParameterError, match="did you mean"):
        replaced(SparseMask(), {"preset": "publishd"})


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("default")
def test_a_compiled_network_gives_the_same_masks(make_classifier, make_images):
    method, batch = SparseMask(smooth_steps=3, crisp_steps=2), make_images()
    compiled = dataclasses.replace(method, compile=True)
    assert_same(compiled(make_classifier(), *batch), method(make_classifier(), *batch), atol=1e-3)
