"""``NAME[@WEIGHTS][?key=value&…]`` to a classifier."""

import copy
import logging
import math
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from urllib.parse import unquote

import torch
from torch import nn

from xvcore.errors import LabelError, ParameterError, WeightsError, unknown_name
from xvcore.keys import typed_path
from xvcore.models.architecture import Architecture, Output, PublishedWeights
from xvcore.models.catalogue import find
from xvcore.models.classifier import Classifier, device_of
from xvcore.models.download import check_fragment, expected_sha256, fetch, is_url
from xvcore.models.labels import labelled, outputs_from, read_labels
from xvcore.models.preprocessing import Preprocessing
from xvcore.models.siblings import siblings
from xvcore.models.weights import draw, fit, read_checkpoint, seeded, sha256_of

logger = logging.getLogger(__name__)

OPTIONS = {
    "input": "side of the square input in pixels; the resize keeps its ratio to it (or is that of published weights of "
    "this size)",
    "resize": "shorter side in pixels before the centre crop, or none: to the input size, aspect lost",
    "interpolation": "filter of the resize: nearest, bilinear, bicubic or lanczos",
    "mean": "subtracted from the channels: a number, or three with commas in the order of channels, in units of scale",
    "std": "by which the channels are divided, like mean",
    "channels": "order in which the network takes the colours: rgb or bgr",
    "scale": "value of white before mean is subtracted: 1 unless given, 255 for many older networks; with mean and std",
    "preprocessing": "name of the published weights whose preprocessing a file (or random weights) shares",
    "state": "key of the state dict in a file that holds several; an averaged one is taken unless given",
    "labels": "what the outputs stand for: a labels file, imagenet or none",
    "name": "value of the tables' key column `model`; the architecture's name unless given",
    "seed": "of random weights",
    "classes": "number of outputs of a network with random weights",
}
"""Options of a model address and what they mean."""
RANDOM = "random"
MAX_NUMBER = 100_000
MAX_SCALE = 65_535.0
WHITE_OF_BYTES = 255.0
LARGEST_SHARE = 0.99
"""Standard deviations below it are shares of white, or factors by which pixels are multiplied."""
TRIED_PX = 512 * 512
"""Largest image on which a network is tried to find whether it takes the size."""
N_SHOWN = 4
"""Number of published versions that a message spells out."""


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
    >>> from xvcore.models import load
    >>> load("squeezenet1_1@random?classes=10").n_classes
    10

    ``squeezenet1_1@w/squeezenet1_1.pt``, ``mobilenet_v2@w/m.pt?input=225&labels=w/wnids.txt``, ``timm/resnet18``,
    ``resnet18@random?classes=10``, ``vgg16@caffe.pt?channels=bgr&scale=255&mean=104,117,123&std=1``

    Notes
    -----
    What a file expects is, in this order: that of the published weights which ``preprocessing`` names; that of the
    published file which it is, by its SHA-256; that of published weights of this ``input``; that of the default
    weights. A warning names the choice where published versions differ and neither the file nor the address tells.
    ``input``, ``resize``, ``interpolation``, ``mean``, ``std``, ``channels`` and ``scale`` then replace parts of it.

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
    _check_options(architecture, address)
    loaded = _load(architecture, address)
    architecture = loaded.architecture or architecture
    preprocessing = _preprocessing(address, loaded)
    key = address.options.get("name") or architecture.name.rpartition(":")[2]
    outputs = outputs_from(address.options.get("labels"), loaded.n_classes, loaded.outputs, key)
    network = loaded.network.to(device)
    return Classifier(
        key,
        architecture,
        preprocessing,
        network,
        loaded.weights,
        loaded.sha256,
        loaded.n_classes,
        outputs,
        loaded.state,
        loaded.also_fits,
    )


