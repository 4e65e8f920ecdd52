"""Networks that take the same weights files and compute otherwise: a file does not tell which it is of."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xvcore.errors import XvError
from xvcore.models import timm, torchvision
from xvcore.models.architecture import Architecture
from xvcore.models.lean import Undrawn
from xvcore.models.preprocessing import Preprocessing

logger = logging.getLogger(__name__)
LETTERS = 12
"""Most that the name of one has put into the name of the other: ``tf_``, ``aa``, ``_quickgelu``, ``blur``."""
N_SHOWN = 4
"""Differences that are spelled out."""
ALIKE = 1e-3
"""Largest difference of the logits, as a share of the largest, below which two networks compute the same."""


@dataclass(frozen=True)
class Sibling:
    """A network that takes the same weights files as another one.

    Parameters
    ----------
    name : its address
    differences : from the other one, in a few words each
    """

    name: str
    differences: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.differences)})"


def siblings(architecture: Architecture, network: nn.Module, n_classes: int) -> tuple[Sibling, ...]:
    """Return the networks that a weights file of this one fits too, and that make other logits of it.

    They are looked for among the names that the same library has for networks of the same source, and that differ from
    this one's by a few letters put in or taken out. Weights fit where names and shapes of all tensors are the same;
    that the logits differ is tried on noise.

    Parameters
    ----------
    architecture : torchvision's or timm's; others have no siblings
    network : with weights
    n_classes : its number of outputs
    """
    layout = _layout(network)
    return tuple(_found(architecture, network, layout, n_classes))


def _found(
    architecture: Architecture, network: nn.Module, layout: dict[str, torch.Size], n_classes: int
) -> Iterator[Sibling]:
    for name in near(architecture.name):
        try:
            other = timm.architecture(name) if name.startswith(timm.PREFIX) else torchvision.architecture(name)
            with Undrawn(), torch.device("meta"):
                fits = _layout(other.build(n_classes)) == layout
            differences = tuple(_differences(architecture, network, other, n_classes)) if fits else ()
        except (XvError, RuntimeError, NotImplementedError, ValueError, TypeError) as error:
            logger.debug("%s: not compared with %s: %s", architecture.name, name, error)
            continue
        if differences:
            yield Sibling(name, differences)


def near(name: str) -> list[str]:
    """Return the names of the same library whose networks are defined beside this one, and called nearly so."""
    if name.startswith(timm.PREFIX):
        plain = name.removeprefix(timm.PREFIX).partition(".")[0]
        return [timm.PREFIX + each for each in timm.beside(plain) if _is_put_in(plain, each)]
    known = torchvision.names()
    return [each for each in known if _is_put_in(name, each)] if name in known else []


def _is_put_in(one: str, other: str) -> bool:
    """Say whether the longer name is the shorter one with some letters put in at one place."""
    short, long = sorted((one, other), key=len)
    if not 0 < len(long) - len(short) <= LETTERS:
        return False
    start = next((n for n, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    return long.endswith(short[start:])


def _layout(network: nn.Module) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in network.state_dict().items() if isinstance(tensor, Tensor)}


def _differences(architecture: Architecture, network: nn.Module, other: Architecture, n_classes: int) -> Iterator[str]:
    """Yield in what another network differs with the same weights; nothing where it makes the same logits of them."""
    with torch.random.fork_rng(devices=[]):
        built = other.build(n_classes)
    built.load_state_dict(network.state_dict())
    expects = _of_input(architecture.preprocessing, other.preprocessing)
    if not _computes_otherwise(network, built.eval(), architecture.preprocessing.input_px):
        yield from expects
        return
    of_modules = Counter(_of_modules(network, built))
    yield from (words for words, _ in of_modules.most_common(N_SHOWN))
    if not of_modules:
        yield "other logits"
    yield from expects


@torch.no_grad()
def _computes_otherwise(one: nn.Module, other: nn.Module, size: tuple[int, int]) -> bool:
    generator = torch.Generator().manual_seed(0)
    device = next(one.parameters()).device
    images = torch.randn(2, 3, *size, generator=generator).to(device)
    was_training = one.training
    try:
        first, second = one.eval()(images), other.to(device)(images)
    finally:
        one.train(was_training)
    return bool((first - second).abs().max() > ALIKE * first.abs().max())


def _of_modules(one: nn.Module, other: nn.Module) -> Iterator[str]:
    """Yield what is otherwise in modules of the same name, type by type and setting by setting."""
    others = dict(other.named_modules())
    for name, module in one.named_modules():
        its = others.get(name)
        if its is None:
            continue
        ours, theirs = type(module).__name__, type(its).__name__
        if ours != theirs:
            yield f"{theirs} for {ours}"
            continue
        settings, changed = _settings(module), _settings(its)
        yield from (
            f"{key} {changed.get(key)} for {value} in {ours}"
            for key, value in settings.items()
            if changed.get(key) != value
        )


def _settings(module: nn.Module) -> dict[str, str]:
    """Return what a module says of itself in ``key=value``."""
    words, depth, parts = module.extra_repr(), 0, [""]
    for letter in words:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    pairs = (part.strip().partition("=") for part in parts)
    return {key: value for key, mark, value in pairs if mark}


def _of_input(one: Preprocessing, other: Preprocessing) -> list[str]:
    names = ("mean", "std", "channels")
    changed = [name for name in names if getattr(one, name) != getattr(other, name)]
    return [f"{name} {_said(getattr(other, name))} for {_said(getattr(one, name))}" for name in changed]


def _said(value: object) -> str:
    return ",".join(f"{each:g}" for each in value) if isinstance(value, tuple) else str(value)
