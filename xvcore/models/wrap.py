"""Any network in memory as a classifier: for notebooks, and for networks that no file names."""

import copy as copying
import pickle
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xvcore.errors import LabelError, ParameterError, XvError, in_one_line
from xvcore.keys import digest
from xvcore.models.architecture import Architecture, Output
from xvcore.models.classifier import Classifier, device_of
from xvcore.models.labels import labelled, outputs_from
from xvcore.models.preprocessing import Preprocessing
from xvcore.models.scores import SEVERAL_IMAGES, scores_of
from xvcore.models.torchvision import preprocessing_of
from xvcore.models.weights import sha256_of
from xvcore.ops.patch_grid import PatchGrid

IN_MEMORY = "in memory"
"""In the place of the name of weights."""


def wrap(  # noqa: PLR0913  what a network does not say of itself
    network: nn.Module,
    *,
    preprocessing: Any = None,
    labels: Sequence[str] | str | Path | None = None,
    name: str | None = None,
    layers: Sequence[str] = (),
    patches: PatchGrid | None = None,
    copy: bool = True,
) -> Classifier:
    """Return a classifier made of any network; every method and analysis of the library runs on it.

    It is on the network's device, in eval mode, in 32-bit floats, and its parameters take no gradient. Results know it
    by its name and a digest of its weights and layout, as they know a file by the file's.

    Parameters
    ----------
    network : takes normalised images (batch, 3, height, width) and returns scores before the softmax (batch, classes),
        alone or as the member ``logits`` of what it returns; one score for a sigmoid: see
        :class:`xvcore.models.TwoClasses`
    preprocessing : :class:`Preprocessing`, or the transforms of torchvision's weights (``weights.transforms()``); None:
        that of most ImageNet networks, shorter side 256, centre crop 224, ImageNet's mean and standard deviation
    labels : what each output stands for, in order: a WordNet id, a name, or both (``"n01558993 robin"``);
        ``"imagenet"`` or a labels file; None where it is not known, then classes need a class map
    name : key column ``model`` of the tables; the class's name unless given
    layers : names of the modules worth tapping, from input to output; empty: every named module
    patches : which patch of the input an element of the last map sees, where it sees less than all (BagNets)
    copy : leave the network as it is and work on a copy; else it is taken over

    Raises
    ------
    ParameterError
        The network cannot be copied, does not take images of that size, returns something else than scores, has one
        output, or a layer is unknown.
    LabelError
        Not as many labels as outputs, or a labels file that is none.

    Examples
    --------
    >>> import torch
    >>> from xvcore.models import Preprocessing, wrap
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
    >>> wrap(network, preprocessing=Preprocessing((8, 8), None), labels=["robin", "jay"], name="mine").n_classes
    2
    """
    name = name or type(network).__name__
    taken = (_copied(network, name) if copy else network).float().eval()
    expected = _preprocessing(preprocessing)
    n_classes = _number_of_outputs(taken, expected, name)
    outputs = _outputs(labels, n_classes, name)
    architecture = Architecture(
        f"{type(network).__module__}.{type(network).__qualname__}",
        partial(_refuse, name),
        expected,
        n_classes,
        layers=tuple(layers),
        outputs=outputs or (),
        patches=patches,
        layout=layout_of(taken),
    )
    classifier = Classifier(name, architecture, expected, taken, IN_MEMORY, sha256_of(taken), n_classes, outputs)
    for layer in layers:
        classifier.layer(layer)
    _try(classifier)
    return classifier


def layout_of(network: nn.Module) -> str:
    """Return a digest of the modules of a network as torch prints them: names, kinds, sizes."""
    return digest(repr(network), 8)


def _copied(network: nn.Module, name: str) -> nn.Module:
    try:
        return copying.deepcopy(network)
    except (RuntimeError, TypeError, pickle.PickleError) as error:
        raise ParameterError(f"{name} cannot be copied ({in_one_line(error)}): give copy=False") from error


def _preprocessing(given: Any) -> Preprocessing:
    if given is None or isinstance(given, Preprocessing):
        return given or Preprocessing()
    try:
        return preprocessing_of(given)
    except (AttributeError, TypeError) as error:
        raise ParameterError(
            f"preprocessing = {given!r}: expected xvcore.models.Preprocessing or the transforms of torchvision weights"
        ) from error


def _number_of_outputs(network: nn.Module, preprocessing: Preprocessing, name: str) -> int:
    """Return the number of scores of an image; a forward pass tells."""
    device = device_of(network)
    height, width = preprocessing.input_px
    try:
        with torch.inference_mode():
            returned = network(torch.zeros(1, 3, height, width, device=device))
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise ParameterError(f"{name} cannot take images of {height} × {width} px: {error}") from error
    return int(scores_of(name, returned, 1).shape[1])


def _try(classifier: Classifier) -> None:
    """Let the classifier refuse a network that returns probabilities, which several images tell."""
    height, width = classifier.preprocessing.input_px
    noise = torch.rand(SEVERAL_IMAGES, 3, height, width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for image in noise.to(classifier.device):
            classifier.logits(image[None])


def _outputs(labels: Sequence[str] | str | Path | None, n_classes: int, name: str) -> tuple[Output, ...] | None:
    if labels is None or isinstance(labels, str | Path):
        return outputs_from(None if labels is None else str(labels), n_classes, (), name)
    if len(labels) != n_classes:
        raise LabelError(f"{len(labels)} labels, but {name} has {n_classes} outputs")
    return labelled(labels)


def _refuse(name: str, _n_classes: int) -> nn.Module:
    raise XvError(f"{name} was given as a module in memory: it cannot be built anew")
