"""Batch normalisation whose gradient is right however it lies in memory.

torch (2.13 to 2.15, on a CPU) passes a wrong gradient through a batch normalisation in eval mode where what went in
lies by channels and the gradient arrives by places with strides that fit both, as behind an attention for a lone image,
or for maps of one row or column. Nothing tells; what comes out is another gradient altogether.

Each pair of layouts that a network meets is tried once, on random numbers, against the same in plain order, and only
where torch gets it wrong is the gradient laid out anew. All others are left as they are, to the last bit.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

TOLERANCE = 1e-2
"""Of a gradient, relative: far above rounding in 16 bits, far below what another layout makes of it."""
_NORMS = frozenset({F.batch_norm, torch.batch_norm})


class NormGradients(TorchFunctionMode):
    """Gives every batch normalisation of a forward pass a gradient in a layout that torch gets right.

    Parameters
    ----------
    n_norms : calls of batch normalisation met so far
    """

    def __init__(self) -> None:
        super().__init__()
        self.n_norms = 0

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Make one call of the network's."""
        named = kwargs or {}
        result = func(*args, **named)
        if func in _NORMS:
            self.n_norms += 1
            if result.requires_grad:
                result.register_hook(partial(_laid_out, _Layout.of(args[0] if args else named["input"])))
        return result


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a tensor lies in memory, and what decides which of torch's loops takes it."""

    device: torch.device
    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> "_Layout":
        return cls(tensor.device, tensor.dtype, tuple(tensor.shape), tuple(tensor.stride()))

    def filled(self, seed: int) -> Tensor:
        """Return a tensor of this layout with random numbers."""
        n_values = 1 + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        drawn = torch.randn(n_values, generator=torch.Generator().manual_seed(seed))
        return drawn.to(self.device, self.dtype).as_strided(self.shape, self.strides)


def _laid_out(into: _Layout, signal: Tensor | None) -> Tensor | None:
    """Return the gradient in another layout, None where it is well as it is, or where torch takes it for zero."""
    if signal is None:
        return None
    layout = _Layout.of(signal)
    if layout.strides == into.strides or 0 in layout.shape or _is_right(into, layout):
        return None
    return torch.empty_strided(into.shape, into.strides, dtype=signal.dtype, device=signal.device).copy_(signal)


@lru_cache(maxsize=4096)
def _is_right(into: _Layout, signal: _Layout) -> bool:
    """Say whether a gradient of one layout passes the normalisation of an input of another."""
    value, gradient = into.filled(0), signal.filled(1)
    n_channels = into.shape[1]
    drawn = torch.rand(3, n_channels, generator=torch.Generator().manual_seed(2)).to(into.device, into.dtype)
    mean, variance, weight = drawn[0], drawn[1] + 0.5, drawn[2] + 0.5

    def passed(value: Tensor, gradient: Tensor) -> Tensor:
        leaf = value.detach().requires_grad_()
        with torch.enable_grad():
            normalised = F.batch_norm(leaf, mean, variance, weight)
        return torch.autograd.grad(normalised, leaf, gradient)[0].double()

    with torch._C.DisableTorchFunction():
        expected = passed(value.contiguous(), gradient.contiguous())
        return bool((passed(value, gradient) - expected).norm() <= TOLERANCE * expected.norm())
