"""Every torchvision classifier by its name, with the preprocessing of its published weights."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from xvcore.models.architecture import Architecture, Output, PublishedWeights, StateDict, unchanged
from xvcore.models.labels import imagenet_outputs
from xvcore.models.lean import models
from xvcore.models.preprocessing import Preprocessing


def names() -> list[str]:
    """Return the names of torchvision's classifiers."""
    return list(models.list_models(module=models))


def architecture(name: str) -> Architecture:
    """Return one of torchvision's classifiers; nothing is downloaded."""
    builder = models.get_model_builder(name)
    family = FAMILIES.get(builder.__module__.rpartition(".")[2], Family())
    build = _Build(builder, family.arguments)
    # Weights without categories are those of a backbone alone (VGG-16's "features").
    enum = [weights for weights in models.get_model_weights(name) if weights.meta["categories"]]
    published = [_published(weights, build, family) for weights in enum]
    published.sort(key=lambda weights: weights.name != models.get_model_weights(name).DEFAULT.name)
    default = published[0]
    return Architecture(
        name,
        default.build or build,
        default.preprocessing,
        default.n_classes,
        outputs=default.outputs,
        published={weights.name: weights for weights in published},
        adapt=family.adapt,
    )


@dataclass(frozen=True)
class Family:
    """What a torchvision module of networks needs beyond the common way.

    Parameters
    ----------
    arguments : of the builder
    adapt : translates the state dict of a file
    is_tf : trained on inputs in [-1, 1], to which torchvision's own ``transform_input`` converts inside the network;
        we switch that off and normalise so in the first place
    has_fixed_input : built for one input size, that of the weights
    """

    arguments: tuple[tuple[str, Any], ...] = ()
    adapt: Callable[[StateDict], StateDict] = unchanged
    is_tf: bool = False
    has_fixed_input: bool = False


@dataclass(frozen=True)
class _Build:
    builder: Callable[..., nn.Module]
    arguments: tuple[tuple[str, Any], ...]

    def __call__(self, n_classes: int) -> nn.Module:
        return self.builder(weights=None, progress=False, num_classes=n_classes, **dict(self.arguments))


def _published(weights: Any, build: _Build, family: Family) -> PublishedWeights:
    preprocessing = preprocessing_of(weights.transforms())
    if family.is_tf:
        preprocessing = replace(preprocessing, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    if family.has_fixed_input:
        build = replace(build, arguments=(*build.arguments, ("image_size", preprocessing.input_px[0])))
    outputs = _outputs(weights.meta["categories"])
    return PublishedWeights(weights.name, weights.url, preprocessing, len(outputs), outputs, build)


def preprocessing_of(transforms: Any) -> Preprocessing:
    """Return what the transforms of published weights do, as a value."""
    return Preprocessing(
        _pair(transforms.crop_size),
        transforms.resize_size[0],
        tuple(transforms.mean),
        tuple(transforms.std),
        transforms.interpolation.value,
    )


def _pair(size: list[int]) -> tuple[int, int]:
    return size[0], size[-1]


def _outputs(categories: list[str]) -> tuple[Output, ...]:
    imagenet = imagenet_outputs()
    if categories == [output.name for output in imagenet]:
        return imagenet
    return tuple(Output(index, None, name) for index, name in enumerate(categories))


def _without(state: StateDict, prefixes: tuple[str, ...]) -> StateDict:
    """Return the state dict without the auxiliary heads, which only training uses."""
    return {key: tensor for key, tensor in state.items() if not key.startswith(prefixes)}


def _without_dots(state: StateDict) -> StateDict:
    """Return the state dict with today's names: the published DenseNets say ``norm.1`` for ``norm1``."""
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key): state[key] for key in state}


_PLAIN = (("aux_logits", False), ("transform_input", False), ("init_weights", False))
FAMILIES = {
    "googlenet": Family(_PLAIN, partial(_without, prefixes=("aux1.", "aux2.")), is_tf=True),
    "inception": Family(_PLAIN, partial(_without, prefixes=("AuxLogits.",)), is_tf=True),
    "densenet": Family(adapt=_without_dots),
    "vision_transformer": Family(has_fixed_input=True),
}
"""Special care by the torchvision module that defines the network."""
