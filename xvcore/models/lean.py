"""torchvision without torch's compiler: half of the processor time of a start, for what nothing here compiles.

torchvision 0.29 imports ``torch._dynamo`` for one function, of which its own comment says that it is there to avoid
that. While torchvision is imported a module stands in for it that has this function, and gets the compiler when it is
called, or when anything else is asked for. torch itself imports its compiler where a tensor without memory is drawn:
there :class:`Undrawn` draws nothing.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

COMPILER = "torch._dynamo"
UTILITIES = f"{COMPILER}.utils"
ASKED_LATER = "is_compile_supported"


class _Standin(ModuleType):
    """A module that is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self.__name__ == UTILITIES and name == ASKED_LATER:
            return _is_compile_supported
        _step_aside()
        return getattr(importlib.import_module(self.__name__), name)


def _is_compile_supported(*arguments: Any) -> Any:
    return getattr(importlib.import_module(UTILITIES), ASKED_LATER)(*arguments)


def _step_aside() -> None:
    for name in (COMPILER, UTILITIES):
        if isinstance(sys.modules.get(name), _Standin):
            del sys.modules[name]


@contextmanager
def compiler_later() -> Iterator[None]:
    """Import nothing of torch's compiler while the block runs, unless it is needed or was imported before."""
    if COMPILER not in sys.modules:
        sys.modules.update({name: _Standin(name) for name in (COMPILER, UTILITIES)})
    try:
        yield
    finally:
        _step_aside()


class Undrawn(TorchFunctionMode):
    """Leaves tensors without memory as they are where they would be drawn: there is nothing to be filled."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func in (Tensor.normal_, Tensor.uniform_) or getattr(func, "__module__", None) == nn.init.__name__:
            filled = args[0] if args else named["tensor"]
            if filled.is_meta:
                return filled
        return func(*args, **named)


with compiler_later():
    from torchvision import models

__all__ = ["Undrawn", "compiler_later", "models"]
