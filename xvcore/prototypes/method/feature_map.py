"""Where in a network its last map is: found by watching one pass, never by names of layers.

The map is the output of the last module, before the layer that makes the logits, that has a place for each part of
the image: rows and columns (convolutions, Swin, MaxViT), or a token each (ViT). Modules that take a map and return
none (a head, a pooling by attention) are not looked into. Which tokens are patches, and which of them lies where, is
found by changing the corners of the input and looking for the token that changes most; tokens of class and registers
answer to none of them.

>>> found = feature_map(classifier)       # doctest: +SKIP
>>> found.maps(classifier.logits, images)  # doctest: +SKIP
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xvcore.errors import UnknownNameError, XvError
from xvcore.models.classifier import Classifier
from xvcore.ops.taps import UnitLayer, tapped, unit_layers
from xvcore.parameters import check, parameter

CORNERS = 32
"""A corner that is changed has one of so many parts of the input's side."""
NO_MAP = (
    "expected a network whose last map has places for the parts of the image: rows and columns (ResNet, DenseNet, "
    "ConvNeXt, SqueezeNet, MobileNet, EfficientNet, Swin, MaxViT, …) or tokens (ViT)"
)
WEIGHTED = frozenset({"conv1d", "conv2d", "conv3d", "linear", "addmm", "mm", "matmul", "rmatmul"})
"""Calls that a layer of weights may be, by name."""
Maps = Float[Tensor, "batch channels rows columns"]


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """The last map of a network: which call of which module returns it, and how it is laid out.

    Parameters
    ----------
    module : dotted name of the module
    call : which of its calls in a pass, from 1
    axis : of the channels in what it returns
    n_channels : number of channels
    rows, columns : of the map
    n_prefix : tokens before those of patches, which are left out; 0 for maps of rows and columns
    is_tokens : whether it returns batch × tokens × channels
    is_rectified : whether a function behind the module rectifies what it returns
    """

    module: str = parameter("", "Dotted name of the module whose output it is")
    call: int = parameter(1, "Which of its calls in a pass", ge=1)
    axis: int = parameter(1, "Axis of the channels", ge=1, le=3)
    n_channels: int = parameter(1, "Channels", ge=1, le=1_000_000)
    rows: int = parameter(1, "Rows", ge=1, le=100_000)
    columns: int = parameter(1, "Columns", ge=1, le=100_000)
    n_prefix: int = parameter(0, "Tokens before those of patches", ge=0, le=100_000)
    is_tokens: bool = parameter(default=False, description="Tokens, not rows and columns")
    is_rectified: bool = parameter(default=False, description="A function behind the module rectifies it")

    def __post_init__(self) -> None:
        check(self)

    def laid_out(self, output: Tensor) -> Maps:
        """Return the module's output as batch × channels × rows × columns, in memory of its own."""
        if self.is_tokens:
            tokens = output.movedim(self.axis, 2)[:, self.n_prefix : self.n_prefix + self.rows * self.columns]
            maps: Tensor = tokens.transpose(1, 2).unflatten(2, (self.rows, self.columns))
        else:
            maps = output.movedim(self.axis, 1)
        return maps.clamp_min(0) if self.is_rectified else maps.clone()

    @contextmanager
    def heard(self, network: nn.Module) -> Iterator[list[Maps]]:
        """Fill a list with the map of each pass of the network within; the hook is gone afterwards."""
        found: list[Maps] = []
        n_calls = 0

        def hear(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            nonlocal n_calls
            n_calls += 1
            if n_calls == self.call:
                found.append(self.laid_out(output))

        handle = network.get_submodule(self.module).register_forward_hook(hear)
        try:
            yield found
        finally:
            handle.remove()

    def maps(self, network: nn.Module, forward: Callable[[Tensor], Any], images: Tensor) -> tuple[Maps, Any]:
        """Return the map of images, and what ``forward``, which runs the network, returns of them.

        Raises
        ------
        XvError
            The pass did not come by the module.
        """
        with self.heard(network) as found:
            result = forward(images)
        if not found:
            raise XvError(f"the pass did not reach {self.module}, call {self.call}")
        return found[-1], result

    def boxes(self, height: int, width: int) -> Float[Tensor, "rows columns 4"]:
        """Return x, y, w, h in pixels of the cell of each position: the input cut into as many equal parts.

        A cell is where a position lies, not what it saw of the image.
        """
        h, w = height / self.rows, width / self.columns
        boxes = torch.empty(self.rows, self.columns, 4)
        boxes[..., 0] = torch.arange(self.columns) * w
        boxes[..., 1] = (torch.arange(self.rows) * h)[:, None]
        boxes[..., 2], boxes[..., 3] = w, h
        return boxes


def feature_map(classifier: Classifier) -> FeatureMap:
    """Return the last map of a classifier.

    Raises
    ------
    XvError
        It has none, or its axes or tokens cannot be told.
    """
    height, width = classifier.preprocessing.input_px
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)).to(classifier.device)
    trace = _Trace()
    with torch.no_grad(), _followed(classifier.network, trace), trace:
        classifier.logits(image)
    maps = (each for each in reversed(trace.calls) if each.end < trace.last and each.may_be_map)
    call = next((each for each in maps if not trace.is_in_head(each)), None)
    if call is None:
        raise XvError(f"{classifier.name} has no map: nothing before its logits keeps places apart: {NO_MAP}")
    try:
        return _tokens(classifier, image, call) if len(call.shape) == 3 else _plane(classifier, image, call)
    except XvError as error:
        raise XvError(f"{classifier.name} has no map that can be read: {error}: {NO_MAP}") from error


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of a module that returned a tensor.

    Parameters
    ----------
    name : of the module
    number : which of its calls, from 1
    shape : of what it returned
    start, end : places among all that happened
    n_before : layers of weights that had been run when it began
    """

    name: str
    number: int
    shape: tuple[int, ...]
    start: int
    end: int
    n_before: int

    @property
    def may_be_map(self) -> bool:
        """Whether it has the axes of a map of more than one place."""
        if len(self.shape) == 4:
            return sum(side > 1 for side in self.shape[1:]) > 1
        return len(self.shape) == 3 and self.shape[1] > 1


class _Trace(TorchFunctionMode):
    """What happens in a pass: calls of modules in the order in which they end, and when layers of weights are run."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []
        self.last = -1
        self.n_calls: Counter[str] = Counter()
        self._clock = self._n_weighted = 0
        self._open: list[tuple[int, int]] = []

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "").strip("_") in WEIGHTED:
            self.last = self._now()
            self._n_weighted += 1
        return func(*args, **(kwargs or {}))

    def begin(self) -> None:
        self._open.append((self._now(), self._n_weighted))

    def end(self, name: str, output: Any) -> None:
        start, n_before = self._open.pop()
        self.n_calls[name] += 1
        if isinstance(output, Tensor):
            self.calls.append(_Call(name, self.n_calls[name], tuple(output.shape), start, self._now(), n_before))

    def is_in_head(self, call: _Call) -> bool:
        """Say whether a call lies within one that began behind the first layer of weights and returned no map.

        What surrounds the whole network begins before that.
        """
        return any(
            each.start < call.start and each.end > call.end and each.n_before > 0 and not each.may_be_map
            for each in self.calls
        )

    def _now(self) -> int:
        self._clock += 1
        return self._clock


