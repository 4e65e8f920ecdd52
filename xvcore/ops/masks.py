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
        pairs = (given, given[::-1])
        found: list[Tensor | None] = []
        if name in _LARGER and len(given) == 2 and all(isinstance(each, Tensor) for each in given):
            found = [one for one, other in pairs if is_zero(other)]
        elif name in _TIMES and len(given) == 2:
            found = [self._kept(other, one) for one, other in pairs]
        elif name == "where" and len(given) == 3:
            mask, yes, no = (given[1], given[0], given[2]) if func is Tensor.where else given
            found = [self._kept(mask, yes)] if is_zero(no) else []
            found += [self._kept(mask, no, is_positive=False)] if is_zero(yes) else []
        elif name == "masked_fill" and len(given) == 3 and is_zero(given[2]):
            found = [self._kept(given[1], given[0], is_positive=False)]
        return next((each for each in found if each is not None), None)

    def _known(self, mask: Any) -> tuple[Tensor, bool] | None:
        if id(mask) not in self._of:
            return None
        _, source, is_positive = self._of[id(mask)]
        return source, is_positive

    def _kept(self, mask: Any, signal: Any, *, is_positive: bool = True) -> Tensor | None:
        """Return the signal if a mask is true where it is positive (or where it is not)."""
        source, sign = self._known(mask) or (None, False)
        is_own = source is not None and id(source) == id(signal)
        return source if is_own and sign == is_positive else None


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
