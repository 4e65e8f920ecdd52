"""``NAME[@WEIGHTS][?key=value&…]`` to a classifier."""

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

import torch
from torch import nn

from xvcore.errors import ParameterError, WeightsError, unknown_name
from xvcore.models.architecture import Architecture, Output, PublishedWeights
from xvcore.models.catalogue import find
from xvcore.models.classifier import Classifier
from xvcore.models.download import expected_sha256, fetch, is_url
from xvcore.models.labels import labelled, outputs_from, read_labels
from xvcore.models.preprocessing import Preprocessing
from xvcore.models.weights import draw, fit, read_checkpoint, seeded, sha256_of

OPTIONS = {
    "input": "side of the square input in pixels; the resize keeps its ratio to it (or is that of published weights of "
    "this size)",
    "resize": "shorter side in pixels before the centre crop, or none: to the input size, aspect lost",
    "labels": "what the outputs stand for: a labels file, imagenet or none",
    "name": "value of the tables' key column `model`; the architecture's name unless given",
    "seed": "of random weights",
    "classes": "number of outputs of a network with random weights",
}
"""Options of a model address and what they mean."""
RANDOM = "random"
MAX_NUMBER = 100_000


def load(spec: str, *, device: torch.device | str = "cpu") -> Classifier:
    """Return the classifier that an address names.

    Parameters
    ----------
    spec : ``NAME[@WEIGHTS][?key=value&…]``. NAME: a registered architecture, a torchvision classifier,
        ``timm/NAME``, or ``module.path:function`` (:mod:`xvcore.models.function`, only where that is allowed).
        WEIGHTS: a published name (``IMAGENET1K_V1``), a local file, a URL (``#sha256=HEX`` is checked), or ``random``
        (drawn from ``seed``, 0 unless given: for tests); without it, the default published weights, or those that
        the function gives. Keys: see :data:`OPTIONS`; a value may be percent-encoded (``%26`` for ``&``).
    device : where the network goes

    Examples
    --------
    ``squeezenet1_1@w/squeezenet1_1.pt``, ``mobilenet_v2@w/m.pt?input=225&labels=w/wnids.txt``, ``timm/resnet18``,
    ``resnet18@random?classes=10``

    Raises
    ------
    UnknownNameError
        An architecture nobody knows.
    ParameterError
        An option that is unknown, out of bounds, or an input size the network cannot take.
    WeightsError
        Weights that are absent, cannot be had, or do not fit.
    LabelError
        A labels file that does not fit.
    """
    address = Address.parse(spec)
    architecture = find(address.name)
    loaded = _load(architecture, address)
    preprocessing = _preprocessing(address, loaded)
    key = address.options.get("name") or architecture.name.rpartition(":")[2]
    outputs = outputs_from(address.options.get("labels"), loaded.n_classes, loaded.outputs, key)
    network = loaded.network.to(device)
    return Classifier(
        key, architecture, preprocessing, network, loaded.weights, loaded.sha256, loaded.n_classes, outputs
    )


def check_names(spec: str) -> None:
    """Refuse an address whose architecture, options, weights or labels there are not; no network is built or read.

    Raises
    ------
    UnknownNameError, ParameterError, WeightsError, LabelError
        As :func:`load`, which says what else is wrong.
    """
    address = Address.parse(spec)
    architecture = find(address.name)
    for key, low in (("input", 1), ("seed", 0), ("classes", 1), ("resize", 1)):
        if (key, address.options.get(key)) != ("resize", "none"):
            address.number(key, low)
    labels = address.options.get("labels")
    if labels not in (None, "none", "imagenet"):
        read_labels(Path(labels).expanduser())
    weights = address.weights
    if weights is not None and weights != RANDOM and weights not in architecture.published and not is_url(weights):
        _existing(architecture, weights)


@dataclass(frozen=True)
class Address:
    """The parts of ``NAME[@WEIGHTS][?key=value&…]``; ``weights`` is None where the default is meant."""

    name: str
    weights: str | None = None
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, spec: str) -> "Address":
        """Return the parts of an address.

        Raises
        ------
        ParameterError
            No name, an unknown option, or one given twice.
        """
        rest, mark, query = spec.rpartition("?")
        if not mark or (is_url(rest.partition("@")[2]) and not _is_options(query)):
            rest, query = spec, ""  # the question mark, if any, is the URL's own
        name, at, weights = rest.partition("@")
        if not name or (at and not weights):
            raise ParameterError(f"model {spec!r}: expected NAME[@WEIGHTS][?key=value&…]")
        options: dict[str, str] = {}
        for part in filter(None, query.split("&")):
            key, _, value = part.partition("=")
            if key not in OPTIONS:
                raise ParameterError(str(unknown_name(f"option of model {name}", key, OPTIONS)))
            if key in options or not value:
                raise ParameterError(f"model {spec!r}: option {key} is {'given twice' if value else 'empty'}")
            options[key] = unquote(value)
        if weights != RANDOM and options.keys() & {"seed", "classes"}:
            raise ParameterError(
                f"model {spec!r}: seed and classes belong to {name}@{RANDOM}; a file decides by itself"
            )
        return cls(name, weights or None, options)

    def number(self, key: str, low: int) -> int | None:
        """Return an option as a whole number, at least ``low``; None where it is absent."""
        text = self.options.get(key)
        if text is None:
            return None
        if not text.isdecimal() or not low <= int(text) <= MAX_NUMBER:
            raise ParameterError(f"model {self.name}: {key}={text!r}, expected a whole number, {low} … {MAX_NUMBER}")
        return int(text)


