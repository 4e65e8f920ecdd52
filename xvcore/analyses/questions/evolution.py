"""Evolution of features during training: the top image of every unit at each checkpoint, and how far units moved.

The paper shows, for a few units of each layer and the epochs 1, 2, 5, 10, 20, 30, 40, 64, the projection of the
strongest activation over all training examples; a jump is a change of the image it comes from [1]_. Here is the table
behind that figure. How far a unit has moved is not measured there: ours is one minus the correlation, over the images,
of its highest activations at two checkpoints.

References
----------
.. [1] M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4, figure 4.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from xvcore.errors import ParameterError, XvError
from xvcore.models.classifier import Classifier
from xvcore.ops.feature_layers import feature_layers, tapped
from xvcore.parameters import check, parameter
from xvcore.types import Images

Batches = Callable[[], Iterable[tuple[Sequence[str], Images]]]
"""Yields image ids and images, the same ones each time it is called."""
COLUMNS = [
    "checkpoint",
    "layer",
    "unit",
    "image_id",
    "activation",
    "map_y",
    "map_x",
    "is_dead",
    "jumped",
    "distance_previous",
    "distance_final",
]


@dataclass(frozen=True, slots=True)
class Highest:
    """The highest activation of each unit of a layer in each image.

    Parameters
    ----------
    values : the activations
    places : flat position in the map, the first of equals; 0 where the layer has no maps
    columns : width of the maps; 1 where the layer has none
    """

    values: Float[np.ndarray, "images units"]
    places: Int[np.ndarray, "images units"]
    columns: int


@dataclass(frozen=True, slots=True)
class Evolution:
    """Follows units over the checkpoints of a training."""

    layers: tuple[str, ...] = parameter((), "Layers, modules' dotted names; empty: the end of every layer")

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, checkpoints: Iterable[tuple[int, Classifier]], batches: Batches) -> pd.DataFrame:
        """Return one row per checkpoint, layer and unit.

        Parameters
        ----------
        checkpoints : epoch or step, and the network then; one at a time is held
        batches : the images; the paper takes all training images

        Returns
        -------
        DataFrame
            ``checkpoint``, ``layer``, ``unit``; ``image_id`` of the strongest activation (the first of equals),
            ``activation``, ``map_y``, ``map_x``; ``is_dead``: no activation above 0 in any image, then ``image_id``
            is missing; ``jumped``: the image is not that of the checkpoint before (False at the first);
            ``distance_previous``, ``distance_final``: one minus the correlation of the unit's highest activations over
            the images with those at the checkpoint before and at the last one, in [0, 2] (NaN where a unit is
            constant, and ``distance_previous`` at the first checkpoint).

        Raises
        ------
        XvError
            No checkpoint, no image, a checkpoint twice, or images that change between checkpoints.
        UnknownNameError, ParameterError
            A layer that the network does not have or does not run.
        """
        names: list[int] = []
        ids: list[str] = []
        layers: tuple[str, ...] = self.layers
        found: dict[str, list[Highest]] = {}
        for checkpoint, classifier in checkpoints:
            if checkpoint in names:
                raise XvError(f"checkpoint {checkpoint} is given twice")
            seen, highest = self.highest(classifier, batches, layers)
            if names and seen != ids:
                raise XvError(f"checkpoint {checkpoint} saw other images than checkpoint {names[0]}")
            layers = layers or tuple(highest)  # those of the first checkpoint
            ids = seen
            names.append(checkpoint)
            for layer, each in highest.items():
                found.setdefault(layer, []).append(each)
        return self.of_states(names, ids, found)

    def of_states(self, names: Sequence[int], ids: list[str], found: Mapping[str, list[Highest]]) -> pd.DataFrame:
        """Return the rows of checkpoints whose highest activations are known; see :meth:`__call__`.

        Parameters
        ----------
        names : of the checkpoints
        ids : of the images
        found : by layer, the highest activations at each checkpoint
        """
        if not names:
            raise XvError("no checkpoints to follow")
        order = np.argsort(names, kind="stable")
        frames = []
        for layer, unordered in found.items():
            states = [unordered[index] for index in order]
            frames += [_rows(names[index], layer, states, step, ids) for step, index in enumerate(order)]
        return pd.concat(frames, ignore_index=True)[COLUMNS]

    def highest(
        self, classifier: Classifier, batches: Batches, layers: tuple[str, ...] = ()
    ) -> tuple[list[str], dict[str, Highest]]:
        """Return the image ids, and the highest activations of every unit of each layer.

        Parameters
        ----------
        classifier : the network at one checkpoint
        batches : the images
        layers : empty: those of the settings
        """
        ids: list[str] = []
        parts: dict[str, list[tuple[Tensor, Tensor]]] = {}
        columns: dict[str, int] = {}
        layers = layers or self.layers
        for image_ids, images in batches():
            layers = layers or feature_layers(classifier.network, classifier.preprocessing.normalise(images[:1]))
            with torch.no_grad(), tapped(classifier.network, layers) as outputs:
                classifier.logits(images)
            ids += image_ids
            for layer in layers:
                if layer not in outputs:
                    raise ParameterError(f"layer {layer} does not run in a forward pass of {classifier.name}")
                maps = outputs[layer] if outputs[layer].ndim == 4 else outputs[layer].flatten(1)[:, :, None, None]
                values, places = maps.flatten(2).max(dim=2)
                first = (maps.flatten(2) == values[:, :, None]).int().argmax(dim=2)
                is_first = first < places  # max promises no order among equals
                parts.setdefault(layer, []).append((values.cpu(), torch.where(is_first, first, places).cpu()))
                columns[layer] = maps.shape[3]
        if not ids:
            raise XvError("no images to look at")
        joined = {
            layer: [torch.cat(each).numpy() for each in zip(*pairs, strict=True)] for layer, pairs in parts.items()
        }
        return ids, {layer: Highest(values, places, columns[layer]) for layer, (values, places) in joined.items()}


def movement(units: pd.DataFrame) -> pd.DataFrame:
    """Return one row per checkpoint and layer of what :class:`Evolution` tells of the units.

    Columns: ``checkpoint``, ``layer``, ``n_units``, ``n_dead``, ``jumped_share`` and ``activation_mean`` over the units
    that live, means of ``distance_previous`` and ``distance_final``.
    """
    rows = []
    for (layer, checkpoint), frame in units.groupby(["layer", "checkpoint"], sort=False):
        alive = frame[~frame["is_dead"].astype(bool)]
        rows.append({
            "checkpoint": checkpoint,
            "layer": layer,
            "n_units": len(frame),
            "n_dead": len(frame) - len(alive),
            "jumped_share": alive["jumped"].mean(),
            "activation_mean": alive["activation"].mean(),
            "distance_previous": frame["distance_previous"].mean(),
            "distance_final": frame["distance_final"].mean(),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _rows(checkpoint: int, layer: str, states: list[Highest], step: int, ids: list[str]) -> pd.DataFrame:
    """Return the rows of one checkpoint and layer; ``states`` are those of all checkpoints."""
    state, previous = states[step], states[max(step - 1, 0)]
    units = np.arange(state.values.shape[1])
    top, top_before = state.values.argmax(axis=0), previous.values.argmax(axis=0)
    place = state.places[top, units]
    is_dead = state.values.max(axis=0) <= 0
    unknown = np.full(len(units), np.nan)
    return pd.DataFrame(
        {
            "checkpoint": checkpoint,
            "layer": layer,
            "unit": units,
            "image_id": [None if dead else ids[index] for dead, index in zip(is_dead, top, strict=True)],
            "activation": state.values.max(axis=0),
            "map_y": place // state.columns,
            "map_x": place % state.columns,
            "is_dead": is_dead,
            "jumped": (top != top_before) & ~is_dead,
            "distance_previous": decorrelation(state.values, previous.values) if step else unknown,
            "distance_final": decorrelation(state.values, states[-1].values),
        }
    )


def decorrelation(
    first: Float[np.ndarray, "images units"], second: Float[np.ndarray, "images units"]
) -> Float[np.ndarray, " units"]:
    """Return one minus Pearson's correlation of each column of two tables; NaN where one is constant."""
    left, right = (np.asarray(each, np.float64) - each.mean(axis=0, dtype=np.float64) for each in (first, second))
    scale = np.sqrt((left**2).sum(axis=0) * (right**2).sum(axis=0))
    return np.asarray(1 - (left * right).sum(axis=0) / np.where(scale > 0, scale, np.nan))
