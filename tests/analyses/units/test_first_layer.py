"""First layers: planted ills are found, healthy filters are not blamed."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from xvcore.analyses.questions.first_layer import FirstLayers, diagnosis, spectra
from xvcore.errors import ParameterError


def gabors(frequencies, side=11, sigma=3.0):
    """Grey gratings of these horizontal frequencies (cycles per pixel) under a Gaussian, one of each phase."""
    place = torch.arange(side, dtype=torch.float64) - side // 2
    envelope = torch.exp(-(place[:, None] ** 2 + place**2) / (2 * sigma**2))
    found = []
    for frequency in frequencies:
        for phase in (0.0, np.pi / 2):
            wave = torch.cos(2 * np.pi * frequency * place + phase) * envelope
            found.append((wave / wave.norm()).expand(3, -1, -1))
    return torch.stack(found)


def test_a_spectrum_is_the_fourier_sum():
    filters = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    found = spectra(filters, 8)
    for row, column in ((0, 0), (1, 3), (7, 5)):
        wave = np.exp(-2j * np.pi * (row * np.arange(5)[:, None] + column * np.arange(4)) / 8)
        expected = (np.abs((filters.numpy() * wave).sum((2, 3))) ** 2).sum(1)
        np.testing.assert_allclose(found[:, row, column], expected)


@pytest.mark.parametrize("frequency", [0.1, 0.2, 0.3, 0.4])
def test_the_frequency_of_a_grating_is_found(frequency):
    frame = FirstLayers().of_filters(gabors([frequency]), (1, 1))
    np.testing.assert_allclose(frame["frequency"], frequency, atol=0.025)
    np.testing.assert_allclose(frame[["share_low", "share_mid", "share_high"]].sum(axis=1), 1)
    assert (frame["share_aliasing"] == 0).all()


@pytest.mark.parametrize(("stride", "aliasing"), [(1, []), (2, [0.35, 0.4]), (4, [0.2, 0.35, 0.4])])
def test_a_grating_aliases_beyond_half_the_sampling_rate(stride, aliasing):
    frequencies = [0.05, 0.2, 0.35, 0.4]
    frame = FirstLayers().of_filters(gabors(frequencies), (stride, stride))
    found = {frequencies[unit // 2] for unit in frame.loc[frame["is_aliasing"], "unit"]}
    assert found == set(aliasing)
    rows_only = FirstLayers().of_filters(gabors(frequencies), (stride, 1))
    assert not rows_only["is_aliasing"].any()  # the gratings change along columns


def test_planted_ills_are_found(classify):
    network = nn.Sequential(
        nn.Conv2d(3, 8, 11, stride=2, bias=True), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4),
    ).double()  # fmt: skip
    filters = gabors([0.06, 0.12, 0.18, 0.4])
    filters[1] *= 1e-4
    filters[3] = 0.7 * filters[0]
    filters[4] *= 5
    network[0].weight.data.copy_(filters)
    network[0].bias.data.zero_()
    network[0].bias.data[5] = -1e6
    images = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    frame = FirstLayers()(classify(network, (40, 40)), images, batch_size=2)
    first = frame[frame["layer"] == "0"].set_index("unit")
    assert set(frame["layer"]) == {"0", "3"}
    assert list(first.index[first["is_dead"]]) == [1, 5]
    assert list(first.index[first["is_duplicate"]]) == [3]
    assert first.loc[3, "duplicate_of"] == 0
    assert first.loc[[0, 3], "similarity"].min() > 0.999
    assert list(first.index[first["is_dominant"]]) == [4]
    assert list(first.index[first["is_aliasing"]]) == [6, 7]
    top = network[:3](classify(network, (40, 40)).preprocessing.normalise(images)).amax((0, 2, 3)).detach()
    np.testing.assert_allclose(first["act_max"], top)
    summary = diagnosis(frame).set_index("layer").loc["0"]
    counts = summary[["n_filters", "n_dead", "n_dominant", "n_duplicate", "n_aliasing"]]
    assert list(counts) == [8, 2, 1, 1, 2]
    assert (summary["kernel"], summary["stride"]) == ("11 × 11", "2 × 2")


def test_the_usual_norm_is_that_of_living_filters_even_when_most_are_dead():
    filters = gabors([0.1, 0.2, 0.3, 0.4])
    filters[[0, 2, 3, 5, 6]] = 0
    frame = FirstLayers().of_filters(filters, (1, 1))
    assert frame["is_dead"].tolist() == [True, False, True, True, False, True, True, False]
    np.testing.assert_allclose(frame.loc[~frame["is_dead"], "norm_relative"], 1)
    assert not frame["is_dominant"].any()
    assert not frame["is_duplicate"].any()


class Standardised(nn.Conv2d):
    """Standardises its weights in the pass, by a module of its own."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.made = nn.Identity()

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = self.made(weight / weight.std((1, 2, 3), keepdim=True))
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), weight, self.bias, self.stride)


