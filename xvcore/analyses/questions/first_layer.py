"""Diagnosis of the first layers: dead, duplicate, aliasing and dominating filters, and what frequencies they see.

Looking at the first layers of Krizhevsky's network, Zeiler and Fergus saw filters of very high and very low frequencies
with little between, dead ones, a few that dominate, and aliasing by the stride of 4; 7 × 7 filters at stride 2 cured it
[1]_. They looked; here each of these words is a number, and all thresholds are ours.

Filters are those that the forward pass uses: where a convolution standardises its weights, not what it keeps.

A filter's spectrum is the squared absolute value of its Fourier transform, padded with zeros, summed over its input
channels. A stride of s keeps frequencies up to 1 / (2 s) cycles per pixel along each axis; what the filter lets
through beyond comes back as a wrong, lower frequency: aliasing. (A 1 × 1 filter lets all frequencies through alike.)

References
----------
.. [1] M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, sections 3.1, 4.1.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from xvcore.errors import ParameterError
from xvcore.models.classifier import Classifier
from xvcore.ops.convolutions import Convolution, Filters, convolved, used_filters
from xvcore.ops.feature_layers import activations, layer_ends
from xvcore.parameters import check, parameter
from xvcore.types import Images

Spectra = Float[np.ndarray, "filters side side"]


@dataclass(frozen=True, slots=True)
class FirstLayers:
    """Tells of each filter of the first convolutions whether and how it is ill."""

    layers: tuple[str, ...] = parameter((), "Convolutions, modules' dotted names; empty: the first ones")
    n_layers: int = parameter(2, "Number of the first convolutions (the paper: 2)", ge=1)
    dead_below: float = parameter(
        0.05, "A filter is dead whose norm is below this share of the usual one (not in the paper)", ge=0, le=1
    )
    dominant_above: float = parameter(
        3.0, "A filter dominates whose norm is above so many times the usual one (not in the paper)", ge=1
    )
    duplicate_above: float = parameter(
        0.95, "Two filters are duplicates if the cosine between them is above (not in the paper)", ge=0, le=1
    )
    aliasing_above: float = parameter(
        0.5, "A filter aliases if more than this share of its spectrum is beyond what its stride keeps", ge=0, le=1
    )
    low_below: float = parameter(0.125, "Low frequencies, in cycles per pixel (not in the paper)", ge=0, le=0.5)
    high_above: float = parameter(0.25, "High frequencies, in cycles per pixel (not in the paper)", ge=0, le=0.71)
    spectrum_px: int = parameter(64, "Side in pixels that filters are padded to for their spectrum", ge=8, le=512)

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, classifier: Classifier, images: Images, *, batch_size: int = 32) -> pd.DataFrame:
        """Return one row per filter of each layer.

        Parameters
        ----------
        classifier : the network
        images : RGB in [0, 1] at the network's input size: a unit that is never above 0 in any of them is dead. It is
            taken where its layer ends (after normalisation, ReLU, pooling)
        batch_size : images in one forward pass; does not decide the numbers

        Returns
        -------
        DataFrame
            ``layer``, ``unit``; ``kernel`` (rows × columns), ``stride``; ``norm`` (Euclidean), ``rms`` (the paper's
            training kept it below 0.1, for inputs of ± 128), ``norm_relative`` to the usual one, the layer's median
            without what is next to nothing beside the largest; ``act_max`` over the images (NaN where the layer's end
            has other units); ``nearest`` other filter and ``similarity``, the cosine to it; ``duplicate_of``: lowest
            filter that is a duplicate, −1 for none; ``frequency``: centre of its spectrum, and ``bandwidth``, its
            standard deviation, in cycles per pixel (NaN for a filter of zeros, as are its shares); ``share_low``,
            ``share_mid``, ``share_high``, ``share_aliasing`` of its spectrum; ``colour``: share of its energy that
            tells colours apart (NaN but for three input channels); ``is_dead``, ``is_dominant``, ``is_duplicate``,
            ``is_aliasing``.

        Raises
        ------
        ParameterError
            The network has no convolution, or a layer is none.
        """
        highest = self.highest(classifier, images, batch_size=batch_size)
        return self.of_highest(classifier, {layer: values.max(axis=0) for layer, values in highest.items()})

    def highest(
        self, classifier: Classifier, images: Images, *, batch_size: int = 32
    ) -> dict[str, Float[np.ndarray, "images units"]]:
        """Return the highest activation of each unit in each image, by the name of the convolution.

        Parameters and errors are those of :meth:`__call__`.
        """
        normalised = classifier.preprocessing.normalise(images)
        ends = layer_ends(classifier.network, normalised[:1])
        modules = dict(classifier.network.named_modules())
        with torch.no_grad(), convolved(classifier.network) as found:
            classifier.network(normalised[:1])
        convolutions = [name for name in ends if name in found or isinstance(modules[name], nn.Conv2d)]
        layers = self.layers or tuple(convolutions[: self.n_layers])
        if not layers or (strange := [name for name in layers if name not in convolutions]):
            seen = strange[0] if layers else "no convolution"
            raise ParameterError(f"layer {seen}: expected one of the convolutions {', '.join(convolutions[:20])}")
        values = _highest(classifier.network, [ends[name] for name in layers], normalised, batch_size)
        return {name: values[ends[name]] for name in layers}

    def of_highest(self, classifier: Classifier, act_max: Mapping[str, Float[np.ndarray, " units"]]) -> pd.DataFrame:
        """Return one row per filter of each layer; see :meth:`__call__`.

        Parameters
        ----------
        classifier : the network
        act_max : highest activation of each unit over the images, by the name of the convolution
        """
        frames = []
        for name, used in filters_of(classifier, list(act_max)).items():
            frame = self.of_filters(used.filters, used.stride, act_max[name])
            frames.append(frame.assign(layer=name)[["layer", *frame.columns]])
        return pd.concat(frames, ignore_index=True)

    def of_filters(
        self, filters: Filters, stride: tuple[int, int], act_max: Float[np.ndarray, " units"] | None = None
    ) -> pd.DataFrame:
        """Return one row per filter; see :meth:`__call__`.

        Parameters
        ----------
        filters : weights of a convolution, as it uses them
        stride : along rows and columns, in pixels
        act_max : highest activation of each unit, None where it is not known
        """
        weights = filters.detach().double().cpu()
        flat = weights.flatten(1)
        norm = flat.norm(dim=1).numpy()
        usual = float(np.median(norm[norm >= self.dead_below * norm.max()]))
        relative = norm / max(usual, np.finfo(float).tiny)
        known = act_max is not None and len(act_max) == len(norm)
        top = np.asarray(act_max, float) if known else np.full(len(norm), math.nan)
        is_dead = (relative < self.dead_below) | (top <= 0)
        nearest, similarity, duplicate_of = self._duplicates(flat, relative >= self.dead_below)
        frame = pd.DataFrame(
            {
                "unit": np.arange(len(norm)),
                "kernel": " × ".join(map(str, weights.shape[2:])),
                "stride": " × ".join(map(str, stride)),
                "norm": norm,
                "rms": norm / math.sqrt(flat.shape[1]),
                "norm_relative": relative,
                "act_max": top,
                "nearest": nearest,
                "similarity": similarity,
                "duplicate_of": duplicate_of,
                **self._frequencies(spectra(weights, self.spectrum_px), stride),
                "colour": _colour(weights),
            }
        )
        frame["is_dead"] = is_dead
        frame["is_dominant"] = relative > self.dominant_above
        frame["is_duplicate"] = duplicate_of >= 0
        frame["is_aliasing"] = ~is_dead & (frame["share_aliasing"] > self.aliasing_above)
        return frame

    def _duplicates(
        self, flat: Float[Tensor, "filters weights"], is_alive: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the nearest filter, the cosine to it, and the lowest filter before it that is a duplicate or −1."""
        unit = flat / flat.norm(dim=1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
        cosine = (unit @ unit.T).numpy()
        np.fill_diagonal(cosine, -np.inf)
        nearest = cosine.argmax(axis=1) if len(cosine) > 1 else np.full(len(cosine), -1)
        similarity = cosine.max(axis=1) if len(cosine) > 1 else np.full(len(cosine), math.nan)
        alike = (cosine > self.duplicate_above) & is_alive[:, None] & is_alive
        earlier = np.tril(alike, -1)
        return nearest, similarity, np.where(earlier.any(axis=1), earlier.argmax(axis=1), -1)

    def _frequencies(self, spectrum: Spectra, stride: tuple[int, int]) -> dict[str, np.ndarray]:
        axis = np.abs(np.fft.fftfreq(spectrum.shape[1]))
        radius = np.hypot(axis[:, None], axis)
        total = spectrum.sum(axis=(1, 2))
        share = spectrum / np.where(total > 0, total, math.nan)[:, None, None]
        centre = (share * radius).sum(axis=(1, 2))
        spread = (share * radius**2).sum(axis=(1, 2)) - centre**2
        folded = (axis[:, None] > 0.5 / stride[0]) | (axis > 0.5 / stride[1])
        is_low, is_high = radius < self.low_below, radius > self.high_above
        return {
            "frequency": centre,
            "bandwidth": np.sqrt(spread.clip(min=0)),
            "share_low": share[:, is_low].sum(axis=1),
            "share_mid": share[:, ~is_low & ~is_high].sum(axis=1),
            "share_high": share[:, is_high].sum(axis=1),
            "share_aliasing": share[:, folded].sum(axis=1),
        }


def filters_of(classifier: Classifier, layers: Sequence[str]) -> Mapping[str, Convolution]:
    """Return the filters of convolutions as the forward pass uses them: standardised, normalised, masked.

    Raises
    ------
    ParameterError
        A layer computes no convolution, or its filters change with the image.
    """
    size = classifier.preprocessing.input_px
    dtype = next((each.dtype for each in classifier.network.parameters()), torch.float32)
    noise = torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(0)).to(classifier.device, dtype)
    images = (torch.full_like(noise, 0.5), noise)
    return used_filters(classifier.network, layers, [classifier.preprocessing.normalise(each) for each in images])