def check_names(spec: str) -> None:
    """Refuse an address whose architecture, options, weights or labels there are not; no weights are read.

    A function of the user's own is called: it alone tells what it builds.

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
        read_labels(typed_path(labels, "labels", LabelError))
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
        if weights in (None, RANDOM) and "state" in options:
            raise ParameterError(f"model {spec!r}: state chooses among the state dicts of a file: give {name}@FILE")
        return cls(name, weights or None, options)

    def number(self, key: str, low: int) -> int | None:
        """Return an option as a whole number, at least ``low``; None where it is absent."""
        text = self.options.get(key)
        if text is None:
            return None
        if not text.isdecimal() or not low <= int(text) <= MAX_NUMBER:
            raise ParameterError(f"model {self.name}: {key}={text!r}, expected a whole number, {low} … {MAX_NUMBER}")
        return int(text)

    def numbers(self, key: str) -> tuple[float, float, float] | None:
        """Return an option as three finite numbers, one for each channel; None where it is absent."""
        text = self.options.get(key)
        if text is None:
            return None
        values = [_finite(part) for part in text.split(",")]
        if len(values) not in (1, 3) or None in values:
            raise ParameterError(f"model {self.name}: {key}={text!r}, expected one number, or three with commas")
        first, second, third = values if len(values) == 3 else values * 3
        return first, second, third  # type: ignore[return-value]


def _finite(text: str) -> float | None:
    """Return a decimal number, or None for what is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


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
    state: str = ""
    architecture: Architecture | None = None
    also_fits: tuple[str, ...] = ()


def _check_options(architecture: Architecture, address: Address) -> None:
    """Refuse what can be refused before a file is fetched."""
    name = address.options.get("preprocessing")
    if name is not None and name not in architecture.published:
        kind = f"published weights of {architecture.name}"
        raise ParameterError(str(unknown_name(kind, name, architecture.published)))
    _overridden(address, architecture.preprocessing)


def _load(architecture: Architecture, address: Address) -> _Loaded:
    weights = address.weights or next(iter(architecture.published), None)
    if weights is None and architecture.has_own_weights:
        return _own(architecture)
    if weights is None:
        raise WeightsError(f"{architecture.name} has no published weights: give {architecture.name}@FILE")
    if weights == RANDOM:
        return _random(_version(architecture, address), address)
    if weights in architecture.published:
        if strange := address.options.keys() & {"preprocessing", "state"}:
            raise ParameterError(
                f"model {architecture.name}@{weights}: {' and '.join(sorted(strange))} belong to a file; published "
                "weights decide by themselves"
            )
        return _published(architecture, architecture.published[weights])
    if is_url(weights):
        check_fragment(weights)
    path = fetch(weights) if is_url(weights) else _existing(architecture, weights)
    return _file(architecture, address, path, weights)


def _existing(architecture: Architecture, weights: str) -> Path:
    path = typed_path(weights, f"weights of {architecture.name}", WeightsError)
    if not path.is_file():
        known = ", ".join((*architecture.published, RANDOM))
        raise WeightsError(f"weights {weights!r} of {architecture.name}: no such file, and none of {known}")
    return path


def _version(architecture: Architecture, address: Address, sha256: str = "") -> Architecture:
    """Return the architecture as the published weights take it that the address means; a ViT is built for one size."""
    name = address.options.get("preprocessing")
    published = architecture.published[name] if name is not None else _is_of(architecture, sha256)
    published = published or next(iter(_of_size(architecture, address)), None)
    if published is None:
        return architecture
    build = published.build or architecture.build
    return replace(architecture, build=build, preprocessing=published.preprocessing, outputs=published.outputs)


def _is_of(architecture: Architecture, sha256: str) -> PublishedWeights | None:
    """Return the published weights whose file this is, where their address tells its digest."""
    for published in architecture.published.values():
        digits = expected_sha256(published.url)
        if digits and sha256.startswith(digits):
            return published
    return None


def _of_size(architecture: Architecture, address: Address) -> list[PublishedWeights]:
    side = address.number("input", 1)
    published = architecture.published.values()
    return [each for each in published if each.build is not None and each.preprocessing.input_px == (side, side)]


