"""The commands of families: found by the names of modules, so that listing them imports neither torch nor Prefect.

A family's command is a module of :mod:`flows.families`, or the module ``flow`` of a plug-in, which is called as the
plug-in is. It holds ``COMMAND`` (:class:`flows.family.Command`); the first line of its docstring says what it does.
"""

import ast
import importlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from xvcore.errors import XvError, unknown_name
from xvcore.plugins import imported, modules, plugins, problems

if TYPE_CHECKING:
    from flows.family import Command


def names() -> dict[str, str]:
    """Return what each command does, by its name, sorted."""
    return {name: _first_line(name, path.read_text()) for name, (_, path) in _modules().items()}


def command(name: str) -> "Command":
    """Return the command of a name.

    Raises
    ------
    UnknownNameError
        No family has it.
    XvError
        The plug-in that has it cannot be imported.
    """
    known = _modules()
    if name not in known:
        raise unknown_name("command", name, known)
    module = known[name][0]
    plugin = next((each for each in plugins() if module == f"{each.module}.flow"), None)
    if plugin and not imported(plugin, module):
        raise XvError(f"command {name!r} of plug-in {plugin.package}: {problems()[plugin.name]}")
    found: Command = importlib.import_module(module).COMMAND
    return found


def every() -> dict[str, "Command"]:
    """Return all commands by name; a plug-in's that cannot be imported is left out, and the log says why."""
    found = {}
    for name in _modules():
        with suppress(XvError):
            found[name] = command(name)
    return found


def _modules() -> dict[str, tuple[str, Path]]:
    """Return module and file of each command, by its name, sorted; xv's own names are taken."""
    others = {plugin.name: found for plugin in plugins() for found in modules(f"{plugin.module}.flow").items()}
    ours = {module.rpartition(".")[2]: (module, path) for module, path in modules("flows.families.*").items()}
    return dict(sorted({**others, **ours}.items()))


def _first_line(name: str, source: str) -> str:
    try:
        text = ast.get_docstring(ast.parse(source))
    except SyntaxError as error:
        return f"cannot be read: {error}"
    return text.splitlines()[0] if text else name
