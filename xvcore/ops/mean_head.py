"""The end of a network, where it is a mean over positions with nothing but affine layers behind.

Then each logit is a mean of numbers that belong to a position each (class activation mapping [1]_ with its bias)::

    logit_c = w_c · mean_ij f_ij + b_c = mean_ij (w_c · f_ij + b_c)

Found by watching one pass, not by names of layers, and compared with the logits that the pass gives. Behind the mean
may stand one linear layer, or several affine ones (batch normalisation, two heads whose outputs are averaged): what
follows the mean is then done again with other values in its place, which shows whether it is affine, and gives ``w``
and ``b``. The positions may be the rows and columns of maps, or tokens that were flattened from them.

References
----------
.. [1] B. Zhou, A. Khosla, A. Lapedriza, A. Oliva, A. Torralba, "Learning Deep Features for Discriminative
   Localization", CVPR 2016.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from xvcore.errors import XvError
from xvcore.ops.receptive_field import SHAPED_ONLY
from xvcore.types import Scores

TOLERANCE = 1e-4
"""Largest difference of what should be equal, relative to the largest value: rounding of float32 over a long mean."""
AMPLITUDES = (1.0, 100.0)
"""Of the values that try whether something is affine, in units of the largest mean, and as they are."""
WIDEST = 4
"""What follows a mean is kept as long as no result is so many times larger than its longest axis: else it is a map."""


@dataclass(frozen=True, slots=True)
class MeanHead:
    """The last map of a pass and what is behind its mean.

    Parameters
    ----------
    maps : what is averaged
    weight, bias : of the linear layer; None where the means are the logits themselves (SqueezeNet), without a bias, or
        where there is a tail
    logits : what the network said
    tail : the affine layers behind the mean, where they are not a single linear layer
    """

    maps: Float[Tensor, "batch features rows columns"]
    weight: Float[Tensor, "classes features"] | None
    bias: Float[Tensor, " classes"] | None
    logits: Scores
    tail: Callable[[Float[Tensor, "batch features"]], Scores] | None = None

    def evidence(self, targets: Int[Tensor, "batch targets"]) -> Float[Tensor, "batch targets rows columns"]:
        """Return what each position says for each target; only the targets' rows of the linear layer are used."""
        if self.tail is not None:
            return self._evidence_of_tail(self.tail, targets)
        if self.weight is None:
            return self.maps.take_along_dim(targets[:, :, None, None], dim=1)
        return evidence_of(self.maps, self.weight, self.bias, targets)

    def _evidence_of_tail(
        self, tail: Callable[[Float[Tensor, "batch features"]], Scores], targets: Int[Tensor, "batch targets"]
    ) -> Float[Tensor, "batch targets rows columns"]:
        """Return the affine layers at each position: their derivative, and their value at zero."""
        with torch.enable_grad():
            zero = torch.zeros_like(self.maps[:, :, 0, 0]).requires_grad_()
            at_zero = tail(zero).gather(1, targets)
            rows = [torch.autograd.grad(each.sum(), zero, retain_graph=True)[0] for each in at_zero.unbind(1)]
        evidence = torch.bmm(torch.stack(rows, 1), self.maps.flatten(2)) + at_zero.detach()[:, :, None]
        return evidence.reshape(*targets.shape, *self.maps.shape[2:])


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
        There is no mean over positions, or something that is not affine follows it; then the message says by how much
        the mean over the positions of what follows differs from the logits.
    """
    with _Watch(images) as watch:
        logits = network(images)
    reason = ""
    for pooling in watch.poolings:
        averaged = _averaged(pooling)
        if averaged is None:
            continue
        maps = _gridded(averaged, watch.grids)
        if maps is None:
            reason = f"; the mean is over {averaged.shape[2]} tokens, which are of no grid"
            continue
        means = maps.mean(dim=(2, 3))
        if _are_equal(logits, means):
            return MeanHead(maps, None, None, logits)
        if watch.linear is not None:
            taken, weight, bias, given = watch.linear
            if _are_equal(taken, means) and _are_equal(given, logits):
                return MeanHead(maps, weight, bias, logits)
        if pooling.is_mixed:
            reason = "; something else of the image enters behind the mean"
            continue
        tail = pooling.tail_to(logits)
        if tail is not None and _are_equal(tail(means), logits):
            if _is_affine(tail, means):
                return MeanHead(maps, None, None, logits, tail)
            says = torch.stack([tail(each) for each in maps.flatten(2).unbind(2)]).mean(0)
            difference, largest = (float(each.abs().max()) for each in (says - logits, logits))
            reason = (
                "; what follows the mean is not affine, and the mean of what it says of each position differs from the "
                f"logits by up to {difference:.3g} (largest logit: {largest:.3g})"
            )
    raise XvError(
        "the logits are no mean over positions: expected a network that ends in a mean over rows and columns (or over "
        "tokens of a grid) followed by nothing but affine layers (BagNets, ResNets, GoogLeNet, SqueezeNet, "
        f"MobileNetV2, DenseNets, …){reason}"
    )


@dataclass(frozen=True, slots=True)
class _Call:
    """A call behind a mean."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Tensor

    def again(self, values: dict[int, Tensor]) -> None:
        """Call with other values in the place of tensors, by their id, and add the result to them."""
        args = _replaced(self.args, values)
        kwargs = {name: _replaced(value, values) for name, value in self.kwargs.items()}
        values[id(self.result)] = self.func(*args, **kwargs)


