"""A guard before every gradient: whether a network's is the derivative of its scores, and how to come by it.

Tried once a network, on its device (:mod:`xvcore.ops.derivative`): in the network's own arithmetic, and where that is
in doubt in double precision. What torch passes wrongly through batch normalisation is worked round
(:mod:`xvcore.ops.norm_gradients`); what is wrong all the same is refused.
"""

import copy
import logging
import pickle
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from xvcore.errors import XvError
from xvcore.ops.channels_last import ChannelsLast
from xvcore.ops.derivative import Derivative
from xvcore.ops.norm_gradients import NormGradients

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Tried:
    derivative: Derivative
    has_norms: bool


_TRIED: WeakKeyDictionary[nn.Module, dict[type, _Tried]] = WeakKeyDictionary()


def differentiated(
    name: str, network: nn.Module, of: Callable[[nn.Module, torch.dtype], Derivative]
) -> AbstractContextManager[Any]:
    """Return the context in which the network is to run for its gradient to be right.

    Parameters
    ----------
    name : of the network, for messages
    network : in eval mode
    of : tries a network like this one in some arithmetic

    Raises
    ------
    XvError
        Its gradient is not the derivative of its scores, or none reaches the pixels; says which.
    """
    inner = network.network if isinstance(network, ChannelsLast) else network
    of_network = _TRIED.setdefault(inner, {})
    if type(network) not in of_network:
        # A thread of its own has no modes of the caller's: who watches a pass is not to see those made here.
        with ThreadPoolExecutor(1) as thread:
            of_network[type(network)] = thread.submit(_tried, name, network, of).result()
    tried = of_network[type(network)]
    if tried.derivative.fault is not None:
        raise XvError(
            f"{name} cannot be differentiated: {tried.derivative.fault}. Masks, projections and saliency maps follow "
            "the gradient; predictions and occlusion do without"
        )
    is_compiled = getattr(network, "_compiled_call_impl", None) is not None  # and has no such loops of torch's
    return NormGradients() if tried.has_norms and not is_compiled else nullcontext()


def _tried(name: str, network: nn.Module, of: Callable[[nn.Module, torch.dtype], Derivative]) -> _Tried:
    own = next((weight.dtype for weight in network.parameters() if weight.is_floating_point()), torch.float32)
    mode, found = NormGradients(), Derivative(is_sure=False)
    for dtype in dict.fromkeys((own, torch.float64)):
        try:
            copied = _copied(network).to(dtype)
            with mode:
                found = of(copied, dtype)
        except (RuntimeError, ValueError, AssertionError, TypeError, pickle.PickleError) as error:
            logger.info("%s: its gradient cannot be tried in %s: %s", name, dtype, error)
        if found.is_sure:
            break
    return _Tried(found, mode.n_norms > 0)


def _copied(network: nn.Module) -> nn.Module:
    """Return a copy without the forward hooks, whose owners are not to be told of passes made here."""
    none: dict[int, Any] = {}
    for module in network.modules():
        none[id(module._forward_hooks)] = OrderedDict()
    return copy.deepcopy(network, none)
