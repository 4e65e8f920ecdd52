"""Layers of units: where in a network they are, and how to read them while it runs, without touching it.

A layer is the output of one call of a module, named by the module (``features.3``), or by module and call where a
module is called several times in one pass (``layer1.0.relu:2``). Each has units: the channels of a convolution, the
elements of a fully connected layer or of a token; a unit's map holds its values at all places of one image.

*All layers* of a network are the outputs of its non-linearities, found by watching one pass: modules, functions (which
are read at the module that returns their result) and shared modules alike. A function whose result no module returns
is read at the module that made its input, and rectified there. What does not follow the image (a table of relative
positions) or is not laid out by images (windows of all images in one axis) is no layer: a second pass, over two
different images, tells.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xvcore.errors import XvError, unknown_name
from xvcore.ops.elementwise import Elementwise, Shape
from xvcore.ops.receptive_field import FieldMode, ReceptiveField
from xvcore.ops.relu_rules import BackwardRule, Kind

Site = Literal["relu", "pool", "norm"]
"""Where a layer is read: after its non-linearity, after the max-pooling behind it, or after pooling and normalisation;
at the last of these that the layer has and a module returns."""
Forward = Callable[[Tensor], Tensor]
Receiver = Callable[[int, Tensor], None]
"""Takes the number of a layer and its maps, batch × units × places."""
MAX_AXES = 4
"""Axes of the output of a layer: batch, units and at most two of places."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, slots=True)
class UnitLayer:
    """One layer of units.

    Parameters
    ----------
    name : the module, with ``:call`` where it is called several times in one pass
    module : name of the module
    call : which of the module's calls, from 1
    axis : of the units in the module's output
    n_units : number of units
    size : height and width of a unit's map; 1 × 1 for a fully connected layer, tokens × 1 for a transformer
    field : what the places of the map see of the image
    is_rectified : whether the values are to be rectified, since a function does so behind the module
    """

    name: str
    module: str
    call: int
    axis: int
    n_units: int
    size: tuple[int, int]
    field: ReceptiveField
    is_rectified: bool = False

    def maps(self, output: Tensor) -> Tensor:
        """Return the module's output as batch × units × places (one or two axes of places, or none)."""
        maps = output.movedim(self.axis, 1)
        return maps.clamp_min(0) if self.is_rectified else maps


def unit_layers(
    network: nn.Module,
    forward: Forward,
    image: Tensor,
    *,
    names: Sequence[str] | None = None,
    site: Site = "relu",
) -> tuple[UnitLayer, ...]:
    """Return the layers of a network in the order in which it computes them.

    Parameters
    ----------
    network : whose modules are named
    forward : runs the network on images
    image : one image; its size fixes the maps' sizes and receptive fields
    names : layers to return, any module that returns a tensor; None for all non-linearities
    site : where the layers of ``names=None`` are read. The default gives the tightest receptive fields; the paper's
        layers end behind pooling (and normalisation), where the maximum of a map is the same

    Raises
    ------
    UnknownNameError
        A name that is no layer; lists those that are.
    XvError
        No layer at all; or a named one that does not follow the image, is not laid out by images, or whose maps do not
        tell which axis counts the units.
    """
    trace = _traced(network, forward, image)
    layers = trace.nonlinear(site) if names is None else trace.named(names)
    if not layers:
        raise XvError("the network has no non-linearity that could be read: name the layers")
    return tuple(layers)


@torch.no_grad()
def read(network: nn.Module, forward: Forward, images: Tensor, layers: Sequence[UnitLayer], receive: Receiver) -> None:
    """Run the network and hand over the maps of the layers as they come up, before anything can overwrite them."""
    with tapped(network, layers, receive):
        forward(images)


@contextmanager
def tapped(
    network: nn.Module, layers: Sequence[UnitLayer], receive: Receiver, *, is_cut: bool = False
) -> Iterator[None]:
    """Hand over the layers' maps during one pass; the hooks are gone afterwards.

    Parameters
    ----------
    network : to be read
    layers : of this network
    receive : is called with a layer's place in ``layers`` and its maps
    is_cut : whether the pass ends as soon as the last of the layers is handed over

    Raises
    ------
    XvError
        The pass ended without one of the layers.
    """
    wanted = {(layer.module, layer.call): index for index, layer in enumerate(layers)}
    missing, calls = set(wanted.values()), Counter[str]()

    def hear(module_name: str, output: Any) -> None:
        calls[module_name] += 1
        index = wanted.get((module_name, calls[module_name]))
        if index is None:
            return
        receive(index, layers[index].maps(output))
        missing.discard(index)
        if is_cut and not missing:
            raise _Reached

    with _hooked(network, {layer.module for layer in layers}, hear):
        try:
            yield
        except _Reached:
            return
    if missing:
        raise XvError(f"the pass did not reach {', '.join(layers[index].name for index in sorted(missing))}")