@dataclass(slots=True)
class _Pooling:
    """A call that may have been a mean over positions, and all that was computed from its result."""

    taken: Tensor
    result: Tensor
    calls: list[_Call] = field(default_factory=list)
    is_lost: bool = False
    is_mixed: bool = False
    _known: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._known.add(id(self.result))

    def see(self, call: _Call, derived: WeakIdKeyDictionary) -> None:
        """Keep a call that takes what was computed from the mean; give up where a map comes of it.

        Parameters
        ----------
        call : the next one
        derived : the tensors that were computed from the image
        """
        taken = list(_tensors((call.args, call.kwargs)))
        if self.is_lost or not any(id(each) in self._known for each in taken):
            return
        self.is_mixed |= any(id(each) not in self._known and each in derived for each in taken)
        shape = call.result.shape[1:]
        if math.prod(shape) > WIDEST * max(shape, default=1):
            self.is_lost = True
            self.calls.clear()
            return
        self.calls.append(call)
        self._known.add(id(call.result))

    def knows(self, tensor: Tensor) -> bool:
        """Say whether a tensor was computed from the mean and nothing else of the image."""
        return not (self.is_lost or self.is_mixed) and id(tensor) in self._known

    def tail_to(self, logits: Tensor) -> Callable[[Tensor], Tensor] | None:
        """Return what follows the mean as a function of it, or None where that could not be followed."""
        if self.is_lost or id(logits) not in self._known:
            return None
        last = max((index for index, call in enumerate(self.calls) if call.result is logits), default=-1)

        def tail(means: Tensor) -> Tensor:
            values = {id(self.result): means.reshape(self.result.shape).clone()}
            for call in self.calls[: last + 1]:
                call.again(values)
            return values[id(logits)]

        return tail


