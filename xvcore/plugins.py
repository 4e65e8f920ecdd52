"""Plug-ins: modules of other packages, found through entry points, that add to the registries.

A package names a module, or a package laid out as a family's folder is, under the group ``xv.plugins``::

    [project.entry-points."xv.plugins"]
    my-nets = "my_nets"

The module is imported when the first registry is asked, and registers what it has; of a package, each registry also
imports the modules that it looks for in xv's own folders (``tables``, ``pipeline``, ``pages``, ``demo``, …).

A module of a plug-in that cannot be imported is logged with its reason and listed by :func:`problems`; xv and other
plug-ins go on without it.
"""

import functools
import importlib
import importlib.util
import logging
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from xvcore.errors import in_one_line

logger = logging.getLogger(__name__)

GROUP = "xv.plugins"
_problems: dict[str, tuple[str, str]] = {}
"""Name of the plug-in and reason, by module."""
_at_work: ContextVar[bool] = ContextVar("at_work", default=False)


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plug-in.

    Parameters
    ----------
    name : of the entry point
    module : dotted name of what it names
    package : name and version of the distribution that brings it
    """

    name: str
    module: str
    package: str


@functools.cache
def plugins() -> tuple[Plugin, ...]:
    """Return the plug-ins that are installed, sorted by name; nothing is imported."""
    found = (
        Plugin(each.name, each.module, f"{each.dist.name} {each.dist.version}" if each.dist else "")
        for each in entry_points(group=GROUP)
    )
    return tuple(sorted(set(found), key=lambda each: (each.name, each.module)))


def problems() -> dict[str, str]:
    """Return why modules of plug-ins could not be imported, by the name of the plug-in; of those tried so far."""
    found: dict[str, list[str]] = {}
    for name, reason in _problems.values():
        found.setdefault(name, []).append(reason)
    return {name: "; ".join(reasons) for name, reasons in sorted(found.items())}


def extend(pattern: str) -> None:
    """Import each plug-in, and the modules in it that fit a pattern, e.g. ``"tables"`` or ``"method.*"``.

    Parameters
    ----------
    pattern : below the plug-in; empty: the plug-in alone
    """
    for plugin in plugins():
        if imported(plugin, plugin.module) and pattern:
            for name in modules(f"{plugin.module}.{pattern}"):
                imported(plugin, name)


def modules(pattern: str) -> dict[str, Path]:
    """Return the file of each module that fits a dotted name with ``*`` in it, by name, sorted; nothing is imported.

    Parameters
    ----------
    pattern : ``"xvcore.data.*"``: every module of a package; ``"xvcore.*.tables"``: that module of every folder
    """
    root, _, rest = pattern.partition(".")
    below = rest.replace(".", "/")
    spec = importlib.util.find_spec(root)
    found: dict[str, Path] = {}
    for folder in map(Path, (spec.submodule_search_locations if spec else None) or ()):
        files = {path.with_suffix(""): path for path in folder.glob(f"{below}.py") if path.stem != "__init__"}
        files |= {path.parent: path for path in folder.glob(f"{below}/__init__.py")}
        found |= {".".join((root, *name.relative_to(folder).parts)): path for name, path in files.items()}
    return dict(sorted(found.items()))


def imported(plugin: Plugin, module: str) -> bool:
    """Import a module of a plug-in and say whether that went well; what failed once is not tried again."""
    if module in _problems:
        return False
    token = _at_work.set(True)
    try:
        importlib.import_module(module)
    except Exception as error:  # noqa: BLE001  other people's code: it is named, and does not take the others down
        reason = f"{module}: {type(error).__name__}: {in_one_line(error)}"
        _problems[module] = (plugin.name, reason)
        logger.warning("plug-in %s (%s) is left out: %s", plugin.name, plugin.package, reason)
        return False
    finally:
        _at_work.reset(token)
    return True


def is_importing() -> bool:
    """Say whether a plug-in is being imported."""
    return _at_work.get()