def _say_choice(architecture: Architecture, address: Address, loaded: _Loaded) -> None:
    """Warn where published versions expect other inputs than the file is taken to, and nobody said which it is of."""
    expected = _overridden(address, loaded.preprocessing)
    versions: dict[Preprocessing, str] = {}
    for each in _of_size(architecture, address) or architecture.published.values():
        versions.setdefault(_overridden(address, each.preprocessing), each.name)
    taken = versions.pop(expected, "the default weights")
    sizes = {each.input_px for each in versions} - {expected.input_px}
    strange = {size for size in sizes if _why_not(loaded.network, size)}
    others = {each: name for each, name in versions.items() if each.input_px not in strange}
    if not others:
        return
    shown = [f"{name} ({_differences(each, expected)})" for each, name in list(others.items())[:N_SHOWN]]
    logger.warning(
        "weights %s of %s: the published versions expect different inputs and the file does not tell which it is of. "
        "Taken is what %s expects (%s); others: %s%s. Choose by preprocessing=NAME, or give %s",
        loaded.weights,
        architecture.name,
        taken,
        _differences(expected, *others),
        ", ".join(shown),
        f" and {len(others) - N_SHOWN} more" if len(others) > N_SHOWN else "",
        "input, resize, interpolation, mean and std",
    )


def _say_siblings(architecture: Architecture, loaded: _Loaded) -> tuple[str, ...]:
    """Warn of networks that compute otherwise with the same file, and return their names."""
    others = siblings(architecture, loaded.network, loaded.n_classes)
    if others:
        logger.warning(
            "weights %s of %s fit %s too, and the file does not tell which it is of: with the wrong one it runs and is "
            "less often right. Compare the accuracy, or give the name that it was trained under",
            loaded.weights,
            architecture.name,
            " and ".join(map(str, others)),
        )
    return tuple(each.name for each in others)


def _differences(one: Preprocessing, *others: Preprocessing) -> str:
    """Return the fields in which a preprocessing differs from any of others, as options of an address."""
    names = {"input_px": "input", "resize_px": "resize"}
    differing = (
        each.name
        for each in fields(one)
        if any(getattr(one, each.name) != getattr(other, each.name) for other in others)
    )
    return ", ".join(f"{names.get(name, name)} {_said(getattr(one, name))}" for name in differing)


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return (
            " × ".join(map(str, value)) if all(isinstance(each, int) for each in value) else ",".join(map(str, value))
        )
    return "none" if value is None else str(value)


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


def _file(architecture: Architecture, address: Address, path: Path, weights: str) -> _Loaded:
    checkpoint = read_checkpoint(
        path, expected_sha256(weights) if is_url(weights) else "", address.options.get("state")
    )
    if checkpoint.architecture not in (None, architecture.name):
        raise WeightsError(f"weights {weights} are of {checkpoint.architecture}, not of {architecture.name}")
    if architecture.of_file:
        architecture = architecture.of_file(checkpoint.facts)
    version = _version(architecture, address, checkpoint.sha256)
    network, n_classes = fit(version, version.build, checkpoint.state, weights)
    if checkpoint.outputs and len(checkpoint.outputs) != n_classes:
        raise WeightsError(f"weights {weights} name {len(checkpoint.outputs)} outputs but have {n_classes}")
    outputs = labelled(checkpoint.outputs) or version.outputs
    loaded = _Loaded(
        network, n_classes, weights, checkpoint.sha256, version.preprocessing, outputs, checkpoint.key, architecture
    )
    is_told = architecture.is_one_version or checkpoint.architecture or _is_of(architecture, checkpoint.sha256)
    if not is_told and "preprocessing" not in address.options:
        _say_choice(architecture, address, loaded)
        return replace(loaded, also_fits=_say_siblings(version, loaded))
    return loaded


def _preprocessing(address: Address, loaded: _Loaded) -> Preprocessing:
    """Return the preprocessing of the weights with the overrides of the address."""
    preprocessing = _overridden(address, loaded.preprocessing)
    if "input" in address.options:
        _check_input(address, loaded, preprocessing)
    return preprocessing


