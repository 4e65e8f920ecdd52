"""Rectifiers written with comparisons: what is kept of a signal is where it is positive."""

from typing import Any

from torch import Tensor


class Masks:
    """The comparisons of a pass with 0, and the rectifiers that are made of them.

    >>> masks = Masks()
    >>> x = torch.tensor([-1.0, 2.0])
    >>> masks.note(torch.gt, (x, 0), {}, mask := x > 0)
    >>> masks.rectified(torch.where, (mask, x, 0.0), {}) is x
    True
    """

    def __init__(self) -> None:
        self._of: dict[int, tuple[Tensor, Tensor, bool]] = {}

    def note(self, func: Any, args: tuple[Any, ...], named: dict[str, Any], result: Any) -> None:
        """Remember the result if it says where a signal is positive, or where it is not."""
        name = _plain_name(func)
        given = (*args, *named.values())
        if not given or not isinstance(given[0], Tensor) or not isinstance(result, Tensor):
            return
        if name in _SIGNS and len(given) == 2 and given[0].is_floating_point() and is_zero(given[1]):
            self._of[id(result)] = (result, given[0], _SIGNS[name])
        elif name in (*_NOT, *_CASTS) and (known := self._known(given[0])) is not None:
            source, is_positive = known
            self._of[id(result)] = (result, source, is_positive != (name in _NOT))

    def rectified(self, func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Tensor | None:
        """Return the signal of which a call is the rectifier; None for other calls."""
        name = _plain_name(func)
        given = (*args, *named.values())
        if name in _LARGER and len(given) == 2 and all(isinstance(each, Tensor) for each in given):
            return next((one for one, other in (given, given[::-1]) if is_zero(other)), None)
        if name in _TIMES and len(given) == 2:
            return next((one for one, other in (given, given[::-1]) if self._keeps(other, one)), None)
        if name == "where" and len(given) == 3:
            mask, yes, no = (given[1], given[0], given[2]) if func is Tensor.where else given
            if self._keeps(mask, yes) and is_zero(no):
                return yes
            return no if self._keeps(mask, no, is_positive=False) and is_zero(yes) else None
        if name == "masked_fill" and len(given) == 3 and is_zero(given[2]):
            return given[0] if self._keeps(given[1], given[0], is_positive=False) else None
        return None

    def _known(self, mask: Any) -> tuple[Tensor, bool] | None:
        found = self._of.get(id(mask))
        return None if found is None else found[1:]

    def _keeps(self, mask: Any, signal: Any, *, is_positive: bool = True) -> bool:
        """Say whether a mask is true where the signal is positive (or where it is not)."""
        known = self._known(mask)
        return known is not None and known[0] is signal and known[1] == is_positive


def is_zero(value: Any) -> bool:
    """Say whether a number, or a tensor that is not differentiated, is 0 throughout."""
    if isinstance(value, Tensor):
        if value.requires_grad or value.is_meta:
            return False
        return not value.detach().cpu().float().numpy().any()  # not by torch: whoever watches the pass is not to see it
    return isinstance(value, int | float) and value == 0


def _plain_name(func: Any) -> str:
    return str(getattr(func, "__name__", "")).strip("_")


_SIGNS = {"gt": True, "ge": True, "greater": True, "greater_equal": True} | dict.fromkeys(
    ("lt", "le", "less", "less_equal"), False
)
_NOT = ("logical_not", "invert", "bitwise_not")
_CASTS = ("to", "float", "double", "half", "bfloat16", "type", "type_as")
_LARGER = ("maximum", "max", "fmax")
_TIMES = ("mul", "rmul", "imul", "multiply")