def _is_options(query: str) -> bool:
    return all(part.partition("=")[0] in OPTIONS for part in query.split("&"))


@dataclass(frozen=True)
class _Loaded:
    """A network with its weights, and what the weights bring along."""

    network: nn.Module
    n_classes: int
    weights: str
    sha256: str
    preprocessing: Preprocessing
    outputs: tuple[Output, ...]


def _load(architecture: Architecture, address: Address) -> _Loaded:
    weights = address.weights or next(iter(architecture.published), None)
    if weights is None and architecture.has_own_weights:
        return _own(architecture)
    if weights is None:
        raise WeightsError(f"{architecture.name} has no published weights: give {architecture.name}@FILE")
    if weights == RANDOM:
        return _random(_of_size(architecture, address), address)
    if weights in architecture.published:
        return _published(architecture, architecture.published[weights])
    path = fetch(weights) if is_url(weights) else _existing(architecture, weights)
    return _file(_of_size(architecture, address), path, weights)


def _existing(architecture: Architecture, weights: str) -> Path:
    path = Path(weights).expanduser()
    if not path.is_file():
        known = ", ".join((*architecture.published, RANDOM))
        raise WeightsError(f"weights {weights!r} of {architecture.name}: no such file, and none of {known}")
    return path


def _of_size(architecture: Architecture, address: Address) -> Architecture:
    """Return the architecture as published weights of the wanted input size take it: a ViT is built for one size."""
    side = address.number("input", 1)
    for published in architecture.published.values():
        if published.build is not None and published.preprocessing.input_px == (side, side):
            return replace(architecture, build=published.build, preprocessing=published.preprocessing)
    return architecture


def _own(architecture: Architecture) -> _Loaded:
    network = seeded(architecture.build, architecture.n_classes, 0)
    return _Loaded(
        network.float(),
        architecture.n_classes,
        architecture.name,
        sha256_of(network),
        architecture.preprocessing,
        architecture.outputs,
    )


def _random(architecture: Architecture, address: Address) -> _Loaded:
    seed = address.number("seed", 0) or 0
    n_classes = address.number("classes", 1) or architecture.n_classes
    network = draw(architecture.build, n_classes, seed)
    source, sha256 = f"{RANDOM}?seed={seed}", sha256_of(network)
    return _Loaded(network, n_classes, source, sha256, architecture.preprocessing, architecture.outputs)


def _published(architecture: Architecture, published: PublishedWeights) -> _Loaded:
    path = fetch(published.url)
    checkpoint = read_checkpoint(path, expected_sha256(published.url))
    state = published.read(path) if published.read else checkpoint.state
    network, n_classes = fit(architecture, published.build or architecture.build, state, published.name)
    outputs = published.outputs
    return _Loaded(network, n_classes, published.name, checkpoint.sha256, published.preprocessing, outputs)


def _file(architecture: Architecture, path: Path, weights: str) -> _Loaded:
    checkpoint = read_checkpoint(path, expected_sha256(weights) if is_url(weights) else "")
    if checkpoint.architecture not in (None, architecture.name):
        raise WeightsError(f"weights {weights} are of {checkpoint.architecture}, not of {architecture.name}")
    network, n_classes = fit(architecture, architecture.build, checkpoint.state, weights)
    if checkpoint.outputs and len(checkpoint.outputs) != n_classes:
        raise WeightsError(f"weights {weights} name {len(checkpoint.outputs)} outputs but have {n_classes}")
    outputs = labelled(checkpoint.outputs) or architecture.outputs
    return _Loaded(network, n_classes, weights, checkpoint.sha256, architecture.preprocessing, outputs)


def _preprocessing(address: Address, loaded: _Loaded) -> Preprocessing:
    """Return the preprocessing of the weights with the overrides of the address."""
    preprocessing = loaded.preprocessing
    side = address.number("input", 1)
    if side is not None:
        ratio = side / min(preprocessing.input_px)
        resize = preprocessing.resize_px
        scaled = None if resize is None else round(ratio * (resize if isinstance(resize, int) else min(resize)))
        preprocessing = replace(preprocessing, input_px=(side, side), resize_px=scaled)
        _check_input(address, loaded, preprocessing)
    if address.options.get("resize") == "none":
        return replace(preprocessing, resize_px=None)
    resize = address.number("resize", 1)
    return preprocessing if resize is None else replace(preprocessing, resize_px=resize)


def _check_input(address: Address, loaded: _Loaded, preprocessing: Preprocessing) -> None:
    """Refuse an input size that the network cannot take; a forward pass without memory tells."""
    network = copy.deepcopy(loaded.network).to("meta").eval()
    try:
        network(torch.empty(1, 3, *preprocessing.input_px, device="meta"))
    except (RuntimeError, ValueError, AssertionError) as error:
        usual = loaded.preprocessing.input_px[0]
        message = f"{address.name} cannot take input={address.options['input']} (its weights take {usual}): {error}"
        raise ParameterError(message) from error
