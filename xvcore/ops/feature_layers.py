"""Activations inside a network, taken by forward hooks that are gone afterwards, and the layers worth taking."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from xvcore.errors import ParameterError, unknown_name
from xvcore.ops.convolutions import convolved


@contextmanager
def tapped(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Fill a dict with the output of each layer whenever the network runs within.

    Outputs are copied, since an in-place ReLU may overwrite them. Of a module that runs several times in one pass, the
    last output is kept. Hooks are removed at the end, also after an error.

    Parameters
    ----------
    network : any network
    layers : dotted module names

    Raises
    ------
    UnknownNameError
        The network has no module of this name.
    ParameterError
        A layer's output is no tensor.
    """
    modules = dict(network.named_modules())
    if unknown := [name for name in layers if not name or name not in modules]:
        raise unknown_name("layer", unknown[0], filter(None, modules))
    found: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, _inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            kind = type(output).__name__
            raise ParameterError(f"layer {name} ({type(module).__name__}) returns {kind}: expected a tensor")
        found[name] = output.clone()

    handles = [modules[name].register_forward_hook(partial(keep, name)) for name in dict.fromkeys(layers)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def activations(network: nn.Module, layers: Sequence[str], inputs: Tensor) -> dict[str, Tensor]:
    """Return the output of each layer, in the order given.

    Parameters
    ----------
    network : any network, in the mode it is to run in
    layers : dotted module names
    inputs : what the network takes (a classifier's network takes normalised images)

    Raises
    ------
    UnknownNameError
        The network has no module of this name.
    ParameterError
        A layer's output is no tensor, or the layer does not run.
    """
    with tapped(network, layers) as found:
        network(inputs)
    if missing := [name for name in layers if name not in found]:
        raise ParameterError(f"layer {missing[0]} does not run in a forward pass of {type(network).__name__}")
    return {name: found[name] for name in layers}


def layer_ends(network: nn.Module, inputs: Tensor) -> dict[str, str]:
    """Return where the layer of each convolution or linear map ends, by the map's name, from input to output.

    A layer in the sense of Zeiler and Fergus is a convolution or linear map together with all that follows it
    (normalisation, rectification, pooling) until the next one. What is a function and no module cannot be named.

    Parameters
    ----------
    network : in eval mode
    inputs : one example is enough
    """
    calls = _calls(network, inputs)
    weighted = [index for index, call in enumerate(calls) if call.is_weighted]
    ends = [*(index - 1 for index in weighted[1:]), len(calls) - 1]
    return {calls[start].name: calls[end].name for start, end in zip(weighted, ends, strict=True)} if weighted else {}


def feature_layers(network: nn.Module, inputs: Tensor) -> tuple[str, ...]:
    """Return the modules that end layers, see :func:`layer_ends`, without the layer that makes the logits.

    So the first name is the paper's layer 1, and the last holds the features that the decision is linear in.

    Parameters
    ----------
    network : in eval mode
    inputs : one example is enough

    Raises
    ------
    ParameterError
        Fewer than two convolutions or linear maps run as modules.
    """
    ends = list(layer_ends(network, inputs).values())
    if len(ends) < 2:
        raise ParameterError(f"{type(network).__name__} runs {len(ends)} convolutions or linear maps: expected 2")
    return tuple(dict.fromkeys(ends[:-1]))


def last_maps(network: nn.Module, inputs: Tensor) -> str:
    """Return the last module before the logits whose output is maps, ``batch × units × height × width`` above 1 × 1.

    Parameters
    ----------
    network : in eval mode
    inputs : one example is enough

    Raises
    ------
    ParameterError
        There is none.
    """
    calls = _calls(network, inputs)
    last = max((index for index, call in enumerate(calls) if call.is_weighted), default=0)
    for call in reversed(calls[:last]):
        if len(call.shape) == 4 and call.shape[2] * call.shape[3] > 1:
            return call.name
    raise ParameterError(f"{type(network).__name__} has no layer of maps: name the layer")


@dataclass(frozen=True, slots=True)
class _Call:
    """A run of a module without submodules."""

    name: str
    is_weighted: bool
    shape: tuple[int, ...]


def _calls(network: nn.Module, inputs: Tensor) -> list[_Call]:
    """Return the runs of all modules without submodules that return a tensor, in their order.

    A module that convolves itself counts as one of them: what runs within makes its filters.
    """
    calls: list[_Call] = []
    modules = dict(network.named_modules())

    def note(name: str, module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            calls.append(_Call(name, isinstance(module, (_ConvNd, nn.Linear)), tuple(output.shape)))

    handles = [module.register_forward_hook(partial(note, name)) for name, module in modules.items() if name]
    try:
        with torch.no_grad(), convolved(network) as found:
            network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    makers = {name for name in found if _makes_a_layer(name, modules, found)}
    within = tuple(f"{name}." for name in makers)
    return [
        replace(call, is_weighted=call.is_weighted or call.name in makers)
        for call in calls
        if (call.name in makers or not any(modules[call.name].children())) and not call.name.startswith(within)
    ]


def _makes_a_layer(name: str, modules: Mapping[str, nn.Module], found: Collection[str]) -> bool:
    """Say whether a module that convolves itself has weights for that, and no further layer within.

    What makes its weights (torch's parametrizations) may be of any kind.
    """
    inner = [each for each in modules if each.startswith(f"{name}.") and f"{name}.parametrizations." not in each]
    has_layers = any(each in found or isinstance(modules[each], (_ConvNd, nn.Linear)) for each in inner)
    return bool(name) and not has_layers and any(True for _ in modules[name].parameters())
