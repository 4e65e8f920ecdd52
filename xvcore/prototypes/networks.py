"""The architecture ``infodisent``: a file of weights names the network below and holds its weights and the head's.

``infodisent@FILE`` is read as any other file of weights: tensors and plain values, no code. Which network is below is
looked up by its name, as in an address; one that a function of the user's own builds needs its module to be allowed
(:mod:`xvcore.models.function`).
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from xvcore.errors import WeightsError, XvError
from xvcore.models import Architecture, Classifier, Preprocessing, architectures, find
from xvcore.parameters import as_dict
from xvcore.prototypes.method.feature_map import FeatureMap
from xvcore.prototypes.method.head import Head, HeadOptions, InfoDisent

NAME = "infodisent"
SMALL = "partbirds_wide"
"""What is below where no file says so: for trials with random weights."""
SMALL_MAP = FeatureMap("relu5", 1, 1, 96, 16, 16)


def build(n_classes: int, *, below: str, n_outputs: int, feature_map: FeatureMap, options: HeadOptions) -> InfoDisent:
    """Return the network without its weights.

    Parameters
    ----------
    n_classes : outputs of the head
    below : name of the architecture below
    n_outputs : its own outputs
    feature_map : its last map
    options : of the head
    """
    return InfoDisent(find(below).build(n_outputs), feature_map, Head(feature_map.n_channels, n_classes, options))


def of_file(facts: Mapping[str, Any]) -> Architecture:
    """Return the architecture that a file describes.

    Raises
    ------
    WeightsError
        It does not say what is below, or says it in other words than :func:`facts_of`.
    """
    try:
        said = facts[NAME]
        below, n_outputs = said["below"], said["n_outputs"]
        if not isinstance(below, str) or not isinstance(n_outputs, int) or not 1 <= n_outputs <= 1_000_000:
            raise WeightsError(f"a network {below!r:.80} with {n_outputs!r:.80} outputs")
        preprocessing = _preprocessing(said["preprocessing"])
        feature_map, options = FeatureMap(**said["feature_map"]), HeadOptions(**said["head"])
        known = find(below)
    except (KeyError, TypeError, ValueError, XvError) as error:
        raise WeightsError(f"weights of {NAME}: what the file says of itself is not what xv writes: {error}") from error
    made = partial(build, below=below, n_outputs=n_outputs, feature_map=feature_map, options=options)
    return Architecture(f"{NAME}-{known.name.rpartition('/')[2].rpartition(':')[2]}", made, preprocessing, 2)


def facts_of(classifier: Classifier, feature_map: FeatureMap, options: HeadOptions) -> dict[str, Any]:
    """Return what a file says of the network below and of the head.

    Raises
    ------
    XvError
        The network is in memory only, and cannot be built from its name.
    """
    check_name(classifier)
    return {
        "below": classifier.architecture.name,
        "weights": classifier.weights,
        "weights_sha256": classifier.weights_sha256,
        "n_outputs": classifier.n_classes,
        "preprocessing": dataclasses.asdict(classifier.preprocessing),
        "feature_map": as_dict(feature_map),
        "head": as_dict(options),
    }


def check_name(classifier: Classifier) -> None:
    """Refuse a network that its name does not build anew: a file could not be read again.

    Raises
    ------
    XvError
        It is in memory, of a size that its name does not tell, or of layers of its own.
    """
    name = classifier.architecture.name
    try:
        with torch.random.fork_rng(devices=[]):
            made = find(name).build(classifier.n_classes).state_dict()
    except XvError as error:
        raise XvError(
            f"{classifier.name} cannot be built from its name {name!r} ({error}): give it as an address, "
            "NAME@WEIGHTS or module.path:function"
        ) from error
    own = classifier.network.state_dict()
    if {key: each.shape for key, each in made.items()} != {key: each.shape for key, each in own.items()}:
        raise XvError(f"{classifier.name} has other layers than {name!r} builds: a file of its head could not be read")


def disentangled(classifier: Classifier) -> InfoDisent:
    """Return the network of a classifier that has a head of prototypes.

    Raises
    ------
    XvError
        It has none.
    """
    network: nn.Module = classifier.network
    if not isinstance(network, InfoDisent):
        raise XvError(
            f"{classifier.name} has no prototypes: expected {NAME}@FILE, which xv disentangle makes of a network and a "
            "dataset"
        )
    return network


def _preprocessing(said: Mapping[str, Any]) -> Preprocessing:
    plain: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in dict(said).items()
    }
    return Preprocessing(**plain)


architectures.register(NAME)(
    Architecture(
        NAME,
        partial(build, below=SMALL, n_outputs=7, feature_map=SMALL_MAP, options=HeadOptions()),
        Preprocessing((128, 128), None, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        7,
        of_file=of_file,
    )
)
