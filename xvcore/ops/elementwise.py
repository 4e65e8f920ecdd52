"""What a network computes of single numbers by itself, whatever calls it is written in: activations made by hand.

One pass is followed below the level of calls, where scripted code and functions of one's own look like all others. A
value that is made of another by elementwise operators alone, as ``x * sigmoid(1.702 x)`` of ``x``, is a function of one
number; the same operators are made on a few numbers beside the pass, and the table of that function tells what it is:
a line, a rectifier, or some other activation.

Whoever recognises calls tells (:meth:`Elementwise.recognise`), and what is made of recognised calls one behind another
is no news. What is made of them otherwise is: ``x * relu6(x + 3) / 6`` is no rectifier, though it has one in it.
"""

import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.weak import WeakTensorKeyDictionary

from xvcore.ops.operator_mode import OperatorMode

Shape = Literal["rectifier", "activation", "gate"]
Hear = Callable[[Shape, str, Tensor, Tensor], None]
"""Told of each function made by hand: what it is like, its operators, what went in, what came out."""

GRID = (0.01, 0.1, 0.3, 0.7, 1.0, 2.0, 2.5, 3.5, 5.0, 7.0, 10.0, 20.0)
"""Absolute values of the numbers on which a function is tabulated."""
MANY = 100_000
"""Constants of more elements are not tabulated with: such are positions, which are added."""
NEAR = 1e-4
"""Error of a table, relative, that the rounding of 32 bits explains."""

logger = logging.getLogger(__name__)

_ALSO_POINTWISE = frozenset({"hardswish", "prelu", "_prelu_kernel", "masked_fill", "where", "threshold", "hardsigmoid"})
_COPIES = frozenset({"_to_copy", "clone", "detach", "alias", "lift_fresh"})
_REDUCTIONS = frozenset({
    *("mean", "sum", "var", "var_mean", "std", "linalg_vector_norm", "norm", "amax", "amin"),
    *("avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "adaptive_avg_pool2d"),
})  # fmt: skip
_POWERS = frozenset({"pow", "sqrt", "rsqrt", "reciprocal", "add", "sub", "mul", "div", "clamp", "clamp_min", "maximum"})
_RECTIFIERS = frozenset({"relu", "hardtanh", "threshold"})
_EMPTY = ("_like", "new_")
"""In the names of operators whose result has the shape of what they take, and no more of it."""


@dataclass(eq=False, slots=True)
class _Root:
    """A value that functions are made of."""

    tensor: Any
    is_reduced: bool


@dataclass(frozen=True, eq=False, slots=True)
class _Function:
    """A value as a function of its root.

    Parameters
    ----------
    root : the value it is a function of
    table : its values on the grid, first axis, by the axes of the tensor
    known : table of the last value that is made of recognised calls and lines alone
    is_known : whether this is such a value
    operators : names, in order
    """

    root: _Root
    table: Tensor
    known: Tensor
    is_known: bool = True
    operators: tuple[str, ...] = ()
    heard: list[bool] = field(default_factory=list)


@dataclass(frozen=True, eq=False, slots=True)
class _Stack:
    """Functions of one root, and constants, beside each other along an axis."""

    function: _Function
    axis: int
    tables: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False, slots=True)
class _Call:
    """An operator and what it is given."""

    func: Any
    name: str
    args: tuple[Any, ...]
    named: dict[str, Any]

    def out_of_place(self) -> Any:
        """Return the operator that leaves its input alone."""
        if not self.name.endswith("_"):
            return self.func
        packet = getattr(torch.ops.aten, self.name[:-1], None)
        return getattr(packet, self.func._overloadname, self.func)


