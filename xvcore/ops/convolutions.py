"""Convolutions as a forward pass computes them: which module, with which filters.

What a module keeps is not always what it convolves with: standardised, normalised or masked weights, and whatever
else is made of them on the way [1]_. Here the calls themselves are watched, below all modules and functions.

References
----------
.. [1] S. Qiao, H. Wang, C. Liu, W. Shen, A. Yuille, "Micro-Batch Training with Batch-Channel Normalization and Weight
   Standardization", 2019.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xvcore.errors import ParameterError
from xvcore.ops.operator_mode import OperatorMode

Filters = Float[Tensor, "filters channels rows columns"]


@dataclass(frozen=True, eq=False, slots=True)
class Convolution:
    """A convolution over rows and columns.

    Parameters
    ----------
    filters : as they were used
    stride : along rows and columns, in places of what is convolved
    """

    filters: Filters
    stride: tuple[int, int]


@contextmanager
def convolved(network: nn.Module) -> Iterator[dict[str, list[Convolution]]]:
    """Fill a dict with the convolutions over rows and columns of each module whenever the network runs within.

    A convolution belongs to the innermost module that runs. Hooks are removed at the end, also after an error.
    """
    found: dict[str, list[Convolution]] = {}
    running: list[str] = []

    def enter(name: str, *_: object) -> None:
        running.append(name)

    def leave(*_: object) -> None:
        running.pop()

    handles = []
    for name, module in network.named_modules():
        handles.append(module.register_forward_pre_hook(partial(enter, name)))
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        with _Watch(found, running):
            yield found
    finally:
        for handle in handles:
            handle.remove()


def used_filters(network: nn.Module, layers: Sequence[str], inputs: Sequence[Tensor]) -> Mapping[str, Convolution]:
    """Return the filters that each layer convolves with, and its stride.

    Parameters
    ----------
    network : in eval mode
    layers : dotted module names
    inputs : what the network takes, one batch after the other; filters must not depend on it

    Raises
    ------
    ParameterError
        A layer computes no convolution that can be seen, or several different ones.
    """
    found: dict[str, list[Convolution]] = {}
    for batch in inputs:
        with torch.no_grad(), convolved(network) as of_pass:
            network(batch)
        for name in layers:
            found.setdefault(name, []).extend(of_pass.get(name, ()))
    for name, calls in found.items():
        if not calls:
            raise ParameterError(f"layer {name} computes no convolution over rows and columns: expected one")
        if not all(_are_same(calls[0], call) for call in calls):
            raise ParameterError(
                f"layer {name} convolves with filters that change from call to call, or from image to image: expected "
                "filters that stay"
            )
    return {name: calls[0] for name, calls in found.items()}


def _are_same(one: Convolution, other: Convolution) -> bool:
    is_alike = one.stride == other.stride and one.filters.shape == other.filters.shape
    return is_alike and torch.equal(one.filters, other.filters)


class _Watch(OperatorMode):
    """Notes the filters of every convolution for the module that runs."""

    def __init__(self, found: dict[str, list[Convolution]], running: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._found, self._running = found, running

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        packet = func.overloadpacket
        if packet in _CONVOLUTIONS and self._running:
            given = {**dict(zip((each.name for each in func._schema.arguments), args, strict=False)), **named}
            filters = given["weight"]
            if filters.ndim == 4 and not given.get("transposed", False):
                stride = [*given.get("stride", (1, 1))]
                call = Convolution(filters.detach().clone(), (int(stride[0]), int(stride[-1])))
                self._found.setdefault(self._running[-1], []).append(call)
        return func(*args, **named)


_CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten._convolution, torch.ops.aten.conv2d)