class _Watch(TorchFunctionMode):
    """Keeps the last calls that may have been the mean over positions and the linear layer."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self._derived: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._derived[images] = True
        self.linear: tuple[Tensor, Tensor, Tensor | None, Tensor] | None = None
        self.grids: dict[int, tuple[int, int]] = {}
        self._summed: tuple[Tensor, Tensor] | None = None
        self._rows: tuple[Tensor, Tensor] | None = None
        self._wide: _Pooling | None = None
        self._scaled: _Pooling | None = None
        self._single: _Pooling | None = None

    @property
    def poolings(self) -> list[_Pooling]:
        """What may have been the mean; a single position counts where no mean was taken of several."""
        several = [each for each in (self._scaled, self._wide) if each is not None and not each.is_lost]
        pure = [each for each in several if not each.is_mixed]
        return pure or [each for each in (*several, self._single) if each is not None]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        result = func(*args, **named)
        if isinstance(result, Tensor):
            is_shaped = str(getattr(func, "__name__", "")) in SHAPED_ONLY
            if not is_shaped and any(each in self._derived for each in _tensors((args, named))):
                self._derived[result] = True
            call = _Call(func, args, named, result)
            for pooling in (self._scaled, self._wide, self._single):
                if pooling is not None:
                    pooling.see(call, self._derived)
            if args and isinstance(args[0], Tensor):
                if func in (F.linear, F.conv2d):
                    self._see_linear(*args[:3], result=result, **named)
                self._see_grid(args[0], result)
                self._see_pooling(args[0], result)
        return result

    def _see_linear(
        self, taken: Tensor, weight: Tensor, bias: Tensor | None = None, *, result: Tensor, **_: object
    ) -> None:
        is_single = taken.ndim == 2 or (taken.ndim == 4 and taken.shape[2:] == (1, 1))
        if is_single and weight[0].numel() == taken[0].numel():
            self.linear = taken.flatten(1), weight.flatten(1), bias, result.flatten(1)

    def _see_grid(self, maps: Tensor, result: Tensor) -> None:
        """Note the rows and columns of maps that become tokens."""
        if maps.ndim != 4 or result.ndim != 3 or maps.numel() != result.numel():
            return
        for rows, columns, before in ((*maps.shape[2:], maps.shape[1]), (*maps.shape[1:3], 1)):
            if rows * columns in result.shape[1:] and before in (1, result.shape[1]):
                self.grids[rows * columns] = rows, columns

    def _see_pooling(self, taken: Tensor, result: Tensor) -> None:
        """Take a call for the mean if it leaves one number for each feature."""
        if any(pooling is not None and pooling.knows(taken) for pooling in (self._scaled, self._wide)):
            if self._summed is not None and self._summed[0] is taken and result.shape == taken.shape:
                self._scaled = _Pooling(self._summed[1], result)  # a sum, divided
            return
        if self._rows is not None and self._rows[0] is taken:
            taken = self._rows[1]  # a mean over rows, then over columns
        if taken.ndim not in (3, 4) or result.ndim not in (2, 3, 4) or len(taken) != len(result):
            return
        longest = max(result.shape[1:])
        if longest * len(result) == result.numel() and longest in (taken.shape[1], taken.shape[-1]):
            pooling = _Pooling(taken, result)
            if taken.numel() == result.numel():
                self._single = pooling
            else:
                self._wide, self._scaled, self._summed = pooling, None, (result, taken)
        elif taken.ndim == 4 and result.ndim == 3 and result.numel() < taken.numel():
            self._rows = result, taken


def _averaged(pooling: _Pooling) -> Float[Tensor, "batch features ..."] | None:
    """Return what was averaged, features first; None where the result is no mean over the other axes."""
    result = pooling.result.flatten(1)
    for averaged in (pooling.taken, pooling.taken.movedim(-1, 1)):
        dims = tuple(range(2, averaged.ndim))
        if averaged.shape[1] == result.shape[1] and _are_equal(averaged.mean(dims), result):
            return averaged
    return None


def _gridded(
    averaged: Float[Tensor, "batch features ..."], grids: dict[int, tuple[int, int]]
) -> Float[Tensor, "batch features rows columns"] | None:
    """Return what was averaged as maps; None for tokens of no grid."""
    if averaged.ndim == 4:
        return averaged
    n = averaged.shape[2]
    size = (1, 1) if n == 1 else grids.get(n)
    return None if size is None else averaged.unflatten(2, size)


def _is_affine(tail: Callable[[Tensor], Tensor], means: Float[Tensor, "batch features"]) -> bool:
    """Say whether ``f(x + y) + f(0) = f(x) + f(y)`` for drawn values."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn((2, *means.shape), generator=generator).to(means)
    at_zero = tail(torch.zeros_like(means))
    scales = (float(means.abs().max()), 1.0)
    return all(
        _are_equal(tail(amplitude * (x + y)) + at_zero, tail(amplitude * x) + tail(amplitude * y))
        for amplitude in (amplitude * scale for amplitude in AMPLITUDES for scale in scales)
    )


def _are_equal(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal up to the rounding of float32."""
    if one.shape != other.shape:
        return False
    largest = torch.maximum(one.abs().max(), other.abs().max())
    return bool((one - other).abs().max() <= TOLERANCE * largest)


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        yield from _tensors(tuple(values.values()))
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _tensors(value)


def _replaced(value: Any, values: dict[int, Tensor]) -> Any:
    if isinstance(value, Tensor):
        return values.get(id(value), value)
    if isinstance(value, (tuple, list)):
        return type(value)(_replaced(each, values) for each in value)
    return value