def _overridden(address: Address, preprocessing: Preprocessing) -> Preprocessing:
    side = address.number("input", 1)
    if side is not None:
        ratio = side / min(preprocessing.input_px)
        resize = preprocessing.resize_px
        scaled = None if resize is None else round(ratio * (resize if isinstance(resize, int) else min(resize)))
        preprocessing = replace(preprocessing, input_px=(side, side), resize_px=scaled)
    if address.options.get("resize") == "none":
        preprocessing = replace(preprocessing, resize_px=None)
    elif (shorter := address.number("resize", 1)) is not None:
        preprocessing = replace(preprocessing, resize_px=shorter)
    if "interpolation" in address.options:
        preprocessing = replace(preprocessing, interpolation=address.options["interpolation"])
    return _normalised(address, preprocessing)


def _normalised(address: Address, preprocessing: Preprocessing) -> Preprocessing:
    """Return the preprocessing with the channels of the address, whose numbers are in their order and scale."""
    channels = address.options.get("channels", preprocessing.channels)
    preprocessing = replace(preprocessing, channels=channels)
    scale = _scale(address)
    for key in ("mean", "std"):
        values = address.numbers(key)
        if values is None:
            continue
        lowest = "0" if key == "mean" else "above 0"
        if max(values) > scale or min(values) < 0 or (key == "std" and min(values) == 0):
            hint = "; pixels are in 0 … 1 unless scale=255 says otherwise" if "scale" not in address.options else ""
            raise ParameterError(
                f"model {address.name}: {key}={address.options[key]!r}, expected {lowest} … {scale:g}, the scale{hint}"
            )
        if scale >= WHITE_OF_BYTES and 0 < max(values) <= (1 if key == "mean" else LARGEST_SHARE):
            seen = "nearly black" if key == "mean" else "less than one step of a pixel"
            raise ParameterError(
                f"model {address.name}: {key}={address.options[key]!r} is {seen} where white is {scale:g}: give mean "
                "and std in units of scale"
            )
        red, green, blue = reversed(values) if channels == "bgr" else values
        colours = (red / scale, green / scale, blue / scale)
        preprocessing = replace(preprocessing, mean=colours) if key == "mean" else replace(preprocessing, std=colours)
    return preprocessing


def _scale(address: Address) -> float:
    """Return the value of white; where it is given, mean and std have to be, in its units."""
    text = address.options.get("scale")
    if text is None:
        return 1.0
    scale = _finite(text)
    if scale is None or not 0 < scale <= MAX_SCALE:
        raise ParameterError(f"model {address.name}: scale={text!r}, expected a number, above 0 … {MAX_SCALE:g}")
    if missing := [key for key in ("mean", "std") if key not in address.options]:
        raise ParameterError(
            f"model {address.name}: scale={text} without {' and '.join(missing)}: give both in its units (mean=0 and "
            "std=1 where none is subtracted or divided by)"
        )
    return scale


def _check_input(address: Address, loaded: _Loaded, preprocessing: Preprocessing) -> None:
    """Refuse an input size that the network cannot take."""
    error = _why_not(loaded.network, preprocessing.input_px)
    if error is not None:
        usual = loaded.preprocessing.input_px[0]
        message = f"{address.name} cannot take input={address.options['input']} (its weights take {usual}): {error}"
        raise ParameterError(message) from error


def _why_not(network: nn.Module, size: tuple[int, int]) -> Exception | None:
    """Return why a network cannot take images of a size, or None; a forward pass tells.

    One without memory for large images; torch imports its compiler for such a pass, which takes longer than a small
    one.
    """
    device = "meta" if math.prod(size) > TRIED_PX else "cpu"
    if device != "cpu" or network.training or device_of(network).type != device:
        network = copy.deepcopy(network).to(device).eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, *size, device=device))
    except (RuntimeError, ValueError, AssertionError) as error:
        return error
    return None
