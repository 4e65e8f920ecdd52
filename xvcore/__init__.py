"""What a classifier looks at regularly, over whole classes, and how two networks differ."""

import importlib
from typing import TYPE_CHECKING, Any

from xvcore import version

if TYPE_CHECKING:
    from xvcore.notebook.leaf import leaf
    from xvcore.notebook.show import show

__version__ = version.VERSION
__all__ = ["leaf", "show"]
_WHERE = {"leaf": "xvcore.notebook.leaf", "show": "xvcore.notebook.show"}


def __getattr__(name: str) -> Any:
    """Return what the package exports, imported when it is first asked for: the package alone imports nothing."""
    if name not in _WHERE:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_WHERE[name]), name)
