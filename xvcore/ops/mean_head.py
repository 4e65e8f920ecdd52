"""The end of a network, where it is a mean over positions with nothing but a linear layer behind.

Then each logit is a mean of numbers that belong to a position each (class activation mapping [1]_ with its bias)::

    logit_c = w_c · mean_ij f_ij + b_c = mean_ij (w_c · f_ij + b_c)

Found by watching one pass, not by names of layers, and compared with the logits that the pass gives.

References
----------
.. [1] B. Zhou, A. Khosla, A. Lapedriza, A. Oliva, A. Torralba, "Learning Deep Features for Discriminative
   Localization", CVPR 2016.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xvcore.errors import XvError
from xvcore.types import Scores

TOLERANCE = 1e-4
"""Largest difference of what should be equal, relative to the largest value: rounding of float32 over a long mean."""


@dataclass(frozen=True, slots=True)
class MeanHead:
    """The last map of a pass and the linear layer behind its mean.

    Parameters
    ----------
    maps : what is averaged
    weight, bias : of the linear layer; None where the means are the logits themselves (SqueezeNet), or without a bias
    logits : what the network said
    """

    maps: Float[Tensor, "batch features rows columns"]
    weight: Float[Tensor, "classes features"] | None
    bias: Float[Tensor, " classes"] | None
    logits: Scores

    def evidence(self, targets: Int[Tensor, "batch targets"]) -> Float[Tensor, "batch targets rows columns"]:
        """Return what each position says for each target; only the targets' rows of the linear layer are used."""
        if self.weight is None:
            return self.maps.take_along_dim(targets[:, :, None, None], dim=1)
        return evidence_of(self.maps, self.weight, self.bias, targets)


def evidence_of(
    maps: Float[Tensor, "batch features rows columns"],
    weight: Float[Tensor, "classes features"],
    bias: Float[Tensor, " classes"] | None,
    targets: Int[Tensor, "batch targets"],
) -> Float[Tensor, "batch targets rows columns"]:
    """Return the linear layer at each position for the targets of each image, bias included."""
    evidence = torch.bmm(weight[targets], maps.flatten(2)).reshape(*targets.shape, *maps.shape[2:])
    return evidence if bias is None else evidence + bias[targets][:, :, None, None]


def watched(network: Callable[[Tensor], Tensor], images: Tensor) -> MeanHead:
    """Return the end of a network as one pass shows it.

    Parameters
    ----------
    network : images to logits
    images : a batch

    Raises
    ------
    XvError
        There is no mean over positions, or something else than a linear layer follows it.
    """
    with _Watch() as watch:
        logits = network(images)
    if watch.pooling is not None:
        maps, pooled = watch.pooling
        means = maps.mean(dim=(2, 3))
        is_mean = _are_equal(means, pooled.flatten(1))
        if is_mean and _are_equal(logits, means):
            return MeanHead(maps, None, None, logits)
        if is_mean and watch.linear is not None:
            taken, weight, bias, given = watch.linear
            if _are_equal(taken, means) and _are_equal(given, logits):
                return MeanHead(maps, weight, bias, logits)
    raise XvError(
        "the logits are no mean over positions: expected a network that ends in a mean over rows and columns followed "
        "by at most one linear layer (BagNets, ResNets, GoogLeNet, SqueezeNet, MobileNetV2, DenseNets, …)"
    )


class _Watch(TorchFunctionMode):
    """Keeps the last calls that may have been the mean over positions and the linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear: tuple[Tensor, Tensor, Tensor | None, Tensor] | None = None
        self._wide: tuple[Tensor, Tensor] | None = None
        self._single: tuple[Tensor, Tensor] | None = None

    @property
    def pooling(self) -> tuple[Tensor, Tensor] | None:
        """What was averaged and the result; a single position counts where no mean was taken of several."""
        return self._wide or self._single

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and args and isinstance(args[0], Tensor):
            if func in (F.linear, F.conv2d):
                self._see_linear(*args[:3], result=result, **(kwargs or {}))
            if args[0].ndim == 4 and result.ndim in (2, 4):
                self._see_pooling(args[0], result)
        return result

    def _see_linear(
        self, taken: Tensor, weight: Tensor, bias: Tensor | None = None, *, result: Tensor, **_: object
    ) -> None:
        is_single = taken.ndim == 2 or (taken.ndim == 4 and taken.shape[2:] == (1, 1))
        if is_single and weight[0].numel() == taken[0].numel():
            self.linear = taken.flatten(1), weight.flatten(1), bias, result.flatten(1)

    def _see_pooling(self, maps: Tensor, result: Tensor) -> None:
        n, numel = maps.shape[0], result.numel()
        if result.ndim == 4 and result.shape[2:] != (1, 1) and result.shape[1:3] != (1, 1):
            return
        if numel == n * maps.shape[1]:
            pair = maps, result
        elif numel == n * maps.shape[3]:  # channels last: Swin
            pair = maps.permute(0, 3, 1, 2), result
        else:
            return
        if pair[0].shape[2:] == (1, 1):
            self._single = pair
        else:
            self._wide = pair


def _are_equal(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal up to the rounding of float32."""
    if one.shape != other.shape:
        return False
    largest = torch.maximum(one.abs().max(), other.abs().max())
    return bool((one - other).abs().max() <= TOLERANCE * largest)
