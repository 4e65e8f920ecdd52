"""Receptive field of every place of every map, for any network: which pixels of the input it can depend on.

Along each axis a place ``u`` sees the pixels ``low[u] … high[u]``. A window of kernel k, stride s, padding p and
dilation d sees ``low[u s − p] … high[u s − p + (k − 1) d]``; where branches meet, the union counts. The fields are
carried along with the tensors while the network runs, so that the architecture need not be declared: branches, shared
modules, functional calls, permuted axes, and axes that are cut into blocks (space to depth) are followed as they come.
What is not known to keep places apart (attention, flattening, global pooling, group normalisation) sees the whole
image, so that a field is never too small.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from xvcore.errors import XvError

Pixels = Int[np.ndarray, " places"]


@dataclass(frozen=True, eq=False, slots=True)
class AxisField:
    """What the places of a map see along one axis.

    Parameters
    ----------
    low, high : first and last pixel of each place; may lie outside of the image, where the network pads
    step : pixels between neighbours
    """

    low: Pixels
    high: Pixels
    step: int

    def __len__(self) -> int:
        return len(self.low)

    @property
    def size(self) -> int:
        """Pixels of the widest field."""
        return int((self.high - self.low).max()) + 1

    def windows(self, n: int, *, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> "AxisField":
        """Return the fields of ``n`` places that each see a window of places of this axis."""
        first = np.arange(n) * stride - padding
        last = first + (kernel - 1) * dilation
        return AxisField(self._at(self.low, first), self._at(self.high, last), self.step * stride)

    def ranges(self, first: Int[np.ndarray, " asked"], last: Int[np.ndarray, " asked"]) -> "AxisField":
        """Return the fields of places that each see the places ``first … last`` of this axis."""
        step = self.step * int(first[1] - first[0]) if len(first) > 1 else self.step * len(self)
        return AxisField(self.low[first], self.high[last], step)

    def blocks(self, side: int) -> "AxisField":
        """Return the fields of blocks of ``side`` neighbouring places."""
        first = np.arange(len(self) // side) * side
        return AxisField(self.low[first], self.high[first + side - 1], self.step * side)

    def repeated(self, times: int) -> "AxisField":
        """Return the fields of places each of which is repeated in a row."""
        return AxisField(self.low.repeat(times), self.high.repeat(times), self.step // times)

    def cut(self, index: slice) -> "AxisField":
        """Return the fields of the places that a slice takes."""
        return AxisField(self.low[index], self.high[index], self.step * (index.step or 1))

    def view(self, places: Int[np.ndarray, " n"], n_pixels: int) -> tuple[Int[np.ndarray, " n"], int]:
        """Return the first pixels and the common size of the windows to look at in an image of ``n_pixels``."""
        if self.size >= n_pixels:
            return np.zeros_like(places), n_pixels
        return self.low[places], self.size

    def spread(self, n: int) -> "AxisField":
        """Return the fields of ``n`` places that each see all places of this axis."""
        return AxisField(np.full(n, self.low.min()), np.full(n, self.high.max()), 0)

    def united(self, other: "AxisField") -> "AxisField":
        """Return the fields that hold both; an axis of a single place is seen by all places of the other."""
        steps = {each.step for each in (self, other) if len(each) > 1} or {max(self.step, other.step)}
        return AxisField(np.minimum(self.low, other.low), np.maximum(self.high, other.high), max(steps))

    def _at(self, edges: Pixels, places: Int[np.ndarray, " asked"]) -> Int[np.ndarray, " asked"]:
        """Return the edges of places that may lie outside of the map, as if it went on."""
        inside = places.clip(0, len(edges) - 1)
        found: np.ndarray = edges[inside] + (places - inside) * self.step
        return found


@dataclass(frozen=True, eq=False, slots=True)
class ReceptiveField:
    """Boxes of pixels that the places of a map see.

    Parameters
    ----------
    y, x : along each axis
    image_px : height and width of the input
    """

    y: AxisField
    x: AxisField
    image_px: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the largest field, in pixels; parts of it may lie outside of the image."""
        return self.y.size, self.x.size

    def boxes(self, y: Int[np.ndarray, " n"], x: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n 4"]:
        """Return x, y (top left corner), w, h in pixels of the input for places of the map; not clipped to the image.

        Raises
        ------
        XvError
            A place outside of the map.
        """
        self._check(y, x)
        left, top = self.x.low[x], self.y.low[y]
        return np.stack([left, top, self.x.high[x] - left + 1, self.y.high[y] - top + 1], axis=1)

    def views(self, y: Int[np.ndarray, " n"], x: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n 4"]:
        """Return the boxes to look at, all of one size: the field, or the whole image along an axis that it exceeds.

        Raises
        ------
        XvError
            A place outside of the map.
        """
        self._check(y, x)
        left, width = self.x.view(x, self.image_px[1])
        top, height = self.y.view(y, self.image_px[0])
        return np.stack([left, top, np.full_like(left, width), np.full_like(top, height)], axis=1)

    def _check(self, y: Int[np.ndarray, " n"], x: Int[np.ndarray, " n"]) -> None:
        for name, places, axis in (("y", y, self.y), ("x", x, self.x)):
            if len(places) and not 0 <= places.min() <= places.max() < len(axis):
                raise XvError(f"{name} = {places.min()} … {places.max()}: the map has the places 0 … {len(axis) - 1}")


Fields = dict[str, tuple[int, AxisField]]
"""Axis of the image ("y", "x") to the tensor's axis that follows it, and its fields; an absent axis sees all."""


class FieldMode(TorchFunctionMode):
    """Follows the receptive fields, and the axis of channels, of all that is computed from ``image`` within."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self._image_px = (int(image.shape[-2]), int(image.shape[-1]))
        self._fields: WeakIdKeyDictionary = WeakIdKeyDictionary()
        pixels = [np.arange(n) for n in self._image_px]
        self._fields[image] = {
            name: (image.ndim - 2 + index, AxisField(pixels[index], pixels[index], 1))
            for index, name in enumerate(("y", "x"))
        }
        self._channels: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._channels[image] = image.ndim - 3

    def of(self, tensor: Tensor) -> ReceptiveField:
        """Return the field of a tensor's places; places along an axis that was not followed see the whole image.

        An axis that the tensor no longer has counts as one place.
        """
        fields: Fields = self._fields.get(tensor, {})
        y, x = (fields[name][1] if name in fields else self._whole(name) for name in ("y", "x"))
        return ReceptiveField(y, x, self._image_px)

    def axis_of(self, tensor: Tensor, name: str) -> int | None:
        """Return the axis of a tensor that follows the image's ``"y"`` or ``"x"``, if any does."""
        fields: Fields = self._fields.get(tensor, {})
        return fields[name][0] if name in fields else None

    def is_followed(self, tensor: Tensor) -> bool:
        """Say whether a tensor was computed from the image's values."""
        return tensor in self._fields

    def channels_of(self, tensor: Tensor) -> int | None:
        """Return the axis of a tensor's channels, where what made or takes it tells (a convolution, a linear layer)."""
        axis: int | None = self._channels.get(tensor)
        return axis

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Make one call and note what its results see."""
        named = dict(kwargs or {})
        counted = [
            (each.shape, self._channels[each]) for each in _tensors((*args, *named.values())) if each in self._channels
        ]
        seen = [(each, self._fields[each]) for each in _tensors((*args, *named.values())) if each in self._fields]
        shapes = [(tensor.shape, fields) for tensor, fields in seen]  # before an in-place call
        name = str(getattr(func, "__name__", "")).strip("_")
        taken = args[0] if args else named.get("input")
        if name in TAKING and isinstance(taken, Tensor) and taken.ndim > 2 and taken not in self._channels:
            self._channels[taken] = 1 if name in CHANNELS_FIRST else taken.ndim - 1
        results = func(*args, **named)
        if shapes and name == "setitem":
            self._fields[args[0]] = {}  # what was written may see anything
        if shapes and name not in SHAPED_ONLY:
            for result in _tensors([results]):
                self._fields[result] = self._followed(func, args, named, shapes, result)
                channels = _channels(func, args, named, counted, result)
                if channels is not None:
                    self._channels[result] = channels
        return results

    def _followed(
        self,
        func: Any,
        args: tuple[Any, ...],
        named: dict[str, Any],
        seen: list[tuple[torch.Size, Fields]],
        result: Tensor,
    ) -> Fields:
        name = str(getattr(func, "__name__", "")).strip("_")
        if name in POINTWISE or name == "cat":
            return self._met(name, args, named, seen, result)
        follow = FOLLOWED.get(name)
        if follow is None:
            return {}
        shape, fields = seen[0]
        call = _Call(func, args, named, shape, result, frozenset(dim for dim, _ in fields.values()))
        return {axis: moved for axis, (dim, field) in fields.items() if (moved := follow(call, dim, field)) is not None}

    def _met(
        self,
        name: str,
        args: tuple[Any, ...],
        named: dict[str, Any],
        seen: list[tuple[torch.Size, Fields]],
        result: Tensor,
    ) -> Fields:
        """Return the union of what the inputs of a pointwise call or a concatenation see."""
        joined = named.get("dim", args[1] if len(args) > 1 else 0) % result.ndim if name == "cat" else None
        followed: Fields = {}
        for axis in ("y", "x"):
            dims = {fields[axis][0] + result.ndim - len(shape) for shape, fields in seen if axis in fields}
            if len(dims) != 1 or joined in dims:
                continue
            fields = [each[axis][1] if axis in each else self._whole(axis) for _, each in seen]
            followed[axis] = (dims.pop(), reduce(AxisField.united, fields))
        return followed

    def _whole(self, axis: str) -> AxisField:
        n = self._image_px[0 if axis == "y" else 1]
        return AxisField(np.array([0]), np.array([n - 1]), 0)


@dataclass(frozen=True, eq=False, slots=True)
class _Call:
    """A call whose first input is followed, along the axes ``followed``."""

    func: Any
    args: tuple[Any, ...]
    named: dict[str, Any]
    shape: torch.Size
    result: Tensor
    followed: frozenset[int]

    def argument(self, name: str, place: int, default: Any = None) -> Any:
        return self.named.get(name, self.args[place] if len(self.args) > place else default)

    def dims(self, place: int = 1) -> set[int]:
        """Return the axes named by ``dim``; all where none is."""
        dim = self.argument("dim", place)
        dims = range(len(self.shape)) if dim is None else (dim,) if isinstance(dim, int) else dim
        return {each % len(self.shape) for each in dims}


Followed = tuple[int, AxisField] | None


def _conv(call: _Call, dim: int, field: AxisField) -> Followed:
    kernel = tuple(call.argument("weight", 1).shape[2:])
    return _window(call, dim, field, kernel, (call.argument("stride", 3, 1), *_geometry(call, 4)))


def _max_pool(call: _Call, dim: int, field: AxisField) -> Followed:
    kernel = call.argument("kernel_size", 1)
    return _window(call, dim, field, kernel, (call.argument("stride", 2) or kernel, *_geometry(call, 3)))


def _average_pool(call: _Call, dim: int, field: AxisField) -> Followed:
    kernel = call.argument("kernel_size", 1)
    return _window(call, dim, field, kernel, (call.argument("stride", 2) or kernel, call.argument("padding", 3, 0), 1))


def _geometry(call: _Call, place: int) -> tuple[Any, Any]:
    return call.argument("padding", place, 0), call.argument("dilation", place + 1, 1)


def _window(call: _Call, dim: int, field: AxisField, kernel: Any, geometry: tuple[Any, Any, Any]) -> Followed:
    """Follow a window of the last two axes; geometry: stride, padding, dilation."""
    spatial = dim - (len(call.shape) - 2)
    if spatial not in (0, 1):
        return None
    stride, padding, dilation = geometry
    size, spread = _side(kernel, spatial), _side(dilation, spatial)
    if isinstance(padding, str):
        padding = 0 if padding == "valid" else (size - 1) * spread // 2
    step, pad = _side(stride, spatial), _side(padding, spatial)
    return dim, field.windows(call.result.shape[dim], kernel=size, stride=step, padding=pad, dilation=spread)


def _adaptive(call: _Call, dim: int, field: AxisField) -> Followed:
    n_in, n_out = len(field), call.result.shape[dim]
    places = np.arange(n_out)
    return dim, field.ranges(places * n_in // n_out, -(-(places + 1) * n_in // n_out) - 1)


def _reduced(call: _Call, dim: int, field: AxisField) -> Followed:
    if not call.argument("keepdim", 2, default=False):
        return None
    if dim not in call.dims():
        return dim, field
    return dim, AxisField(field.low.min(keepdims=True), field.high.max(keepdims=True), field.step * len(field))


def _last_axes(call: _Call, dim: int, field: AxisField) -> Followed:
    """Follow what mixes the last axes: a linear layer one, layer and root-mean-square normalisation those they name."""
    n_mixed = 1 if call.func is F.linear else _n_normalised(call.args, call.named)
    return (dim, field) if dim < len(call.shape) - n_mixed else None


def _spread(call: _Call, dim: int, field: AxisField) -> Followed:
    """Follow what measures the spread along axes: a variance or a norm."""
    if not call.named.get("keepdim", False):
        return None
    return _reduced(call, dim, field)


def _along(call: _Call, dim: int, field: AxisField) -> Followed:
    """Follow what mixes one axis only."""
    return (dim, field) if dim not in call.dims() else None


def _scaled(call: _Call, dim: int, field: AxisField) -> Followed:
    """Follow what divides by a norm along axes."""
    dims = call.argument("dim", 2, 1)
    mixed = {each % len(call.shape) for each in ((dims,) if isinstance(dims, int) else dims)}
    return (dim, field) if dim not in mixed else None


def _reshaped(call: _Call, dim: int, field: AxisField) -> Followed:
    """Follow an axis that keeps what stands before it: whole, as the blocks it is cut into, or with what is behind it.

    A block stands for all its places, since its own axis may go anywhere (to the channels, in space to depth).
    """
    before, length, new = math.prod(call.shape[:dim]), call.shape[dim], call.result.shape
    places = [place for place in range(min(dim, 1), len(new)) if math.prod(new[:place]) == before]  # none is the batch
    if whole := [place for place in places if new[place] == length]:
        return whole[0], field
    for place in places:
        n = new[place]
        if 1 < n < length and length in (math.prod(new[place:end]) for end in range(place + 2, len(new) + 1)):
            return place, field.blocks(length // n)
        swallowed = [end for end in range(dim + 2, len(call.shape) + 1) if math.prod(call.shape[dim:end]) == n]
        if n > length > 1 and swallowed and not call.followed & set(range(dim + 1, swallowed[0])):
            return place, field.repeated(n // length)
    return None


def _space_to_depth(call: _Call, dim: int, field: AxisField) -> Followed:
    is_spatial = dim >= len(call.shape) - 2
    return (dim, field.blocks(call.argument("downscale_factor", 1))) if is_spatial else None


def _depth_to_space(call: _Call, dim: int, field: AxisField) -> Followed:
    is_spatial = dim >= len(call.shape) - 2
    return (dim, field.repeated(call.argument("upscale_factor", 1))) if is_spatial else None


def _permuted(call: _Call, dim: int, field: AxisField) -> Followed:
    dims = call.argument("dims", 1)
    order = [each % len(call.shape) for each in (call.args[1:] if isinstance(dims, int) else dims)]
    return order.index(dim), field


def _transposed(call: _Call, dim: int, field: AxisField) -> Followed:
    first, second = (call.argument(f"dim{i}", i + 1) % len(call.shape) for i in (0, 1))
    return {first: second, second: first}.get(dim, dim), field


def _moved(call: _Call, dim: int, field: AxisField) -> Followed:
    sources, goals = (
        [each % len(call.shape) for each in ((dims,) if isinstance(dims, int) else dims)]
        for dims in (call.argument("source", 1), call.argument("destination", 2))
    )
    others = iter([each for each in range(len(call.shape)) if each not in sources])
    order = [sources[goals.index(place)] if place in goals else next(others) for place in range(len(call.shape))]
    return order.index(dim), field


def _parts(call: _Call, dim: int, field: AxisField) -> Followed:
    """Follow what takes parts along other axes."""
    is_kept = call.result.ndim == len(call.shape) and call.result.shape[dim] == call.shape[dim]
    return (dim, field) if is_kept else None


def _indexed(call: _Call, dim: int, field: AxisField) -> Followed:
    """Follow what slices and numbers take: every second row, a channel, a new axis."""
    index = call.argument("idx", 1)
    indices = list(index) if isinstance(index, tuple) else [index]
    if not all(each is None or each is ... or (type(each) in (slice, int)) for each in indices):
        return None
    n_taken = sum(each is not None and each is not ... for each in indices)
    rest = [slice(None)] * (len(call.shape) - n_taken)
    place = indices.index(...) if ... in indices else len(indices)
    source = target = 0
    for each in [*indices[:place], *rest, *indices[place + 1 :]]:
        if each is None:
            target += 1
            continue
        if source == dim:
            return (target, field.cut(each)) if isinstance(each, slice) else None
        source, target = source + 1, target + isinstance(each, slice)
    return None


def _padded(call: _Call, dim: int, field: AxisField) -> Followed:
    pads = list(call.argument("pad", 1))
    place = 2 * (len(call.shape) - 1 - dim)
    before = pads[place] if place < len(pads) else 0
    return dim, field.windows(call.result.shape[dim], kernel=1, padding=before)


def _channels(
    func: Any, args: tuple[Any, ...], named: dict[str, Any], counted: list[tuple[torch.Size, int]], result: Tensor
) -> int | None:
    """Return the axis of a result's channels, given shape and axis of the inputs where it is known; None for neither.

    A layer of weights says where it is; what moves axes takes it along, and what acts place by place keeps it.
    """
    name = str(getattr(func, "__name__", "")).strip("_")
    if name in CHANNELS_FIRST:
        return 1 if result.ndim > 1 else None
    if name == "linear" or (name in ("layer_norm", "rms_norm") and _n_normalised(args, named) == 1):
        return result.ndim - 1
    if not counted:
        return None
    if name in MOVING:
        shape, axis = counted[0]
        call = _Call(func, args, named, shape, result, frozenset(range(len(shape))))
        moved = _kept_whole(call, axis) if name in RESHAPING else FOLLOWED[name](call, axis, _nowhere(shape[axis]))
        return None if moved is None else moved[0]
    if name in POINTWISE or name in KEEPING:
        axes = {axis + result.ndim - len(shape) for shape, axis in counted if len(shape) <= result.ndim}
        return axes.pop() if len(axes) == 1 and min(axes) >= 0 else None
    return None


def _n_normalised(args: tuple[Any, ...], named: dict[str, Any]) -> int:
    shape = named.get("normalized_shape", args[1] if len(args) > 1 else ())
    return 1 if isinstance(shape, int) else len(shape)


def _kept_whole(call: _Call, dim: int) -> Followed:
    """Follow an axis through a reshape that leaves its length."""
    moved = _reshaped(call, dim, _nowhere(call.shape[dim]))
    return moved if moved is not None and call.result.shape[moved[0]] == call.shape[dim] else None


def _nowhere(n: int) -> AxisField:
    return AxisField(np.zeros(n, dtype=int), np.zeros(n, dtype=int), 0)


FOLLOWED: dict[str, Callable[[_Call, int, AxisField], Followed]] = {
    "conv2d": _conv,
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices"), _max_pool),
    "avg_pool2d": _average_pool,
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices"), _adaptive),
    **dict.fromkeys(("mean", "sum", "amax", "amin"), _reduced),
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), _spread),
    **dict.fromkeys(("linear", "layer_norm", "rms_norm"), _last_axes),
    **dict.fromkeys(("softmax", "log_softmax"), _along),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"), _reshaped),
    "normalize": _scaled,
    "pixel_unshuffle": _space_to_depth,
    "pixel_shuffle": _depth_to_space,
    "permute": _permuted,
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), _transposed),
    **dict.fromkeys(("movedim", "moveaxis"), _moved),
    **dict.fromkeys(("chunk", "split", "tensor_split", "narrow"), _parts),
    "getitem": _indexed,
    "pad": _padded,
}
"""How the fields of the first input go on, by the name of the call; all else sees the whole image."""
POINTWISE = frozenset({
    *("add", "iadd", "radd", "mul", "imul", "rmul", "sub", "isub", "rsub", "div", "truediv", "itruediv", "neg", "pow"),
    *("exp", "log", "sqrt", "abs", "clamp", "clamp_min", "clamp_max", "clip", "where", "maximum", "minimum", "lerp"),
    *("relu", "relu6", "hardtanh", "threshold", "gelu", "silu", "hardswish", "mish", "elu", "selu", "celu", "softplus"),
    *("leaky_relu", "prelu", "rrelu", "softsign", "tanh", "sigmoid", "hardsigmoid", "logsigmoid", "batch_norm"),
    *("local_response_norm", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout", "alpha_dropout"),
    *("contiguous", "clone", "detach", "to", "float", "half", "double", "bfloat16", "type", "requires_grad", "rsqrt"),
    *("feature_alpha_dropout", "square", "addcmul", "nan_to_num"),
})  # fmt: skip
"""Calls that keep places apart, by name."""
CHANNELS_FIRST = frozenset({
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "batch_norm"),
    *("instance_norm", "group_norm", "local_response_norm", "pixel_shuffle", "pixel_unshuffle", "interpolate"),
    *("max_pool2d", "max_pool2d_with_indices", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"),
})  # fmt: skip
"""Calls whose result has its channels behind the batch, by name."""
TAKING = frozenset({"conv1d", "conv2d", "conv3d", "batch_norm", "linear"})
"""Calls that tell where the channels of their input are, by name."""
SHAPED_ONLY = frozenset({
    *("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "randint_like"),
    *("new_zeros", "new_ones", "new_empty", "new_full", "new_tensor"),
})  # fmt: skip
"""Calls whose result takes shape or type of a tensor and nothing of its values, by name."""
RESHAPING = frozenset({"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"})
MOVING = RESHAPING | {"permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "getitem"}
KEEPING = frozenset({"cat", "pad", "roll", "softmax", "layer_norm", "rms_norm", "chunk", "split", "narrow"})
"""Calls after which the channels are where they were."""


def _side(value: int | Sequence[int], spatial: int) -> int:
    return int(value) if isinstance(value, int) else int(value[min(spatial, len(value) - 1)])


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)