@contextmanager
def _followed(network: nn.Module, trace: _Trace) -> Iterator[None]:
    """Tell the trace of every call of a module; the hooks are gone afterwards."""
    handles = []
    try:
        for name, module in network.named_modules():
            if name:
                handles.append(module.register_forward_pre_hook(lambda *_: trace.begin()))
                handles.append(module.register_forward_hook(lambda *call, name=name: trace.end(name, call[2])))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _plane(classifier: Classifier, image: Tensor, call: _Call) -> FeatureMap:
    """Return a map of rows and columns."""
    layer = unit_layer(classifier, image, call.name, call.number)
    rows, columns = layer.size
    if rows * columns < 2:
        raise XvError(f"{call.name} returns a map of a single place")
    try:
        layers = unit_layers(classifier.network, classifier.logits, image)
    except XvError:
        layers = ()  # it has no non-linearity, so none that rectifies the map
    rectified = [
        each
        for each in layers
        if each.is_rectified and f"{each.module}.".startswith(f"{call.name}.") and each.size == layer.size
    ]
    is_rectified = bool(rectified) and _are_equal(classifier, image, (layer, rectified[-1]))
    return FeatureMap(call.name, call.number, layer.axis, layer.n_units, rows, columns, is_rectified=is_rectified)


def _are_equal(classifier: Classifier, image: Tensor, layers: tuple[UnitLayer, UnitLayer]) -> bool:
    """Say whether the second layer is the first one, rectified."""
    found: dict[int, Tensor] = {}
    with tapped(classifier.network, layers, lambda index, maps: found.update({index: maps.clone()})), torch.no_grad():
        classifier.logits(image)
    return torch.equal(found[0].clamp_min(0), found[1])


