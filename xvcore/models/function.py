"""``module.path:function``: an architecture that a function of the user's own code builds.

Importing a module runs its code, and an address may come from a form that others can fill in. So only modules are
imported that the environment variable :data:`ALLOWED` of the process names, separated by commas:
``XV_ALLOW_MODULES=nets`` allows ``nets`` and all below it.
"""

import importlib
import inspect
import os
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from xvcore.errors import ParameterError, XvError, in_one_line
from xvcore.models.architecture import Architecture
from xvcore.models.classifier import Classifier
from xvcore.models.wrap import layout_of, wrap

ALLOWED = "XV_ALLOW_MODULES"
N_CLASSES = 1000
"""Outputs asked for of a function that needs their number, where nothing tells it."""
_ADDRESS = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")


def is_function(name: str) -> bool:
    """Say whether a name is meant as a function's: it has a colon, which no other name has."""
    return ":" in name


def architecture(name: str) -> Architecture:
    """Return the architecture that a function builds.

    Parameters
    ----------
    name : ``module.path:function``. The function returns a network (``nn.Module``; the preprocessing is then that of
        most ImageNet networks), or a classifier (:func:`xvcore.models.wrap`) which says what it expects and what its
        outputs stand for. It is called with the number of outputs if it takes an argument and one is asked for.

    Raises
    ------
    ParameterError
        No such address, or a module that is not allowed.
    XvError
        A module or function that there is not, or one that returns something else.
    """
    parts = _ADDRESS.fullmatch(name)
    if not parts:
        raise ParameterError(f"model {name!r}: expected module.path:function")
    function = _function(*parts.groups())
    with torch.random.fork_rng(devices=[]):
        network = _called(name, function)
    found = network if isinstance(network, Classifier) else wrap(network, name=name, copy=False)
    return Architecture(
        name,
        lambda n_classes: _network(_called(name, function, n_classes)),
        found.preprocessing,
        found.n_classes,
        layers=found.architecture.layers,
        outputs=found.outputs or (),
        patches=found.architecture.patches,
        has_own_weights=True,
        layout=layout_of(found.network),
    )


def _function(module: str, name: str) -> Callable[..., Any]:
    allowed = [each.strip() for each in os.environ.get(ALLOWED, "").split(",") if each.strip()]
    if not any(module == each or module.startswith(f"{each}.") for each in allowed):
        raise ParameterError(
            f"model {module}:{name} would run the code of module {module}: if that is wanted, set {ALLOWED}={module} "
            f"where it is computed (allowed now: {', '.join(allowed) or 'none'})"
        )
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise XvError(f"model {module}:{name}: {in_one_line(error)}; is its folder on PYTHONPATH?") from error
    if not callable(function):
        raise XvError(f"model {module}:{name} is a {type(function).__name__}: expected a function")
    return function  # type: ignore[no-any-return]


def _called(name: str, function: Callable[..., Any], n_classes: int | None = None) -> nn.Module | Classifier:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    takes = [each for each in inspect.signature(function).parameters.values() if each.kind in kinds]
    needs = [each for each in takes if each.default is each.empty]
    if len(needs) > 1:
        raise XvError(f"model {name} needs {len(needs)} arguments: expected none, or the number of outputs")
    if needs:
        n_classes = n_classes or N_CLASSES
    found = function(n_classes) if takes and n_classes is not None else function()
    if not isinstance(found, nn.Module | Classifier):
        raise XvError(
            f"model {name} returns a {type(found).__name__}: expected an nn.Module, or a Classifier of wrap()"
        )
    return found


def _network(found: nn.Module | Classifier) -> nn.Module:
    return found.network if isinstance(found, Classifier) else found