class Elementwise(OperatorMode):
    """Follows what is made of the image; tells of functions when something else takes them.

    Parameters
    ----------
    image : what goes in
    hear : is told of functions that were made by hand
    """

    def __init__(self, image: Tensor, hear: Hear) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._hear = hear
        self._is_quiet = False
        self._functions: Any = WeakTensorKeyDictionary()
        self._stacks: Any = WeakTensorKeyDictionary()
        self._memory = {_memory(image)}  # weak: the data goes, and its place is not another tensor's meanwhile

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Take all that is done for one known step, which no function of single numbers is."""
        self._is_quiet, kept = True, self._is_quiet
        try:
            yield
        finally:
            self._is_quiet = kept

    def recognise(self, signal: Tensor, result: Tensor) -> None:
        """Take an elementwise call for known."""
        before, after = self._functions.get(signal), self._functions.get(result)
        if after is None or before is None or before.root is not after.root:
            return
        known = after.table if before.is_known else before.known
        self._functions[result] = replace(after, known=known, is_known=before.is_known)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Make one operator's call."""
        named = kwargs or {}
        name = func._schema.name.rpartition("::")[2]
        taken = [tensor for tensor in _tensors((args, named)) if self._is_followed(tensor)]
        functions = [self._function(tensor) for tensor in taken]
        result = func(*args, **named)
        made = list(_tensors(result))
        if not taken or any(part in name for part in _EMPTY):
            for tensor in made:
                self._memory.discard(_memory(tensor))
            return result
        call = _Call(func, name, args, named)
        function = None
        if not self._is_quiet:
            function = self._made(call, taken, functions, made) or self._largest(call, taken)
            self._masked(call, taken, made)
        if function is None and not self._is_quiet:
            self._taken(name, taken, functions)
            self._stack(call, functions, made)
        for tensor in made:
            self._memory.add(_memory(tensor))
            if not tensor.is_floating_point() and tensor.dtype != torch.bool:
                continue
            self._functions[tensor] = function or self._root(tensor, name, functions)
        return result

    def _is_followed(self, tensor: Tensor) -> bool:
        return tensor in self._functions or _memory(tensor) in self._memory

    def _function(self, tensor: Tensor) -> _Function:
        if tensor not in self._functions:
            self._functions[tensor] = self._root(tensor, "", [])
        found: _Function = self._functions[tensor]
        return found

    def _root(self, tensor: Tensor, name: str, sources: list[_Function]) -> _Function:
        """Return a value as that of which others are functions."""
        is_view = name in ("view", "_unsafe_view", "expand", "squeeze", "unsqueeze", "slice", "select", "permute")
        is_reduced = name in _REDUCTIONS or (is_view and any(each.root.is_reduced for each in sources))
        is_positive = is_reduced and tensor.is_floating_point() and bool((tensor >= 0).all())
        numbers = [0.0, *GRID] if is_positive else [*(-number for number in reversed(GRID)), 0.0, *GRID]
        table = torch.tensor(numbers, dtype=torch.float64, device=tensor.device).view(-1, *[1] * tensor.ndim)
        return _Function(_Root(weakref.ref(tensor), is_reduced), table, table)

    def _made(
        self, call: "_Call", taken: list[Tensor], functions: list[_Function], made: list[Tensor]
    ) -> _Function | None:
        """Return the result as a function of the root of what was taken; None if it is another thing."""
        name = call.name
        if name == "copy_":
            (into, of) = call.args[:2]
            return self._functions.get(of) if isinstance(of, Tensor) and into.shape == of.shape else None
        root = functions[0].root
        is_one = len(made) == 1 and all(each.root is root for each in functions)
        if not is_one or any(tensor.shape != made[0].shape for tensor in taken):
            return None
        if name in _COPIES:
            return functions[0]
        plain = call.out_of_place()
        constants = [
            tensor for tensor in _tensors((call.args, call.named)) if not any(tensor is each for each in taken)
        ]
        is_pointwise = torch.Tag.pointwise in plain.tags or name.rstrip("_") in _ALSO_POINTWISE
        if not is_pointwise or any(each.numel() > MANY or each.ndim > made[0].ndim for each in constants):
            return None
        tables = {id(tensor): function.table for tensor, function in zip(taken, functions, strict=True)}
        try:
            table = plain(*_replaced(call.args, tables), **_replaced(call.named, tables))
        except (RuntimeError, TypeError) as error:
            logger.debug("%s cannot be tabulated: %s", name, error)
            return None
        operators = (*dict.fromkeys(name for each in functions for name in each.operators), name.rstrip("_"))
        before = functions[0] if len(functions) == 1 else None
        known = before.known if before is not None else self._line(functions[0])
        is_known = all(each.is_known for each in functions) and table.is_floating_point() and _is_line(table, known)
        return _Function(root, table, table if is_known else known, is_known, operators)

    def _stack(self, call: "_Call", functions: list[_Function], made: list[Tensor]) -> None:
        """Keep what functions of one root, and constants that are one number, are beside each other."""
        parts = list(_tensors(call.args[:1]))
        if call.name != "stack" or any(each.root is not functions[0].root for each in functions):
            return
        tables = []
        for part in parts:
            function = self._functions.get(part)
            if function is None and part.amin() != part.amax():
                return
            constant = part.double().flatten()[0].expand_as(functions[0].table)
            tables.append(constant if function is None else function.table)
        axis = call.args[1] if len(call.args) > 1 else 0
        self._stacks[made[0]] = _Stack(functions[0], axis % made[0].ndim, tuple(tables))

    def _largest(self, call: "_Call", taken: list[Tensor]) -> _Function | None:
        """Return the largest of values that are beside each other, as a function of what these are functions of."""
        stack = self._stacks.get(taken[0])
        if call.name not in ("max", "amax") or stack is None or len(call.args) != 2:
            return None
        axes = call.args[1] if isinstance(call.args[1], list | tuple) else [call.args[1]]
        if [axis % taken[0].ndim for axis in axes] != [stack.axis]:
            return None
        function, table = stack.function, torch.stack(stack.tables).amax(0)
        is_known = function.is_known and _is_line(table, function.known)
        operators = (*function.operators, "stack", call.name)
        return _Function(function.root, table, table if is_known else function.known, is_known, operators)

    def _masked(self, call: "_Call", taken: list[Tensor], made: list[Tensor]) -> None:
        """Tell of a rectifier whose mask was made outside of torch, and comes as a constant."""
        if call.name.rstrip("_") not in ("mul", "where", "masked_fill") or len(taken) != 1 or len(made) != 1:
            return
        (signal,), (result,) = taken, made
        others = [each for each in _tensors(call.args) if each is not signal and each.shape == result.shape]
        is_like = others and signal.is_floating_point() and signal.shape == result.shape and (signal < 0).any()
        if is_like and torch.equal(result, signal.clamp(min=0)):
            self._hear("rectifier", f"{call.name} of a mask", signal, result)

    def _line(self, function: _Function) -> Tensor:
        """Return the table of the root itself."""
        values = function.table.new_tensor([0.0, *GRID], dtype=torch.float64)
        both = torch.cat([-values[1:].flip(0), values])
        return (values if len(function.table) == len(values) else both).view(-1, *[1] * (function.table.ndim - 1))

    def _taken(self, name: str, taken: list[Tensor], functions: list[_Function]) -> None:
        """Tell of functions made by hand that something else takes."""
        for tensor, function in zip(taken, functions, strict=True):
            is_product = name in ("mul", "mul_") and len({id(each.root) for each in functions}) > 1
            shape = _shape_of(function, name, is_product=is_product)
            if shape is not None and not function.heard:
                function.heard.append(True)
                root = function.root.tensor()
                self._hear(shape, " of ".join(reversed(function.operators)), tensor if root is None else root, tensor)


