"""An architecture is a value that names its input, its layers and its published weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from xvcore.models.preprocessing import Preprocessing
from xvcore.ops.patch_grid import PatchGrid
from xvcore.registry import Registry

StateDict = dict[str, Tensor]


def unchanged(state: StateDict) -> StateDict:
    """Return the state dict as it is."""
    return state


@dataclass(frozen=True, slots=True)
class Output:
    """What one output of a network stands for.

    Parameters
    ----------
    index : position in the logits
    wnid : WordNet id, e.g. ``"n01558993"``; None where it is not known
    name : as the publisher spells it

    Examples
    --------
    >>> from xvcore.models import Output
    >>> Output(15, "n01558993", "robin").name
    'robin'
    """

    index: int
    wnid: str | None
    name: str


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that can be had by name.

    Parameters
    ----------
    name : e.g. ``"IMAGENET1K_V1"``
    url : where the file is
    preprocessing : what these weights were trained to expect
    n_classes : number of outputs
    outputs : what each output stands for; empty where the publisher does not say
    build : builds a network for these weights where the architecture's own ``build`` does not fit (a ViT of another
        input size); None uses the architecture's
    read : reads the downloaded file; None reads a plain state dict

    Examples
    --------
    >>> from xvcore.models import find
    >>> next(iter(find("squeezenet1_1").published.values())).n_classes
    1000
    """

    name: str
    url: str
    preprocessing: Preprocessing
    n_classes: int = 1000
    outputs: tuple[Output, ...] = field(default=(), repr=False)
    build: Callable[[int], nn.Module] | None = None
    read: Callable[[Path], StateDict] | None = None


@dataclass(frozen=True)
class Architecture:
    """A family member of known shape, without weights.

    Parameters
    ----------
    name : the name users type
    build : number of outputs to network; draws its weights from torch's global generator, downloads nothing
    preprocessing : input size, resize, normalisation; those of the default weights where there are published ones
    n_classes : number of outputs unless a weights file says otherwise
    layers : names of the modules worth tapping, from input to output; empty means every named module
    outputs : what each output stands for, unless a weights file or the user says otherwise; empty where unknown
    published : published weights by name, the default first
    adapt : translates a file's state dict (old key names, auxiliary heads that are never used)
    patches : which patch of the input an element of the last map sees; None where it sees (nearly) all of it
    has_own_weights : what ``build`` returns has weights worth looking at without a file
    layout : digest of the network's modules, where the name does not tell them
    is_one_version : the name says which published weights are meant (a timm tag), hence what a file of them expects
    of_file : what a file of weights describes, given what it says of itself under ``xv``: where the name alone does not
        tell the layers; WeightsError where the file does not tell them either

    Examples
    --------
    >>> from torch import nn
    >>> from xvcore.models import Architecture, Preprocessing
    >>> seen = Preprocessing((8, 8), None)
    >>> flat = Architecture("flat", lambda n: nn.Sequential(nn.Flatten(), nn.Linear(192, n)), seen, n_classes=2)
    >>> flat.build(5)[1].out_features
    5
    """

    name: str
    build: Callable[[int], nn.Module]
    preprocessing: Preprocessing
    n_classes: int
    layers: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = field(default=(), repr=False)
    published: Mapping[str, PublishedWeights] = field(default_factory=dict, repr=False)
    adapt: Callable[[StateDict], StateDict] = unchanged
    patches: PatchGrid | None = None
    has_own_weights: bool = False
    layout: str = ""
    is_one_version: bool = False
    of_file: "Callable[[Mapping[str, Any]], Architecture] | None" = None

    @property
    def identity(self) -> str:
        """What tells this architecture from all others: its name, with the layout where that decides."""
        return f"{self.name}~{self.layout}" if self.layout else self.name


architectures: Registry[Architecture] = Registry("architecture", "xvcore.models.*", "xvcore.*.networks")
"""Architectures with a file of their own, or of a family; torchvision's and timm's: :func:`xvcore.models.find`."""
