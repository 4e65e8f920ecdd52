"""Occlusion sensitivity: what happens to a feature map and to the decision when a square hides part of the image.

A square of one colour slides over the image. For each position three numbers are recorded, at the square's centre and
never averaged over overlaps: the activation of the strongest feature map, summed over space; the probability of the
target; the most probable class [1]_. With H, W the image's sides, p the padding, s the square's side and t the stride,
there are ``(⌊(H + 2p − s) / t⌋ + 1) (⌊(W + 2p − s) / t⌋ + 1)`` positions.

References
----------
.. [1] M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xvcore.errors import ParameterError
from xvcore.models.classifier import Classifier
from xvcore.ops.feature_layers import last_maps, tapped
from xvcore.ops.fill import GREY, Fill, fill_colours
from xvcore.parameters import check, parameter
from xvcore.types import Images, Probabilities, Targets

Grid = Float[Tensor, "batch rows columns"]


@dataclass(frozen=True, slots=True)
class OcclusionMaps:
    """The three maps of each image and the values without occlusion.

    Parameters
    ----------
    layer : where the feature map was taken
    activation : of the strongest unit, summed over its map, by position of the square
    probability : of the target, in [0, 1]
    prediction : index of the most probable output
    unit : the strongest unit without occlusion
    activation_full, probability_full, prediction_full : the same without occlusion
    y, x : centre of the square in pixels (pixel i covers [i, i + 1)), by row and by column of the maps
    """

    layer: str
    activation: Grid
    probability: Grid
    prediction: Int[Tensor, "batch rows columns"]
    unit: Int[Tensor, " batch"]
    activation_full: Float[Tensor, " batch"]
    probability_full: Probabilities
    prediction_full: Int[Tensor, " batch"]
    y: Float[Tensor, " rows"]
    x: Float[Tensor, " columns"]

    def positions(self, image_ids: Sequence[str]) -> pd.DataFrame:
        """Return one row per image and position.

        Columns: ``image_id``, ``y``, ``x`` (centre of the square, pixels), ``activation``, ``prob_target``,
        ``pred_idx``.
        """
        n_images, n_rows, n_columns = self.activation.shape
        return pd.DataFrame(
            {
                "image_id": [image_id for image_id in image_ids for _ in range(n_rows * n_columns)],
                "y": self.y.repeat_interleave(n_columns).repeat(n_images).cpu().numpy(),
                "x": self.x.repeat(n_images * n_rows).cpu().numpy(),
                "activation": self.activation.flatten().cpu().numpy(),
                "prob_target": self.probability.flatten().cpu().numpy(),
                "pred_idx": self.prediction.flatten().cpu().numpy(),
            }
        )

    def images(self, image_ids: Sequence[str]) -> pd.DataFrame:
        """Return one row per image.

        Columns: ``image_id``, ``layer``, ``unit``; without occlusion ``activation``, ``prob_target``, ``pred_idx``;
        ``prob_min`` and where, ``prob_min_y``, ``prob_min_x``; ``activation_min`` and where, ``activation_min_y``,
        ``activation_min_x``; ``changed_share``: share of positions that change the decision; ``agreement``: Pearson's
        correlation of the maps of activation and probability (NaN where one is constant), high where the strongest
        map carries the decision.
        """
        columns: dict[str, object] = {
            "image_id": list(image_ids),
            "layer": self.layer,
            "unit": self.unit.cpu().numpy(),
            "activation": self.activation_full.cpu().numpy(),
            "prob_target": self.probability_full.cpu().numpy(),
            "pred_idx": self.prediction_full.cpu().numpy(),
        }
        for name, grid in (("prob", self.probability), ("activation", self.activation)):
            least, place = grid.flatten(1).min(dim=1)
            columns[f"{name}_min"] = least.cpu().numpy()
            columns[f"{name}_min_y"] = self.y[place // len(self.x)].cpu().numpy()
            columns[f"{name}_min_x"] = self.x[place % len(self.x)].cpu().numpy()
        changed = self.prediction != self.prediction_full[:, None, None]
        columns["changed_share"] = changed.flatten(1).double().mean(dim=1).cpu().numpy()
        columns["agreement"] = _correlation(self.activation, self.probability).cpu().numpy()
        return pd.DataFrame(columns)


@dataclass(frozen=True, slots=True)
class Occlusion:
    """Slides a square over images and records three maps of what the network then says.

    The paper gives neither the square's side, stride and colour nor what happens at the border; the defaults are ours.
    """

    window: int = parameter(50, "Side of the square in pixels of the network's input (not in the paper)", ge=1)
    stride: int = parameter(8, "Pixels between positions of the square (not in the paper)", ge=1)
    padding: int | None = parameter(
        None, "Pixels by which the square may leave the image; none: half the square (not in the paper)", ge=0
    )
    fill: Fill = parameter(
        "training", "Colour of the square: mean of the training, mean of the image, or a grey value (not in the paper)"
    )
    grey: float = parameter(GREY, "Grey value of the square under fill=value, in [0, 1]", ge=0, le=1)
    strongest: Literal["max", "sum"] = parameter(
        "max",
        "Without occlusion, the unit of the highest activation (among equals, as ReLU6 makes them, of the highest "
        "sum) or of the highest sum (the paper: strongest)",
    )
    layer: str = parameter("", "Layer of the feature map, a module's dotted name; empty: the last with maps")

    def __post_init__(self) -> None:
        check(self)

    def n_positions(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of the maps of an image."""
        rows, columns = (
            (side + 2 * self._padding - self.window) // self.stride + 1
            if side + 2 * self._padding >= self.window
            else 0
            for side in (height, width)
        )
        return rows, columns

    def __call__(
        self, classifier: Classifier, images: Images, targets: Targets, *, batch_size: int = 64
    ) -> OcclusionMaps:
        """Return the maps of each image.

        Parameters
        ----------
        classifier : the network
        images : RGB in [0, 1] at the network's input size
        targets : the output whose probability is recorded
        batch_size : occluded images in one forward pass; does not decide the numbers

        Raises
        ------
        ParameterError
            The square does not fit, or the layer has no maps.
        UnknownNameError
            The network has no such layer.
        """
        height, width = images.shape[2:]
        n_rows, n_columns = self.n_positions(height, width)
        if min(n_rows, n_columns) < 1 or self.window > 2 * min(height, width):
            raise ParameterError(
                f"Occlusion.window = {self.window} with padding {self._padding} does not fit an image of "
                f"{height} × {width} px"
            )
        layer = self.layer or last_maps(classifier.network, classifier.preprocessing.normalise(images[:1]))
        full = _Watched(classifier, layer)
        parts = [full(batch) for batch in images.split(batch_size)]
        maps, logits = (torch.cat(each) for each in zip(*parts, strict=True))
        unit = _strongest(maps, self.strongest)
        colours = fill_colours(images, self.fill, training_mean=classifier.preprocessing.mean, value=self.grey)
        activation, probability, prediction = [], [], []
        for chunk in torch.arange(len(images) * n_rows * n_columns, device=images.device).split(batch_size):
            of_image, position = chunk // (n_rows * n_columns), chunk % (n_rows * n_columns)
            hidden = self._hidden(position // n_columns, position % n_columns, height, width)
            seen, scores = full(torch.where(hidden, colours[of_image], images[of_image]))
            activation.append(_of_unit(seen, unit[of_image]))
            probability.append(_of_target(scores, targets[of_image]))
            prediction.append(scores.argmax(dim=1))
        shape = (len(images), n_rows, n_columns)
        half = self.window / 2 - self._padding
        return OcclusionMaps(
            layer=layer,
            activation=torch.cat(activation).view(shape),
            probability=torch.cat(probability).view(shape),
            prediction=torch.cat(prediction).view(shape),
            unit=unit,
            activation_full=_of_unit(maps, unit),
            probability_full=_of_target(logits, targets),
            prediction_full=logits.argmax(dim=1),
            y=half + self.stride * torch.arange(n_rows, device=images.device).to(images),
            x=half + self.stride * torch.arange(n_columns, device=images.device).to(images),
        )

    @property
    def _padding(self) -> int:
        return self.window // 2 if self.padding is None else self.padding

    def _hidden(
        self, rows: Int[Tensor, " batch"], columns: Int[Tensor, " batch"], height: int, width: int
    ) -> Bool[Tensor, "batch 1 height width"]:
        """Return the pixels under the square, by its row and column among the positions."""

        def covered(index: Tensor, side: int) -> Tensor:
            start = (index * self.stride - self._padding)[:, None]
            place = torch.arange(side, device=index.device)
            return (place >= start) & (place < start + self.window)

        return (covered(rows, height)[:, :, None] & covered(columns, width)[:, None, :])[:, None]


@dataclass(frozen=True, slots=True)
class _Watched:
    """A classifier that also says what a layer's maps are."""

    classifier: Classifier
    layer: str

    def __call__(
        self, images: Images
    ) -> tuple[Float[Tensor, "batch units rows columns"], Float[Tensor, "batch classes"]]:
        with torch.no_grad(), tapped(self.classifier.network, [self.layer]) as found:
            logits = self.classifier.logits(images)
        maps = found.get(self.layer)
        if maps is None or maps.ndim != 4:
            seen = "does not run" if maps is None else f"gives shape {tuple(maps.shape)}"
            raise ParameterError(f"layer {self.layer} {seen}: expected maps, batch × units × height × width")
        return maps, logits


def _strongest(
    maps: Float[Tensor, "batch units rows columns"], strongest: Literal["max", "sum"]
) -> Int[Tensor, " batch"]:
    """Return the strongest unit of each image, the first of equals."""
    total, highest = maps.sum(dim=(2, 3)), maps.amax(dim=(2, 3))
    if strongest == "max":
        total = total.masked_fill(highest < highest.amax(dim=1, keepdim=True), -torch.inf)
    return (total == total.amax(dim=1, keepdim=True)).int().argmax(dim=1)


def _of_unit(maps: Float[Tensor, "batch units rows columns"], unit: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    index = unit[:, None, None, None].expand(-1, 1, *maps.shape[2:])
    return maps.gather(1, index).sum(dim=(1, 2, 3))


def _of_target(logits: Float[Tensor, "batch classes"], targets: Targets) -> Probabilities:
    return logits.softmax(dim=1).gather(1, targets[:, None]).squeeze(1)


def _correlation(a: Grid, b: Grid) -> Float[Tensor, " batch"]:
    """Return Pearson's correlation of two maps of each image, NaN where one is constant."""
    left, right = (each.flatten(1).double() for each in (a, b))
    left, right = left - left.mean(dim=1, keepdim=True), right - right.mean(dim=1, keepdim=True)
    scale = torch.linalg.vector_norm(left, dim=1) * torch.linalg.vector_norm(right, dim=1)
    correlation: Tensor = (left * right).sum(dim=1) / scale
    return correlation
