"""Signals brought down a recorded pass on crops of the maps: those of small fields never fill a whole map.

A signal that starts at one place reaches, layer by layer, a window that grows by the kernels: outside of it autograd
carries zeros. Here only the windows are carried, for many signals in one batch, each at its own place of the maps of
any of the images that passed. Windows reach out of a map as if it went on, and are set to zero there; one larger than
the map is the map. What each node of autograd's graph does on the way down is said in :data:`STEPS`; the result is that
of ``torch.autograd.grad`` but for the order of sums.

>>> maps = network.features(images)                                       # doctest: +SKIP
>>> way = Way.down(maps, images)                                          # doctest: +SKIP
>>> crops = way(signals, of_image, y, x) if way else None                 # doctest: +SKIP
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Node = Any
"""Of an autograd graph."""
Numbers = Int[np.ndarray, " signals"]


@dataclass(frozen=True, eq=False, slots=True)
class Crops:
    """Windows of maps, one for each signal, of one size.

    Parameters
    ----------
    values : of the signals
    top, left : first row and column of each window in its map; may lie outside
    """

    values: Float[Tensor, "signals channels height width"]
    top: Numbers
    left: Numbers

    def fitted(self, height: int, width: int) -> "Crops":
        """Return them without what lies outside of maps of this size: zero there, or cut where a window is larger."""
        h, w = self.values.shape[2:]
        if h > height or w > width:
            return self.at(
                np.zeros_like(self.top) if h > height else self.top,
                np.zeros_like(self.left) if w > width else self.left,
                (min(h, height), min(w, width)),
            ).fitted(height, width)
        is_out = (self.top < 0) | (self.left < 0) | (self.top + h > height) | (self.left + w > width)
        for number in np.flatnonzero(is_out).tolist():
            each, top, left = self.values[number], int(self.top[number]), int(self.left[number])
            if top < 0:
                each[:, :-top] = 0
            if top + h > height:
                each[:, max(height - top, 0) :] = 0
            if left < 0:
                each[:, :, :-left] = 0
            if left + w > width:
                each[:, :, max(width - left, 0) :] = 0
        return self

    def at(self, top: Numbers, left: Numbers, size: tuple[int, int]) -> "Crops":
        """Return the same signals on other windows; zero where these ones do not reach."""
        h, w = self.values.shape[2:]
        moves = np.stack([top - self.top, left - self.left], 1)
        y, x = moves[0].tolist() if len(moves) else (0, 0)
        if bool((moves == moves[:1]).all()) and y >= 0 and x >= 0 and y + size[0] <= h and x + size[1] <= w:
            return Crops(self.values[:, :, y : y + size[0], x : x + size[1]], top, left)
        values = _empty(self.values, *self.values.shape[:2], *size).zero_()
        for number, (y, x) in enumerate(moves.tolist()):
            rows, columns = (max(y, 0), min(y + size[0], h)), (max(x, 0), min(x + size[1], w))
            if rows[0] < rows[1] and columns[0] < columns[1]:
                goal = values[number, :, rows[0] - y : rows[1] - y, columns[0] - x : columns[1] - x]
                goal.copy_(self.values[number, :, rows[0] : rows[1], columns[0] : columns[1]])
        return Crops(values, top, left)

    def plus(self, other: "Crops") -> "Crops":
        """Return the sum, on windows that hold both."""
        top, left = np.minimum(self.top, other.top), np.minimum(self.left, other.left)
        bottom, right = (
            np.maximum(*(first + each.values.shape[axis] for each, first in zip((self, other), firsts, strict=True)))
            for axis, firsts in ((2, (self.top, other.top)), (3, (self.left, other.left)))
        )
        size = int((bottom - top).max()), int((right - left).max())
        return Crops(self.at(top, left, size).values + other.at(top, left, size).values, top, left)


@dataclass(frozen=True, eq=False, slots=True)
class Way:
    """The way from maps down to the images that they were computed from.

    Parameters
    ----------
    nodes : of the graph, each before those that come below it; the last is the images' own
    size : height and width of the images, in pixels
    itemsize : bytes of a number of theirs
    """

    nodes: tuple[Node, ...]
    size: tuple[int, int]
    itemsize: int

    @classmethod
    def down(cls, maps: Tensor, images: Tensor) -> "Way | None":
        """Return the way from maps (batch, units, height, width), or None where a step of it is not known.

        Parameters
        ----------
        maps : with a graph
        images : the graph's only leaf
        """
        if maps.ndim != 4 or maps.grad_fn is None:
            return None
        nodes = _ordered(maps.grad_fn)
        for node in nodes[:-1]:
            step = STEPS.get(node.name())
            if step is None or len(_shape_of(node)) != 4 or not step.fits(node):
                return None
        is_leaf = getattr(nodes[-1], "variable", None) is images
        return cls(nodes, (images.shape[2], images.shape[3]), images.itemsize) if is_leaf else None

    def signal_bytes(self, field: tuple[int, int]) -> float:
        """Return the bytes of the largest maps that a signal has on its way, by what its place sees of the images.

        Parameters
        ----------
        field : height and width of the receptive field, in pixels
        """
        shares = (min(seen / n, 1) for seen, n in zip(field, self.size, strict=True))
        largest = max(math.prod(_shape_of(node)[1:]) for node in self.nodes[:-1])
        return math.prod(shares) * largest * self.itemsize

    def __call__(self, signals: Float[Tensor, "signals units"], of_image: Numbers, y: Numbers, x: Numbers) -> Crops:
        """Return what arrives at the pixels of each signal.

        Parameters
        ----------
        signals : of each, the units of one place
        of_image : number of the image of each
        y, x : place of each in the map
        """
        waiting = {self.nodes[0]: Crops(_laid_out(signals[:, :, None, None]), y, x)}
        for node in self.nodes[:-1]:
            crops = waiting.pop(node)
            for below, part in zip(_below(node), STEPS[node.name()].down(node, crops, of_image), strict=True):
                size = self.size if below is self.nodes[-1] else _shape_of(below)[2:]
                fitted = part if part.top is crops.top else part.fitted(*size)
                waiting[below] = waiting[below].plus(fitted) if below in waiting else fitted
        return waiting.pop(self.nodes[-1])


@dataclass(frozen=True, slots=True)
class Step:
    """What a kind of node does to crops of its output.

    Parameters
    ----------
    down : takes the node, the crops and the number of the image of each; returns what arrives at each node below, on
        windows that may reach out of its map
    fits : says whether a node is of the kind that ``down`` knows
    """

    down: Callable[[Node, Crops, Numbers], Sequence[Crops]]
    fits: Callable[[Node], bool] = lambda _: True


def _ordered(last: Node) -> tuple[Node, ...]:
    """Return the nodes of a graph, each before those below it."""
    found: list[Node] = []
    seen = {last}
    waiting = [(last, iter(_below(last)))]
    while waiting:
        node, below = waiting[-1]
        fresh = next((each for each in below if each not in seen), None)
        if fresh is None:
            found.append(node)
            waiting.pop()
        else:
            seen.add(fresh)
            waiting.append((fresh, iter(_below(fresh))))
    return tuple(reversed(found))


def _below(node: Node) -> list[Node]:
    return [below for below, _ in node.next_functions if below is not None]


def _shape_of(node: Node) -> tuple[int, ...]:
    """Return the shape of what the node made."""
    return tuple(node._input_metadata[0].shape)


def _laid_out(values: Tensor) -> Tensor:
    """Return maps with the channels of a place side by side: convolutions of few maps are faster so."""
    return values.contiguous(memory_format=torch.channels_last)


def _empty(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _passed(node: Node, crops: Crops, _of_image: Numbers) -> list[Crops]:
    return [crops] * len(_below(node))


def _is_sum(node: Node) -> bool:
    """Say whether the signal goes to all summands as it is."""
    return node._saved_alpha == 1 and all(_shape_of(each) == _shape_of(node) for each in _below(node))


def _moves_nothing(node: Node) -> bool:
    return [dim % 4 for dim in node._saved_dims] == [0, 1, 2, 3]


def _is_less_a_constant(node: Node) -> bool:
    return node.next_functions[1][0] is None and _shape_of(_below(node)[0]) == _shape_of(node)


def _divided(node: Node, crops: Crops, _of_image: Numbers) -> list[Crops]:
    return [Crops(crops.values / node._saved_other, crops.top, crops.left)]


def _is_by_channel(node: Node) -> bool:
    return node.next_functions[1][0] is None and tuple(node._saved_other.shape[-2:]) in ((), (1, 1))


def _ruled(node: Node, crops: Crops, _of_image: Numbers) -> list[Crops]:
    return [Crops(node.down(crops.values), crops.top, crops.left)]


def _rectified(node: Node, crops: Crops, of_image: Numbers) -> list[Crops]:
    is_active = _windows(node._saved_result > 0, crops, of_image)
    return [Crops(crops.values * is_active, crops.top, crops.left)]


def _normalised(node: Node, crops: Crops, _of_image: Numbers) -> list[Crops]:
    scale = (node._saved_running_var + node._saved_eps).rsqrt()
    if node._saved_weight is not None:
        scale = scale * node._saved_weight
    return [Crops(crops.values * scale.to(crops.values)[:, None, None], crops.top, crops.left)]


def _is_frozen(node: Node) -> bool:
    return not node._saved_training and node._saved_running_var is not None


def _convolved(node: Node, crops: Crops, _of_image: Numbers) -> list[Crops]:
    values = F.conv_transpose2d(
        crops.values,
        _laid_out(node._saved_weight),
        stride=node._saved_stride,
        groups=node._saved_groups,
        dilation=node._saved_dilation,
    )
    return [_spread(crops, values, node._saved_stride, node._saved_padding)]


def _is_plain_convolution(node: Node) -> bool:
    return not node._saved_transposed and node._saved_weight.ndim == 4


def _averaged(node: Node, crops: Crops, _of_image: Numbers) -> list[Crops]:
    kernel = tuple(node._saved_kernel_size)
    stride = tuple(node._saved_stride) or kernel
    n = crops.values.shape[1]
    weight = crops.values.new_full((n, 1, *kernel), 1 / (kernel[0] * kernel[1]))
    values = F.conv_transpose2d(crops.values, weight, stride=stride, groups=n)
    return [_spread(crops, values, stride, node._saved_padding)]


def _has_whole_windows(node: Node) -> bool:
    is_counted = node._saved_count_include_pad or not any(node._saved_padding)
    return is_counted and not node._saved_ceil_mode and node._saved_divisor_override is None


def _unpooled(node: Node, crops: Crops, of_image: Numbers) -> list[Crops]:
    """Put the signals at the switches."""
    kernel, padding, dilation = node._saved_kernel_size, node._saved_padding, node._saved_dilation
    stride = tuple(node._saved_stride) or tuple(kernel)
    h, w = (
        (n - 1) * step + (size - 1) * spread + 1
        for n, step, size, spread in zip(crops.values.shape[2:], stride, kernel, dilation, strict=True)
    )
    width = node._saved_self.shape[3]
    switches = node._saved_result1
    rows = switches.div(width, rounding_mode="floor")
    corners = (crops.top * stride[0] - padding[0]) * w + crops.left * stride[1] - padding[1]
    places = _windows(rows.mul_(w - width).add_(switches), crops, of_image, corners)
    target = _empty(crops.values, *crops.values.shape[:2], h, w)
    values = torch.ops.aten.max_pool2d_with_indices_backward(
        _laid_out(crops.values), target, kernel, stride, (0, 0), dilation, ceil_mode=False, indices=_laid_out(places)
    )
    return [_spread(crops, values, stride, padding)]


def _parted(node: Node, crops: Crops, _of_image: Numbers) -> list[Crops]:
    sizes = [_shape_of(each)[1] for each in _below(node)]
    return [Crops(part, crops.top, crops.left) for part in crops.values.split(sizes, dim=1)]


def _is_of_channels(node: Node) -> bool:
    sizes = [_shape_of(each)[1] for each in _below(node)]
    return node._saved_dim % 4 == 1 and sum(sizes) == _shape_of(node)[1]


def _spread(crops: Crops, values: Tensor, stride: Sequence[int], padding: Sequence[int]) -> Crops:
    """Return what a window of places makes of the places that they see."""
    return Crops(values, crops.top * stride[0] - padding[0], crops.left * stride[1] - padding[1])


def _windows(maps: Tensor, crops: Crops, of_image: Numbers, less: Numbers | None = None) -> Tensor:
    """Return the windows of maps (images, channels, height, width) where signals are; 0 outside.

    ``less`` is taken from the values of each.
    """
    h, w = crops.values.shape[2:]
    found = _empty(maps, len(of_image), maps.shape[1], h, w)
    ends = crops.top.max() + h - maps.shape[2], crops.left.max() + w - maps.shape[3]
    if min(crops.top.min(), crops.left.min()) < 0 or max(ends) > 0:
        found.zero_()
    corners = zip(of_image.tolist(), crops.top.tolist(), crops.left.tolist(), strict=True)
    for number, (image, top, left) in enumerate(corners):
        first, second = max(top, 0), max(left, 0)
        part = maps[image, :, first : max(top + h, 0), second : max(left + w, 0)]
        goal = found[number, :, first - top :, second - left :][:, : part.shape[1], : part.shape[2]]
        if less is None:
            goal.copy_(part)
        else:
            torch.sub(part, int(less[number]), out=goal)
    return found


STEPS = {
    "_UpAndDownBackward": Step(_ruled),
    "ReluBackward0": Step(_rectified),
    "ConvolutionBackward0": Step(_convolved, _is_plain_convolution),
    "MaxPool2DWithIndicesBackward0": Step(_unpooled),
    "AvgPool2DBackward0": Step(_averaged, _has_whole_windows),
    **dict.fromkeys(("NativeBatchNormBackward0", "CudnnBatchNormBackward0"), Step(_normalised, _is_frozen)),
    "CatBackward0": Step(_parted, _is_of_channels),
    "AddBackward0": Step(_passed, _is_sum),
    "PermuteBackward0": Step(_passed, _moves_nothing),
    "SubBackward0": Step(_passed, _is_less_a_constant),
    "DivBackward0": Step(_divided, _is_by_channel),
}
"""By the name of the node; others are left to autograd."""