class _Reached(Exception):  # noqa: N818 - no error: it ends a pass
    """The last of the layers was read."""


@contextmanager
def _hooked(network: nn.Module, names: set[str] | None, hear: Callable[[str, Any], None]) -> Iterator[None]:
    """Tell of every call of the named modules, of all modules for None."""
    known = network.named_modules() if names is None else ((name, network.get_submodule(name)) for name in names)
    handles = []
    try:
        for name, module in known:
            handles.append(module.register_forward_hook(lambda *call, name=name: hear(name, call[2])))
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True, eq=False, slots=True)
class _Output:
    """What a call of a module returned."""

    module: str
    call: int
    tensor: Tensor
    is_linear: bool


@dataclass(frozen=True, slots=True)
class _PairOutput:
    """What a call of a module returned for two images: its shape, and whether it is equal for both."""

    shape: tuple[int, ...]
    is_equal: bool


@torch.no_grad()
def _of_pair(network: nn.Module, forward: Forward, image: Tensor) -> dict[tuple[str, int], _PairOutput]:
    """Return the outputs of each module and call in a pass over two different images."""
    calls, found = Counter[str](), dict[tuple[str, int], _PairOutput]()

    def hear(name: str, output: Any) -> None:
        calls[name] += 1
        if isinstance(output, Tensor) and output.ndim > 1:
            is_equal = len(output) == 2 and torch.equal(output[0], output[1])
            found[name, calls[name]] = _PairOutput(tuple(output.shape), is_equal)

    drawn = torch.rand((2, *image.shape[1:]), generator=torch.Generator().manual_seed(0))
    with _hooked(network, None, hear):
        forward(drawn.to(image))
    return found


def _traced(network: nn.Module, forward: Forward, image: Tensor) -> "_Trace":
    modules = dict(network.named_modules())
    trace = _Trace(FieldMode(image), _of_pair(network, forward, image))

    def hear(name: str, output: Any) -> None:
        trace.calls[name] += 1
        if isinstance(output, Tensor) and output.ndim > 1:
            is_linear = isinstance(modules[name], nn.Linear)
            trace.outputs.append(_Output(name, trace.calls[name], output, is_linear))

    # The rule's mode makes in-place calls out of place, so that every result is a tensor of its own.
    followed = Elementwise(image, trace.note_by_hand)

    def note(kind: Kind, signal: Tensor, result: Tensor) -> None:
        trace.note(kind, signal, result)
        followed.recognise(signal, result)

    mode = BackwardRule("gradient").applied(note, followed.quiet)
    with torch.no_grad(), _hooked(network, None, hear), mode, _JoinMode(trace.joins), trace.fields, followed:
        forward(image)
    return trace


class _JoinMode(TorchFunctionMode):
    """Notes what is concatenated to what."""

    def __init__(self, joins: list[tuple[list[Tensor], Tensor]]) -> None:
        super().__init__()
        self._joins = joins

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.cat, torch.concat, torch.concatenate):
            self._joins.append((list((kwargs or {}).get("tensors", args[0] if args else ())), result))
        return result