class OwnWeights(nn.Module):
    """A convolution that is none by its class; it normalises and masks its weights."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1):
        super().__init__()
        self.kernels = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.register_buffer("mask", torch.ones(kernel_size, kernel_size).tril())
        self.stride = stride

    def forward(self, x):
        return torch.conv2d(x, self.mask * self.kernels / self.kernels.flatten(1).norm(dim=1)[:, None, None, None],
                            None, self.stride)  # fmt: skip


class Halved(nn.Module):
    def forward(self, weight):
        return weight / 2


def halved(conv):
    return parametrize.register_parametrization(conv, "weight", Halved())


def hooked_weight_norm(conv):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch wants it replaced; files of such networks are about
        return nn.utils.weight_norm(conv)


MADE = {
    "plain": nn.Conv2d,
    "standardised": Standardised,
    "own": OwnWeights,
    "parametrised": lambda *args, **options: halved(nn.Conv2d(*args, **options)),
    "weight norm": lambda *args, **options: parametrizations.weight_norm(nn.Conv2d(*args, **options)),
    "spectral norm": lambda *args, **options: parametrizations.spectral_norm(nn.Conv2d(*args, **options)),
    "hooked": lambda *args, **options: hooked_weight_norm(nn.Conv2d(*args, **options)),
}


@pytest.mark.parametrize("kind", MADE)
def test_filters_are_those_of_the_forward_pass(classify, kind):
    torch.manual_seed(3)
    network = nn.Sequential(
        MADE[kind](3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), MADE[kind](6, 5, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4),
    ).double().eval()  # fmt: skip
    classifier = classify(network, (20, 20))
    images = torch.rand(2, 3, 20, 20, dtype=torch.float64)
    frame = FirstLayers()(classifier, images)
    assert set(frame["layer"]) == {"0", "3"}
    assert set(frame["stride"]) == {"1 × 1", "2 × 2"}
    # a point in one channel answers with the filters, turned around: their norms are the filters'
    first = network[0]
    points = torch.zeros(3, 3, 9, 9, dtype=torch.float64)
    points[range(3), range(3), 4, 4] = 1
    with torch.no_grad():
        answers = first(points) - first(torch.zeros(1, 3, 9, 9, dtype=torch.float64))
    norms = answers.square().sum((0, 2, 3)).sqrt()
    np.testing.assert_allclose(frame.loc[frame["layer"] == "0", "norm"], norms, rtol=1e-9)
    assert len(first._forward_hooks) == 0


def test_what_standardising_takes_away_moves_nothing(classify):
    torch.manual_seed(4)
    network = nn.Sequential(
        Standardised(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    ).double().eval()  # fmt: skip
    classifier, images = classify(network, (20, 20)), torch.rand(2, 3, 20, 20, dtype=torch.float64)
    before = FirstLayers()(classifier, images)
    network[0].weight.data[0] += 5
    network[0].weight.data[1] *= 100
    pd.testing.assert_frame_equal(FirstLayers()(classifier, images), before)


def test_filters_that_change_with_the_image_are_refused(classify):
    class Dynamic(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(x, self.weight * x.mean())

    network = nn.Sequential(Dynamic(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    with pytest.raises(ParameterError, match="layer 0 convolves with filters that change"):
        FirstLayers()(classify(network.eval(), (20, 20)), torch.rand(2, 3, 20, 20))


def test_colour_is_what_differs_between_channels():
    grey = torch.ones(1, 3, 3, 3)
    opponent = torch.tensor([1.0, -1.0, 0.0])[None, :, None, None].expand(1, 3, 3, 3)
    red = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None].expand(1, 3, 3, 3)
    found = FirstLayers().of_filters(torch.cat([grey, opponent, red]), (1, 1))["colour"]
    np.testing.assert_allclose(found, [0, 1, 2 / 3], atol=1e-9)


def test_what_is_no_convolution_is_refused(small, images):
    with pytest.raises(ParameterError, match="layer 7: expected one of the convolutions 0, 3"):
        FirstLayers(layers=("7",))(small, images)