def _shape_of(function: _Function, taker: str, *, is_product: bool) -> Shape | None:
    """Return what a value is that something takes, None for what is well known or no activation."""
    table, known = function.table.double(), function.known
    if function.is_known:
        # relu6(x + 3) / 6 is a gate where it scales another signal.
        is_step = not {"clamp", "hardtanh"}.isdisjoint(function.operators)
        is_unit = is_step and bool(((table.amin(0) == 0) & ((table.amax(0) - 1).abs() <= NEAR)).all())
        return "gate" if is_unit and is_product else None
    if _is_line(table, known):
        return None
    slopes, is_told = _slopes(table, known)
    if _is_rectifier(slopes, is_told):
        return "rectifier"
    names = set(function.operators) - _RECTIFIERS
    is_even = len(table) == 2 * len(GRID) + 1 and bool(((table - table.flip(0)).abs() <= NEAR * table.abs()).all())
    if is_even and "abs" in function.operators and taker not in _REDUCTIONS:
        return "activation"  # whose sizes nobody adds up
    is_power = names <= _POWERS and (function.root.is_reduced or ("pow" in names and taker in _REDUCTIONS))
    return None if is_even or is_power else "activation"


def _is_line(table: Tensor, known: Tensor) -> bool:
    slopes, is_told = _slopes(table.double(), known)
    if not len(slopes):
        return True
    steepest = slopes.gather(0, torch.where(is_told, slopes.abs(), -1).argmax(0, keepdim=True))
    return bool((((slopes - steepest).abs() <= NEAR * steepest.abs()) | ~is_told).all())


def _slopes(table: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much the table rises as the known one does, from number to number, and where that can be told."""
    rise, run = table.diff(dim=0), known.double().diff(dim=0)
    is_told = (run != 0) & rise.isfinite()
    slopes = torch.where(is_told, rise, 0) / torch.where(run != 0, run, 1)
    # What rises where the known one is flat is no function of it.
    is_jump = (run == 0) & (rise.abs() > NEAR * table.abs().amax(0))
    slopes = torch.where(is_jump, slopes.new_tensor(torch.finfo(slopes.dtype).max ** 0.5), slopes)
    return slopes, is_told | is_jump | ~rise.isfinite()


def _is_rectifier(slopes: Tensor, is_told: Tensor) -> bool:
    """Say whether a function is flat on one side, and straight between its one or two kinks."""
    flat = slopes.flatten(1)
    size = flat.abs().amax(0)
    is_flat, steepest = flat.abs() <= NEAR * size, flat.gather(0, flat.abs().argmax(0, keepdim=True))
    is_straight = (flat - steepest).abs() <= NEAR * size
    n_other = (~is_flat & ~is_straight).sum(0)
    is_like = (is_flat[0] | is_flat[-1]) & (n_other <= 2) & (is_straight.sum(0) >= 2) & (size > 0)
    return bool(is_like.any()) and bool(is_told.any())


def _memory(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _replaced(value: Any, tables: dict[int, Tensor]) -> Any:
    """Return arguments with tables in the place of the tensors that they are of."""
    if isinstance(value, Tensor):
        constant = value.double() if value.is_floating_point() else value
        return tables.get(id(value), constant)
    if isinstance(value, list | tuple):
        return type(value)(_replaced(each, tables) for each in value)
    if isinstance(value, dict):
        return {key: _replaced(each, tables) for key, each in value.items()}
    return value