def unit_layer(classifier: Classifier, image: Tensor, module: str, call: int) -> UnitLayer:
    """Return the layer that a call of a module is, with its receptive fields.

    Raises
    ------
    XvError
        There is none, or the axis of its units cannot be told.
    """
    names = (module, f"{module}:{call}")
    for name in names:
        try:
            (layer,) = unit_layers(classifier.network, classifier.logits, image, names=[name])
        except UnknownNameError:
            continue
        if layer.call == call:
            return layer
    raise XvError(f"layer {names[-1]} does not run")


def _tokens(classifier: Classifier, image: Tensor, call: _Call) -> FeatureMap:
    """Return a map of tokens; the corners of the input tell which of them are patches, and where."""
    first, last = _answers(classifier, image, call.shape[1])
    (upper_left, upper_right), (lower_left, lower_right) = first, last
    columns, n_tokens = upper_right - upper_left + 1, lower_right - upper_left + 1
    rows = n_tokens // columns if columns > 0 else 0
    if min(rows, columns) < 1 or rows * columns != n_tokens or n_tokens < 2 or lower_left != lower_right - columns + 1:
        raise XvError(
            f"the {call.shape[1]} tokens of {call.name} do not lie in rows: the corners of the input answer at "
            f"{upper_left}, {upper_right}, {lower_left}, {lower_right}"
        )
    return FeatureMap(call.name, call.number, 2, call.shape[2], rows, columns, n_prefix=upper_left, is_tokens=True)


def _answers(classifier: Classifier, image: Tensor, n_tokens: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the token that changes most with each corner, where the network has so many tokens for the first time."""
    height, width = image.shape[2:]
    h, w = max(1, height // CORNERS), max(1, width // CORNERS)
    images = image.repeat(5, 1, 1, 1)
    for index, (rows, columns) in enumerate(
        ((slice(None, h), slice(None, w)), (slice(None, h), slice(-w, None)),
         (slice(-h, None), slice(None, w)), (slice(-h, None), slice(-w, None))), start=1,
    ):  # fmt: skip
        images[index, :, rows, columns] = 1 - images[index, :, rows, columns].round()
    seen: list[Tensor] = []

    def hear(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if not seen and isinstance(output, Tensor) and output.ndim == 3 and output.shape[1] == n_tokens:
            seen.append(output.detach().clone())

    handles = [module.register_forward_hook(hear) for module in classifier.network.modules()]
    try:
        with torch.no_grad():
            classifier.logits(images)
    finally:
        for handle in handles:
            handle.remove()
    changes = (seen[0][1:] - seen[0][:1]).abs().sum(dim=2)
    one, two, three, four = changes.argmax(dim=1).tolist()
    return (one, two), (three, four)