def spectra(filters: Filters, side: int) -> Spectra:
    """Return the power of each filter by frequency, summed over its input channels.

    Parameters
    ----------
    filters : weights of a convolution
    side : what they are padded to, in pixels; larger filters keep their size
    """
    size = max(side, *filters.shape[2:])
    power: np.ndarray = torch.fft.fft2(filters, s=(size, size)).abs().square().sum(dim=1).numpy()
    return power


def diagnosis(filters: pd.DataFrame) -> pd.DataFrame:
    """Return one row per layer of what :class:`FirstLayers` tells of the filters.

    Columns: ``layer``, ``kernel``, ``stride``, ``n_filters``, ``n_dead``, ``n_dominant``, ``n_duplicate``,
    ``n_aliasing``; the means ``share_low``, ``share_mid``, ``share_high``, ``share_aliasing`` over filters that are not
    dead; ``norm_spread``, the highest norm divided by the usual one.
    """
    rows = []
    for layer, frame in filters.groupby("layer", sort=False):
        alive = frame[~frame["is_dead"]]
        counts = {f"n_{name}": int(frame[f"is_{name}"].sum()) for name in ("dead", "dominant", "duplicate", "aliasing")}
        shares = {name: alive[name].mean() for name in ("share_low", "share_mid", "share_high", "share_aliasing")}
        first = {"layer": layer, "kernel": frame["kernel"].iloc[0], "stride": frame["stride"].iloc[0]}
        rows.append({
            **first, "n_filters": len(frame), **counts, **shares, "norm_spread": frame["norm_relative"].max()
        })  # fmt: skip
    return pd.DataFrame(rows)


def _highest(
    network: nn.Module, layers: list[str], normalised: Images, batch_size: int
) -> dict[str, Float[np.ndarray, "images units"]]:
    """Return the highest activation of each unit of each layer in each image, over all places."""
    highest: dict[str, list[Tensor]] = {}
    for batch in normalised.split(batch_size):
        with torch.no_grad():
            found = activations(network, layers, batch)
        for layer, values in found.items():
            highest.setdefault(layer, []).append(values.flatten(2).amax(dim=2) if values.ndim > 2 else values)
    return {layer: torch.cat(parts).double().cpu().numpy() for layer, parts in highest.items()}


def _colour(weights: Filters) -> Float[np.ndarray, " filters"]:
    """Return the share of each filter's energy that is not the same in all three channels."""
    if weights.shape[1] != 3:
        return np.full(len(weights), math.nan)
    total = weights.square().sum(dim=(1, 2, 3)).numpy()
    grey = 3 * weights.mean(dim=1).square().sum(dim=(1, 2)).numpy()
    return 1 - grey / np.where(total > 0, total, math.nan)
