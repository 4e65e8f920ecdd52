"""Invariance: how far features move, and what the decision does, when the image is shifted, enlarged or turned.

For each amount of each transformation T the distance of a layer's feature vector f to that of the untouched image,
``‖f(T x) − f(x)‖``, also divided by ``‖f(x)‖``, and the probability of the target [1]_. The ranges are those of the
paper's figure 5; its steps, border, interpolation and the normalisation of its distances are not given.

References
----------
.. [1] M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.1.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xvcore.analyses.questions.figures import Frame, Series, line_chart
from xvcore.errors import ParameterError
from xvcore.models.classifier import Classifier
from xvcore.ops.feature_layers import feature_layers, tapped
from xvcore.ops.fill import GREY, Fill, fill_colours
from xvcore.parameters import check, parameter
from xvcore.types import Images, Scores, Targets

Transformation = Literal["translation", "scale", "rotation"]
COLUMNS = [
    "image_id",
    "transformation",
    "amount",
    "layer",
    "distance",
    "distance_relative",
    "prob_target",
    "pred_idx",
]
UNITS: dict[Transformation, str] = {
    "translation": "Shift (px)",
    "scale": "Enlargement (ratio)",
    "rotation": "Angle (degrees)",
}


@dataclass(frozen=True, slots=True)
class Invariance:
    """Moves images step by step and measures how their features and probabilities follow."""

    shift_max: float = parameter(60.0, "Largest shift to either side in pixels of the network's input", ge=0)
    shift_step: float = parameter(1.0, "Step of the shift in pixels (not in the paper)", ge=0.01)
    shift_axis: Literal["vertical", "horizontal"] = parameter("vertical", "Direction of the shift")
    scale_max: float = parameter(1.8, "Largest enlargement about the image's middle; 1 is the image itself", ge=1)
    scale_step: float = parameter(0.02, "Step of the enlargement (not in the paper)", ge=0.001)
    rotation_max: float = parameter(350.0, "Largest angle in degrees, counter-clockwise", ge=0, le=360)
    rotation_step: float = parameter(5.0, "Step of the angle in degrees (not in the paper)", ge=0.1)
    fill: Fill = parameter("training", "Colour beyond the image's border (not in the paper)")
    grey: float = parameter(GREY, "Grey value beyond the border under fill=value, in [0, 1]", ge=0, le=1)
    interpolation: Literal["bilinear", "nearest", "bicubic"] = parameter(
        "bilinear", "How pixels between pixels are made (not in the paper)"
    )
    layers: tuple[str, ...] = parameter(
        (), "Layers, modules' dotted names; empty: the first and the last before the logits (the paper: 1 and 7)"
    )
    is_last_pooled: bool = parameter(
        True,  # noqa: FBT003
        "Average the maps of the last layer over their places, where it has maps: the paper's layer 7 has none",
    )

    def __post_init__(self) -> None:
        check(self)

    def amounts(self) -> dict[Transformation, tuple[float, ...]]:
        """Return the amounts of each transformation: pixels (down or right is positive), ratio, degrees."""
        shifts = _steps(self.shift_max, self.shift_step)
        return {
            "translation": (*(-each for each in reversed(shifts[1:])), *shifts),
            "scale": tuple(1 + each for each in _steps(self.scale_max - 1, self.scale_step)),
            "rotation": _steps(self.rotation_max, self.rotation_step),
        }

    def __call__(
        self,
        classifier: Classifier,
        images: Images,
        targets: Targets,
        image_ids: Sequence[str],
        *,
        batch_size: int = 32,
    ) -> pd.DataFrame:
        """Return one row per image, transformation, amount and layer.

        Parameters
        ----------
        classifier : the network
        images : RGB in [0, 1] at the network's input size
        targets : the output whose probability is recorded
        image_ids : name of each image
        batch_size : images in one forward pass; does not decide the numbers

        Returns
        -------
        DataFrame
            ``image_id``, ``transformation`` (translation, scale, rotation), ``amount`` (pixels, ratio, degrees),
            ``layer``, ``distance`` (Euclidean), ``distance_relative`` (divided by the norm of the untouched image's
            features), ``prob_target`` in [0, 1], ``pred_idx``.

        Raises
        ------
        UnknownNameError, ParameterError
            A layer that the network does not have or does not run.
        """
        layers = self.layers or _first_and_last(classifier, images)
        wanted = [(kind, amount) for kind, amounts in self.amounts().items() for amount in amounts]
        matrices = torch.stack([self._matrix(kind, amount, images.shape[2:]) for kind, amount in wanted]).to(images)
        colours = fill_colours(images, self.fill, training_mean=classifier.preprocessing.mean, value=self.grey)
        rows = []
        for image, colour, target, image_id in zip(images, colours, targets.tolist(), image_ids, strict=True):
            before, _ = self._features(classifier, layers, image[None])
            distance: dict[str, list[float]] = {layer: [] for layer in layers}
            probability: list[float] = []
            prediction: list[int] = []
            for chunk in matrices.split(batch_size):
                after, logits = self._features(classifier, layers, self._moved(image, chunk, colour))
                for layer in layers:
                    moved = (after[layer] - before[layer]).flatten(1).double().norm(dim=1)
                    distance[layer] += moved.tolist()
                probability += logits.softmax(dim=1)[:, target].tolist()
                prediction += logits.argmax(dim=1).tolist()
            for layer in layers:
                norm = before[layer].double().norm().item()
                for index, (kind, amount) in enumerate(wanted):
                    moved_by = distance[layer][index]
                    relative = moved_by / norm if norm > 0 else math.nan
                    row = (image_id, kind, amount, layer, moved_by, relative, probability[index], prediction[index])
                    rows.append(row)
        return pd.DataFrame(rows, columns=COLUMNS)

    def transformed(
        self,
        images: Images,
        kind: Transformation,
        amount: float,
        *,
        training_mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
    ) -> Images:
        """Return the images shifted (pixels), enlarged (ratio) or turned (degrees) about their middle."""
        matrix = self._matrix(kind, amount, images.shape[2:])[None].to(images)
        colours = fill_colours(images, self.fill, training_mean=training_mean, value=self.grey)
        return torch.cat([self._moved(image, matrix, colour) for image, colour in zip(images, colours, strict=True)])

    def _features(
        self, classifier: Classifier, layers: Sequence[str], images: Images
    ) -> tuple[dict[str, Tensor], Scores]:
        """Return the features of each layer, and the logits."""
        with torch.no_grad(), tapped(classifier.network, layers) as found:
            logits = classifier.logits(images)
        if missing := [name for name in layers if name not in found]:
            raise ParameterError(f"layer {missing[0]} does not run in a forward pass of {classifier.name}")
        if self.is_last_pooled and found[layers[-1]].ndim == 4:
            found[layers[-1]] = found[layers[-1]].mean(dim=(2, 3))
        return found, logits

    def _matrix(self, kind: Transformation, amount: float, size: Sequence[int]) -> Float[Tensor, "2 3"]:
        """Return where each pixel of the result is taken from, in coordinates that span [−1, 1] along each side."""
        height, width = size
        if kind == "translation":
            side = height if self.shift_axis == "vertical" else width
            moved = [0.0, 0.0]
            moved[1 if self.shift_axis == "vertical" else 0] = -2 * amount / side
            return torch.tensor([[1, 0, moved[0]], [0, 1, moved[1]]], dtype=torch.float64)
        if kind == "scale":
            return torch.tensor([[1 / amount, 0, 0], [0, 1 / amount, 0]], dtype=torch.float64)
        cosine, sine = (round(each, 15) for each in (math.cos(math.radians(amount)), math.sin(math.radians(amount))))
        return torch.tensor(
            [[cosine, -sine * height / width, 0], [sine * width / height, cosine, 0]], dtype=torch.float64
        )

    def _moved(
        self, image: Float[Tensor, "3 height width"], matrices: Float[Tensor, "batch 2 3"], colour: Tensor
    ) -> Images:
        """Return one image under several transformations; what lies beyond its border has the fill colour."""
        grid = F.affine_grid(matrices, [len(matrices), *image.shape], align_corners=False)
        offset = (image - colour).expand(len(matrices), -1, -1, -1)
        moved = F.grid_sample(offset, grid, mode=self.interpolation, padding_mode="zeros", align_corners=False)
        return moved + colour


def _steps(last: float, step: float) -> tuple[float, ...]:
    """Return 0, step, … up to ``last``, which is included where it is a multiple."""
    return tuple(float(each) for each in np.arange(math.floor(last / step + 1e-9) + 1) * step)


def _first_and_last(classifier: Classifier, images: Images) -> tuple[str, ...]:
    names = feature_layers(classifier.network, classifier.preprocessing.normalise(images[:1]))
    return tuple(dict.fromkeys((names[0], names[-1])))


def invariance_curves(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the means over the images of several tables, one at a time being held.

    Parameters
    ----------
    tables : as :class:`Invariance` returns them, with the column ``model``

    Returns
    -------
    DataFrame
        A row per model, layer (in the order of the tables), transformation and amount: n_images, distance,
        distance_relative, prob_target.
    """
    keys, values = ["model", "layer", "transformation", "amount"], ["distance", "distance_relative", "prob_target"]
    total = None
    for table in tables:
        groups = table.groupby(keys, sort=False)
        sums = groups[values].sum(min_count=1).join(groups.size().rename("n_images"))
        total = (
            sums if total is None else total.add(sums, fill_value=0).reindex(total.index.union(sums.index, sort=False))
        )
    if total is None:
        raise ParameterError("no images to draw curves of")
    means = total[values].div(total["n_images"], axis=0)
    return means.assign(n_images=total["n_images"].astype(int)).reset_index()


def invariance_figure(
    curves: pd.DataFrame, transformation: Transformation, value: Literal["distance_relative", "prob_target"]
) -> str:
    """Return a chart (SVG) of one transformation: distance of each network's layers, or probability of the target."""
    rows = curves[curves["transformation"] == transformation]
    if value == "prob_target":
        rows = rows[~rows.duplicated(["model", "amount"])]
    series = []
    for (model, layer), curve in rows.groupby(["model", "layer"], sort=False):
        ordered = curve.sort_values("amount")
        name = str(model) if value == "prob_target" else f"{model} {layer}"
        series.append(Series(name, *ordered[["amount", value]].to_numpy(float).T))
    what = "Probability of the target" if value == "prob_target" else "Distance of the features / norm"
    y_range = (-0.02, 1.02) if value == "prob_target" else None
    return line_chart(series, Frame(f"{what} under {transformation}", UNITS[transformation], what, y_range=y_range))