class _Trace:
    """What one pass did: every module's outputs, every non-linear call, every concatenation."""

    def __init__(self, fields: FieldMode, of_pair: dict[tuple[str, int], _PairOutput]) -> None:
        self.fields = fields
        self._of_pair = of_pair
        self.calls: Counter[str] = Counter()
        self.outputs: list[_Output] = []
        self.events: list[tuple[Kind, Tensor, Tensor]] = []
        self.joins: list[tuple[list[Tensor], Tensor]] = []

    def note(self, kind: Kind, signal: Tensor, result: Tensor) -> None:
        self.events.append((kind, signal, result))

    def note_by_hand(self, shape: Shape, _operators: str, signal: Tensor, result: Tensor) -> None:
        if shape != "gate":
            self.events.append((shape, signal, result))

    def named(self, names: Sequence[str]) -> list[UnitLayer]:
        """Return layers by name."""
        known = {self._name(output): output for output in self.outputs}
        layers = []
        for name in names:
            if name not in known:
                raise unknown_name("layer", name, known)
            output = known[name]
            if reason := self._why_not(output):
                raise XvError(f"layer {name} {reason}; name the layer before or behind it")
            layers.append(self._layer(output))
        return layers

    def _why_not(self, output: _Output, *, is_linear: bool = False) -> str | None:
        """Return why an output is no layer of units, or None."""
        tensor, of_pair = output.tensor, self._of_pair.get((output.module, output.call))
        if of_pair is None or tensor.shape[0] != 1 or of_pair.shape != (2, *tensor.shape[1:]):
            seen = _spelt(of_pair.shape) if of_pair else "nothing"
            return f"returns {_spelt(tensor.shape)} for one image and {seen} for two: its first axis must count images"
        if of_pair.is_equal and not self.fields.is_followed(tensor):
            return "returns the same for any two images: it does not follow the image"
        shape = _spelt(tensor.shape[1:])
        if tensor.ndim > MAX_AXES:
            return f"returns {shape} for an image: expected units and at most two axes of places"
        is_told = is_linear or output.is_linear or self._channels(output) is not None
        if tensor.ndim == MAX_AXES and not is_told:
            return f"returns {shape} for an image: it cannot be told which of the axes counts its units"
        return None

    def nonlinear(self, site: Site) -> list[UnitLayer]:
        """Return the layers of all non-linearities that can be read."""
        by_tensor: dict[int, _Output] = {}
        for output in self.outputs:
            by_tensor.setdefault(id(output.tensor), output)  # the innermost module comes first
        found: dict[str, UnitLayer] = {}
        left_out: dict[str, str] = {}
        for kind, signal, result in self.events:
            if kind not in ("rectifier", "activation"):
                continue
            after, before = by_tensor.get(id(result)), by_tensor.get(id(signal))
            is_linear = before is not None and before.is_linear
            if after is not None:
                place = self._at_site(after, site, by_tensor)
            elif before is not None and kind == "rectifier":
                place = before
            else:
                logger.warning("a %s of shape %s is returned by no module: left out", kind, tuple(result.shape))
                continue
            if reason := self._why_not(place, is_linear=is_linear):
                left_out.setdefault(self._name(place), reason)
                continue
            layer = self._layer(place, is_linear=is_linear, is_rectified=after is None)
            found.setdefault(layer.name, layer)
        if left_out:
            name, reason = next(iter(left_out.items()))
            more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
            logger.warning("left out of the layers of units: %s %s%s", name, reason, more)
        return list(found.values())

    def _at_site(self, output: _Output, site: Site, by_tensor: dict[int, _Output]) -> _Output:
        """Return the output behind pooling or normalisation that stands for a non-linearity's."""
        place, tensor = output, output.tensor
        while site != "relu":
            step = self._behind(tensor)
            if step is None:
                break
            kind, tensor = step
            if id(tensor) in by_tensor and (kind == "max_pool" or site == "norm"):
                place = by_tensor[id(tensor)]
        return place

    def _behind(self, tensor: Tensor) -> tuple[Kind, Tensor] | None:
        """Return the normalisation or the shrinking max-pooling that takes a tensor, alone or concatenated."""
        taken = [tensor, *(result for parts, result in self.joins if any(each is tensor for each in parts))]
        for kind, signal, result in self.events:
            is_next = kind == "norm" or (kind == "max_pool" and result.shape[-1] < signal.shape[-1])
            if is_next and any(signal is each for each in taken):
                return kind, result
        return None

    def _name(self, output: _Output) -> str:
        return output.module if self.calls[output.module] == 1 else f"{output.module}:{output.call}"

    def _layer(self, output: _Output, *, is_linear: bool = False, is_rectified: bool = False) -> UnitLayer:
        tensor = output.tensor
        channels = self._channels(output) if tensor.ndim > 2 else None
        if channels is not None:
            axis = channels
        else:
            axis = tensor.ndim - 1 if tensor.ndim == 3 or is_linear or output.is_linear else 1
        places = [n for dim, n in enumerate(tensor.shape) if dim not in (0, axis)]
        size = (places[0] if places else 1, places[1] if len(places) > 1 else 1)
        return UnitLayer(
            self._name(output),
            output.module,
            output.call,
            axis,
            tensor.shape[axis],
            size,
            self._field(tensor, size),
            is_rectified,
        )

    def _channels(self, output: _Output) -> int | None:
        """Return the axis of the units of maps: what the image's rows and columns leave, or what made them tells."""
        tensor = output.tensor
        followed = {self.fields.axis_of(tensor, name) for name in ("y", "x")} - {None}
        rest = set(range(1, tensor.ndim)) - followed
        if len(followed) == 2 and len(rest) == 1:
            return rest.pop()
        told = self.fields.channels_of(tensor)
        return None if told == 0 or told in followed else told

    def _field(self, tensor: Tensor, size: tuple[int, int]) -> ReceptiveField:
        """Return the field with one entry per place of the map."""
        field = self.fields.of(tensor)
        y, x = (axis if len(axis) == n else axis.spread(n) for axis, n in zip((field.y, field.x), size, strict=True))
        return ReceptiveField(y, x, field.image_px)


def _spelt(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
