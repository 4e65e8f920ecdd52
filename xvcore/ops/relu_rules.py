"""Deconvnet, guided and plain gradient as one modified backward pass that does not touch the network.

Let ``p`` be the signal that arrives at the output of a rectifier, ``x`` what went into it. Downwards it passes on::

    gradient    p · 1[x > 0]
    deconvnet   max(p, 0)                  rectifies what is reconstructed, whatever the image was [1]_
    guided      max(p, 0) · 1[x > 0]       [2]_

All else is what autograd does anyway: a transposed convolution without bias, batch normalisation as its diagonal
scale, and max-pooling that puts the signal at its switch, the place of the maximum.

A function mode sees every call that the network makes while it runs, hence rectifiers that are modules, functions,
in place, used again, or shared by branches, ReLU6, and those written as ``maximum(x, 0)``, ``where(x > 0, x, 0)`` or
``x * (x > 0)``; hooks on modules miss most of these in silence. What it does not see (scripted code, functions of one's
own, activations put together from operators) :func:`survey` finds by what is computed, and it is refused.

>>> rule = BackwardRule("deconvnet")
>>> with rule.applied() as met:                        # doctest: +SKIP
...     scores = network(images)
>>> met.rectifiers, met.max_pools                      # doctest: +SKIP

References
----------
.. [1] M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
.. [2] J. T. Springenberg, A. Dosovitskiy, T. Brox, M. Riedmiller, "Striving for Simplicity: The All Convolutional Net",
   ICLR workshop 2015.
.. [3] A. Mahendran, A. Vedaldi, "Salient Deconvolutional Networks", ECCV 2016.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xvcore.errors import XvError
from xvcore.ops.elementwise import Elementwise
from xvcore.ops.masks import Masks, is_zero
from xvcore.parameters import check, parameter

Rule = Literal["deconvnet", "guided", "gradient"]
Kind = Literal["rectifier", "activation", "gate", "max_pool", "norm"]
Observer = Callable[[Kind, Tensor, Tensor], None]
"""Told of each call that the mode knows: its kind, what went in, what came out."""
Node = Any
"""Of an autograd graph; those of operators without a derivative are no ``torch.autograd.graph.Node``."""
SAME = 1e-5
"""Relative difference of two pictures below which they are the same but for rounding."""


@dataclass(slots=True)
class Interception:
    """What a pass through a network met, counted by calls.

    Parameters
    ----------
    rectifiers : ReLU, ReLU6 and clamps at 0: where the rule acts
    max_pools : of any kind; without them a deconvnet's picture does not depend on the image
    norms : local response normalisations
    gates : sigmoids and the like, by name, which scale a signal rather than rectify it
    activations : non-linearities for which the rule is not defined, by name
    unseen : what is computed by no call that the mode knows, by its operators: rectifiers that it misses, and
        activations and gates made by hand (found by :func:`survey` alone); sigmoids and the like that scale nothing but
        are the signal themselves
    functions : of ``torch.autograd``, by name, whose backward passes are their own (likewise)
    same : options ``gates`` and ``lrn`` under which two images have the same deconvnet pictures (likewise, tried where
        there is no max-pooling)
    """

    rectifiers: int = 0
    max_pools: int = 0
    norms: int = 0
    gates: Counter[str] = field(default_factory=Counter)
    activations: Counter[str] = field(default_factory=Counter)
    unseen: Counter[str] = field(default_factory=Counter)
    functions: Counter[str] = field(default_factory=Counter)
    same: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class BackwardRule:
    """How a signal passes down through the non-linear layers; ``gradient`` ignores all options but those of pooling.

    Notes
    -----
    The paper states none of the options below. Its layers are read literally: nothing is said of an inverse of the
    contrast normalisation, hence ``lrn="identity"``, as in [3]_; two windows that share a switch add up, as in the
    chain rule; in a window of zeros all places tie, and the first in raster order is taken, as torch does.
    """

    rule: Rule = parameter("deconvnet", "How a rectifier passes a signal down")
    lrn: Literal["identity", "gradient"] = parameter(
        "identity", "How local response normalisation passes a signal down: unchanged, or by its true gradient"
    )
    zero_windows: Literal["first", "drop"] = parameter(
        "first", "Where a pooling window of zeros, in which all places tie, puts its signal: first place, or nowhere"
    )
    overlap: Literal["sum", "overwrite"] = parameter(
        "sum", "Signals of overlapping windows with one switch: their sum, or that of the last window in raster order"
    )
    gates: Literal["constant", "gradient"] = parameter(
        "constant", "Sigmoid gates and softmax weights: constants of the image, or differentiated"
    )
    undefined: Literal["refuse", "clamp"] = parameter(
        "refuse",
        "Activations for which the rule is not defined (GELU, SiLU, hardswish): refuse, or max(p, 0) all the same "
        "(times the derivative for guided), which no paper defines",
    )
    degenerate: Literal["refuse", "allow"] = parameter(
        "refuse", "A deconvnet of a network without max-pooling, whose pictures are the same for every image"
    )

    def __post_init__(self) -> None:
        check(self)

    def applied(
        self, observer: Observer | None = None, quiet: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> "RuleMode":
        """Return a context in which every forward pass records the rule for its backward pass.

        Parameters
        ----------
        observer : is told of every call that the mode knows
        quiet : context in which normalisations are made, for who watches their operators

        Raises
        ------
        XvError
            In the pass: an activation for which the rule is not defined, unless ``undefined="clamp"``; a pooling that
            the options of pooling do not cover.
        """
        return RuleMode(self, observer, quiet)

    def check_fits(self, met: Interception, name: str) -> None:
        """Refuse a network for which the rule has no meaning.

        Parameters
        ----------
        met : what a pass through the whole network met, see :func:`survey`
        name : of the network

        Raises
        ------
        XvError
            Says why, and which option computes something all the same.
        """
        if self.rule == "gradient":
            return
        if met.activations and self.undefined == "refuse":
            raise XvError(
                f"{self.rule} is defined for networks of ReLU and ReLU6 only, {name} has {_counted(met.activations)}: "
                "use the rule 'gradient', or undefined='clamp', which is not standard"
            )
        if met.functions:
            raise XvError(
                f"{self.rule}: {name} has {_counted(met.functions)} of torch.autograd.Function, whose backward pass is "
                "its own and leaves the rule out: write it in plain operators, or use the rule 'gradient'"
            )
        if met.unseen:
            raise XvError(
                f"{self.rule} is defined for networks of ReLU and ReLU6 only, {name} computes {_counted(met.unseen)}: "
                "write rectifiers as torch.relu, activations and gates as torch's own functions, or use the rule "
                "'gradient'"
            )
        if not met.rectifiers and not met.activations:
            raise XvError(f"{self.rule}: no rectifier was met in {name} (a scripted network cannot be looked into)")
        if self.rule == "deconvnet" and (self.gates, self.lrn) in met.same and self.degenerate == "refuse":
            raise XvError(
                f"{name} has no max-pooling: without switches its deconvnet pictures are the same for every image (two "
                "were tried); use the rule 'guided', or degenerate='allow'"
            )


def survey(network: Callable[[Tensor], Tensor], inputs: Tensor) -> Interception:
    """Return what a pass through the network meets; nothing of it changes.

    Parameters
    ----------
    network : in eval mode; its outputs
    inputs : one normalised image is enough
    """
    rule, inputs = BackwardRule("gradient"), inputs.detach().clone()
    followed = Elementwise(inputs, lambda shape, operators, *_: met.unseen.update([f"{_MADE[shape]}: {operators}"]))
    mode = rule.applied(lambda _, *call: followed.recognise(*call), followed.quiet)
    with torch.no_grad(), mode as met, followed:
        network(inputs)
    _differentiate(network, inputs[:1], met)
    return met


@torch.enable_grad()
def _differentiate(network: Callable[[Tensor], Tensor], image: Tensor, met: Interception) -> None:
    """Note what the graphs of passes under the rule tell."""
    ramp = torch.linspace(-2, 2, image.shape[-1], dtype=image.dtype, device=image.device).expand_as(image)
    pair = torch.cat([image, ramp]).detach().requires_grad_()
    with BackwardRule("deconvnet", undefined="clamp").applied():
        outputs = network(pair.clone())
    made_by = (getattr(type(node), "_forward_cls", None) for node in _nodes_of(outputs.grad_fn))
    met.functions.update(each.__name__ for each in made_by if each not in (None, _UpAndDown, _MaxPool))
    if not met.rectifiers or met.max_pools or has_gap(outputs.grad_fn):
        return
    options = [
        BackwardRule("deconvnet", gates=gates, lrn=lrn, undefined="clamp")
        for gates in _GATE_OPTIONS
        for lrn in (_NORM_OPTIONS if met.norms else _NORM_OPTIONS[:1])
    ]
    same = {rule for rule in options if _is_same_for_both(network, pair, rule)}
    met.same = frozenset(
        (rule.gates, lrn) for rule in same for lrn in _NORM_OPTIONS if lrn == rule.lrn or not met.norms
    )


def _is_same_for_both(network: Callable[[Tensor], Tensor], pair: Tensor, rule: BackwardRule) -> bool:
    """Say whether two images have the same pictures: of the outputs, and of all rectifiers together."""
    rectified: list[Tensor] = []
    with rule.applied(lambda kind, _, result: rectified.append(result) if kind == "rectifier" else None):
        outputs = network(pair.clone())
    generator = torch.Generator().manual_seed(0)
    for layers in ([outputs], rectified):
        taken = [layer for layer in layers if layer.requires_grad and len(layer) == len(pair)]
        seeds = [torch.randn(layer[:1].shape, generator=generator).to(layer).expand_as(layer) for layer in taken]
        if taken:
            (pictures,) = torch.autograd.grad(taken, pair, seeds, retain_graph=True, allow_unused=True)
            if pictures is not None and (pictures[0] - pictures[1]).norm() > SAME * pictures.norm():
                return False
    return True


def has_gap(last: Node) -> bool:
    """Say whether an operator of an autograd graph has no derivative in torch, as those of quantised networks."""
    return any("NotImplemented" in node.name() for node in _nodes_of(last))


def _nodes_of(last: Node) -> Iterator[Node]:
    """Return the nodes of an autograd graph, from its end."""
    waiting, seen = [last], {last}
    while waiting:
        node = waiting.pop()
        if node is not None:
            yield node
            fresh = {before for before, _ in node.next_functions} - seen
            seen |= fresh
            waiting += fresh


class RuleMode(TorchFunctionMode):
    """Gives every non-linear call of a forward pass the rule's backward pass; in-place calls are made out of place."""

    def __init__(
        self,
        rule: BackwardRule,
        observer: Observer | None = None,
        quiet: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        super().__init__()
        self._rule = rule
        self._quiet = quiet
        self._observer = observer
        self._masks = Masks()
        self._sigmoids: dict[int, tuple[Tensor, str]] = {}
        self.met = Interception()

    def __enter__(self) -> Interception:
        """Return the counts, which grow while the context lives."""
        super().__enter__()  # type: ignore[no-untyped-call]
        return self.met

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Make one call of the network's."""
        named = dict(kwargs or {})
        if func in _ATTENTIONS:
            return self._attention(func, args, named)
        signal = self._masks.rectified(func, args, named)
        kind: Kind | None = _kind(func, args, named) if signal is None else "rectifier"
        if kind in (None, "max_pool"):
            self._note_signals(func, args)
        if kind is None:
            result = func(*args, **named)
            self._masks.note(func, args, named, result)
            return result
        if signal is not None:
            self.met.rectifiers += 1
            result = self._ruled(F.relu, signal)
        else:
            args = (named.pop("input"), *args) if "input" in named else args
            signal = args[0]
            result = getattr(self, f"_{kind}")(func, signal, args[1:], named)
        if self._observer is not None:
            self._observer(kind, signal, result[0] if isinstance(result, tuple) else result)
        if kind in ("rectifier", "activation") and _is_in_place(func, args, named):
            self._put(result, signal)
        return result

    def _rectifier(self, func: Any, signal: Tensor, rest: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
        self.met.rectifiers += 1
        return self._ruled(_out_of_place(func, rest, named), signal)

    def _put(self, result: Tensor, signal: Tensor) -> None:
        """Let those have the result who hold what went in."""
        if not (signal.is_leaf and signal.requires_grad):  # which cannot be written to, in the plain pass neither
            signal.copy_(result)

    def _activation(self, func: Any, signal: Tensor, rest: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
        name = _plain_name(func)
        self.met.activations[name] += 1
        if self._rule.rule != "gradient" and self._rule.undefined == "refuse":
            raise XvError(
                f"{self._rule.rule} is not defined for {name}: use the rule 'gradient', or undefined='clamp', which is "
                "not standard"
            )
        return self._ruled(_out_of_place(func, rest, named), signal)

    def _ruled(self, function: Callable[[Tensor], Tensor], signal: Tensor) -> Tensor:
        if self._rule.rule == "deconvnet":
            result: Tensor = _UpAndDown.apply(signal, function, _rectified)
            return result
        if self._rule.rule == "guided":
            # A clone, not a view: networks add to it in place.
            result = _UpAndDown.apply(function(signal), torch.clone, _rectified)
            return result
        return function(signal)

    def _note_signals(self, func: Any, args: tuple[Any, ...]) -> None:
        """Count sigmoids and the like that a layer takes: these are activations, and no gates."""
        if not self._sigmoids or not args:
            return
        name = _plain_name(func)
        if name not in _TAKING and name not in _JOINING:
            return
        taken = args[:1] if name in _TAKING else args[0] if isinstance(args[0], list | tuple) else args[:2]
        found = [self._sigmoids[id(each)] for each in taken if id(each) in self._sigmoids]
        # What is joined with another signal is one; joined with its like, or a number, it may still be a gate.
        is_beside = len({each.ndim if isinstance(each, Tensor) else None for each in taken}) == 1
        if name in _TAKING or (is_beside and len(found) < len(taken)):
            self.met.unseen.update(f"{gate} as the signal of {name}" for _, gate in found)

    def _gate(self, func: Any, signal: Tensor, rest: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
        self.met.gates[_plain_name(func)] += 1
        if func is F.glu:
            value, scale = signal.chunk(2, *(rest or (named.get("dim", -1),)))
            return value * self._constant(scale.sigmoid())
        gate = self._constant(func(signal, *rest, **named))
        if func not in _SOFTMAXES:
            self._sigmoids[id(gate)] = gate, _plain_name(func)
        return gate

    def _constant(self, gate: Tensor) -> Tensor:
        is_constant = self._rule.rule != "gradient" and self._rule.gates == "constant"
        return gate.detach() if is_constant else gate

    def _attention(self, func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Make attention in one call; its weights do not depend on what is not differentiated."""
        self.met.gates["softmax"] += 1
        if self._rule.rule == "gradient" or self._rule.gates == "gradient":
            return func(*args, **named)
        asked = [tensor.detach() for tensor in args[:2]]
        named = {name: value.detach() if name in ("query", "key") else value for name, value in named.items()}
        return func(*asked, *args[2:], **named)

    def _norm(self, func: Any, signal: Tensor, rest: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
        self.met.norms += 1
        if self._rule.rule == "gradient" or self._rule.lrn == "gradient":
            with self._quiet():
                normalised: Tensor = func(signal, *rest, **named)
        else:
            normalised = _UpAndDown.apply(signal, partial(_called, func, rest, named), torch.clone)
        return normalised

    def _max_pool(self, func: Any, signal: Tensor, rest: tuple[Any, ...], named: dict[str, Any]) -> Any:
        self.met.max_pools += 1
        if self._rule.zero_windows == "first" and self._rule.overlap == "sum":
            return func(signal, *rest, **named)
        if func not in (F.max_pool2d, torch.max_pool2d):
            raise XvError(
                f"{_plain_name(func)}: zero_windows={self._rule.zero_windows!r} and overlap={self._rule.overlap!r} are "
                "made for max_pool2d only (allowed here: 'first' and 'sum')"
            )
        pool = partial(_pooled, rest, {**named, "return_indices": True})
        pooled: Tensor = _MaxPool.apply(signal, pool, self._rule)[0]
        return pooled


class _UpAndDown(torch.autograd.Function):
    """One function of the input upwards, another of the signal downwards."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, up: Callable[[Tensor], Tensor], _down: Callable[[Tensor], Tensor]) -> Tensor:
        return up(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.down = inputs[2]

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None]:
        return ctx.down(signal), None, None


class _MaxPool(torch.autograd.Function):
    """Max-pooling whose backward pass follows the options of windows of zeros and of shared switches."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        value: Tensor, pool: Callable[[Tensor], tuple[Tensor, Tensor]], _options: BackwardRule
    ) -> tuple[Tensor, Tensor]:
        return pool(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        pooled, switches = output
        ctx.mark_non_differentiable(switches)
        ctx.save_for_backward(pooled, switches)
        ctx.size = inputs[0].shape
        ctx.options = inputs[2]

    @staticmethod
    def backward(ctx: Any, signal: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        pooled, switches = ctx.saved_tensors
        places = switches.reshape(*switches.shape[:-2], -1)
        n_places = ctx.size[-2] * ctx.size[-1]
        if ctx.options.zero_windows == "drop":
            signal = signal * (pooled != 0)
        values = signal.reshape(places.shape)
        if ctx.options.overlap == "overwrite":
            windows = torch.arange(places.shape[-1], device=places.device).expand_as(places)
            nobody = places.new_full((*places.shape[:-1], n_places), -1)
            last = nobody.scatter_reduce(-1, places, windows, "amax")
            values = values * (last.gather(-1, places) == windows)
        empty = values.new_zeros((*values.shape[:-1], n_places))
        return empty.scatter_add(-1, places, values).reshape(ctx.size), None, None


def _rectified(signal: Tensor) -> Tensor:
    return signal.clamp_min(0)


def _called(func: Any, rest: tuple[Any, ...], named: dict[str, Any], signal: Tensor) -> Tensor:
    result: Tensor = func(signal, *rest, **named)
    return result


def _out_of_place(func: Any, rest: tuple[Any, ...], named: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    """Return the activation as a function that leaves its input alone, whatever it was told."""
    if func in _RELU:
        return F.relu
    return lambda signal: _called(func, rest, named, signal.clone())


def _pooled(rest: tuple[Any, ...], named: dict[str, Any], signal: Tensor) -> tuple[Tensor, Tensor]:
    pooled, switches = F.max_pool2d(signal, *rest, **named)
    return pooled, switches


def _kind(func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Kind | None:
    kind = _KINDS.get(func)
    if func in _BOUNDED:
        return kind if _is_rectifier(func, args, named) else _BOUNDED[func]
    return kind


def _is_rectifier(func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Say whether a bounded identity has its lower bound at 0."""
    names = {"min", "min_val", "threshold"}
    low = next((value for name, value in named.items() if name in names), args[1] if len(args) > 1 else None)
    if func in _THRESHOLD:
        value = named.get("value", args[2] if len(args) > 2 else None)
        return low == 0 and value == 0
    if low is None and func in _HARDTANH:
        return False  # the default bounds are -1 and 1
    return is_zero(low)


def _is_in_place(func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> bool:
    name = str(getattr(func, "__name__", ""))
    return (
        bool(named.get("inplace"))
        or any(each is True for each in args)
        or name == "__imul__"
        or (name.endswith("_") and not name.endswith("__"))
    )


def _counted(names: Counter[str]) -> str:
    return ", ".join(f"{count} × {name}" for name, count in sorted(names.items()))


def _plain_name(func: Any) -> str:
    return str(getattr(func, "__name__", func)).strip("_")


_RELU = frozenset({F.relu, torch.relu, torch.relu_, F.relu_, Tensor.relu, Tensor.relu_})
_HARDTANH = frozenset({F.hardtanh, F.hardtanh_})
_THRESHOLD = frozenset({F.threshold, torch.threshold, torch.threshold_})
_CLAMP = frozenset({
    *(torch.clamp, torch.clamp_, Tensor.clamp, Tensor.clamp_, torch.clip, torch.clip_, Tensor.clip, Tensor.clip_),
    *(torch.clamp_min, torch.clamp_min_, Tensor.clamp_min, Tensor.clamp_min_),
})  # fmt: skip
_BOUNDED: dict[Any, Kind | None] = {
    **dict.fromkeys(_CLAMP),
    **dict.fromkeys(_HARDTANH, "activation"),
    **dict.fromkeys(_THRESHOLD, "activation"),
}
"""Identities with bounds: rectifiers where the lower bound is 0, else this kind."""
_ACTIVATIONS = (
    *(F.gelu, F.silu, F.hardswish, F.mish, F.softplus, F.softsign, F.tanhshrink, F.hardshrink, F.softshrink),
    *(F.elu, F.elu_, F.selu, F.selu_, F.celu, F.celu_, F.leaky_relu, F.leaky_relu_, F.rrelu, F.rrelu_, F.prelu),
    *(F.logsigmoid, torch.selu, torch.celu, torch.prelu, torch.rrelu, Tensor.prelu),
)
_GATES = (
    *(F.sigmoid, torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_, F.hardsigmoid),
    *(F.tanh, torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_, torch.special.expit),
    *(F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax, F.glu),
)
_SOFTMAXES = frozenset({F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax})
_TAKING = (
    *("conv1d", "conv2d", "conv3d", "conv_transpose2d", "linear", "batch_norm", "group_norm", "layer_norm", "mean"),
    *("instance_norm", "avg_pool2d", "adaptive_avg_pool2d", "max_pool2d", "adaptive_max_pool2d"),
)
"""Names of layers: what they take first is the signal."""
_JOINING = ("add", "iadd", "radd", "sub", "isub", "cat", "concat")
"""Names of calls whose result is a signal where one of what they take is."""
_ATTENTIONS = frozenset({F.scaled_dot_product_attention, F.multi_head_attention_forward})
_GATE_OPTIONS: tuple[Literal["constant", "gradient"], ...] = ("constant", "gradient")
_NORM_OPTIONS: tuple[Literal["identity", "gradient"], ...] = ("identity", "gradient")
_MADE = {"rectifier": "a rectifier in other words", "activation": "an activation by hand", "gate": "a gate by hand"}
_MAX_POOLS = (
    *(F.max_pool1d, F.max_pool2d, F.max_pool3d, torch.max_pool1d, torch.max_pool2d, torch.max_pool3d),
    *(F.max_pool1d_with_indices, F.max_pool2d_with_indices, F.max_pool3d_with_indices),
    *(F.fractional_max_pool2d_with_indices, F.fractional_max_pool3d_with_indices),
    *(F.adaptive_max_pool1d_with_indices, F.adaptive_max_pool2d_with_indices, F.adaptive_max_pool3d_with_indices),
    *(F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d),
)
_KINDS: dict[Any, Kind] = {
    **dict.fromkeys((*_RELU, F.relu6, *_HARDTANH, *_THRESHOLD, *_CLAMP), "rectifier"),
    **dict.fromkeys(_ACTIVATIONS, "activation"),
    **dict.fromkeys(_GATES, "gate"),
    **dict.fromkeys(_MAX_POOLS, "max_pool"),
    F.local_response_norm: "norm",
}
