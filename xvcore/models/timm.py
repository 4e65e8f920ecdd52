"""Every timm classifier as ``timm/NAME``, with the preprocessing of its pretrained configuration (optional extra)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from xvcore.errors import ParameterError, WeightsError, XvError, unknown_name
from xvcore.models.architecture import Architecture, Output, PublishedWeights, StateDict
from xvcore.models.labels import imagenet_outputs
from xvcore.models.preprocessing import Preprocessing
from xvcore.models.weights import head_axes, read_checkpoint

PREFIX = "timm/"


def architecture(name: str) -> Architecture:
    """Return one of timm's classifiers; nothing is downloaded.

    Parameters
    ----------
    name : ``timm/NAME``, or ``timm/NAME.TAG`` to make the published weights TAG the default

    Raises
    ------
    UnknownNameError
        timm has no model of this name, or no weights of this tag.
    ParameterError
        Its input is not RGB, its preprocessing pads, or it has no outputs for classes.
    XvError
        timm is not installed.
    """
    timm = _timm(name)
    plain, dot, tag = name.removeprefix(PREFIX).partition(".")
    if not timm.models.is_model(plain) or (dot and not tag):
        raise unknown_name("architecture", name, (PREFIX + each for each in timm.list_models()))
    # A network without published weights has one configuration without a tag.
    configurations = {each.tag or "": each for each in timm.models.get_arch_pretrained_cfgs(plain).values()}
    if tag and tag not in configurations:
        raise unknown_name(f"weights of {PREFIX}{plain}", tag, filter(None, configurations))
    first = configurations[tag] if tag else next(iter(configurations.values()))
    if not first.num_classes and not head_axes(_build(first), 10)[0]:
        raise ParameterError(f"{name} returns features whatever number of classes is asked for: it is no classifier")
    published = [_published(name, each) for each in (first, *configurations.values()) if _is_classifier(each)]
    return Architecture(
        name,
        _build(first),
        _preprocessing(name, first),
        first.num_classes or 1000,
        outputs=_outputs(first.num_classes),
        published={weights.name: weights for weights in published},
        is_one_version=bool(tag),
    )


def names() -> list[str]:
    """Return the addresses of all of timm's networks, none where it is not installed; imports it, which takes long."""
    try:
        import timm
    except ImportError:
        return []
    return [f"{PREFIX}{each}" for each in timm.list_models()]


def beside(name: str) -> list[str]:
    """Return timm's networks that are defined in the same module as one of them, which is not among them."""
    timm = _timm(PREFIX + name)
    if not timm.models.is_model(name):
        return []
    module = timm.models.model_entrypoint(name).__module__.rpartition(".")[2]
    return [each for each in timm.list_models(module=module) if each != name]


@dataclass(frozen=True)
class _Build:
    create: Callable[..., nn.Module]
    name: str

    def __call__(self, n_classes: int) -> nn.Module:
        return self.create(self.name, pretrained=False, num_classes=n_classes)


def _build(configuration: Any) -> _Build:
    tagged = ".".join(filter(None, (configuration.architecture, configuration.tag)))
    return _Build(_timm(tagged).create_model, tagged)


def _timm(name: str) -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise XvError(f"{name} needs the package timm: pip install 'xv[timm]'") from error
    module: ModuleType = timm
    return module


def _is_classifier(configuration: Any) -> bool:
    """Return whether the weights can be had and end in classes, not in features."""
    return bool(configuration.has_weights and configuration.num_classes and _is_plain(configuration))


def _is_plain(configuration: Any) -> bool:
    """Return whether the input is RGB, resized without padding; timm has two ways of doing that."""
    channels, height, width = configuration.input_size
    return channels == 3 and (
        configuration.crop_mode == "squash" or (configuration.crop_mode, height) == ("center", width)
    )


def _published(name: str, configuration: Any) -> PublishedWeights:
    """Return weights as timm publishes them; those on the Hugging Face hub are read from there."""
    hub = configuration.hf_hub_id
    url = f"https://huggingface.co/{hub}/resolve/main/model.safetensors" if hub else configuration.url
    preprocessing = _preprocessing(name, configuration)
    build, n_classes = _build(configuration), configuration.num_classes
    read = partial(_read, build.name)
    return PublishedWeights(configuration.tag, url, preprocessing, n_classes, _outputs(n_classes), build, read)


def _read(tagged: str, path: Path) -> StateDict:
    """Return a published file as timm itself would load it: key names and label offsets of many sources."""
    timm = _timm(tagged)
    overlay = {"state_dict": dict(read_checkpoint(path).state)}
    try:
        network = timm.create_model(tagged, pretrained=True, pretrained_cfg_overlay=overlay)
    except (RuntimeError, KeyError) as error:
        raise WeightsError(f"{path} does not fit {PREFIX}{tagged}: {error}") from error
    return dict(network.state_dict())


def _preprocessing(name: str, configuration: Any) -> Preprocessing:
    if not _is_plain(configuration):
        seen = f"input {configuration.input_size}, crop mode {configuration.crop_mode!r}"
        raise ParameterError(f"{name} takes {seen}: expected 3 channels, crop mode 'squash' or a square 'center'")
    _, height, width = configuration.input_size
    resized = (math.floor(height / configuration.crop_pct), math.floor(width / configuration.crop_pct))
    resize_px: int | tuple[int, int] | None = resized[0]
    if configuration.crop_mode == "squash":
        resize_px = None if resized == (height, width) else resized
    mean, std = tuple(configuration.mean), tuple(configuration.std)
    return Preprocessing((height, width), resize_px, mean, std, configuration.interpolation)


@lru_cache
def _outputs(n_classes: int) -> tuple[Output, ...]:
    """Return what the outputs stand for, which timm tells from their number alone (ImageNet 1k, 12k, 22k)."""
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": n_classes})
    if subset == "imagenet-1k":
        return imagenet_outputs()
    if subset is None:
        return ()
    info: Any = ImageNetInfo(subset)
    names = info.label_names()
    return tuple(Output(index, wnid, info.label_name_to_description(wnid)) for index, wnid in enumerate(names))
