"""Architectures by the name users type: registered ones, torchvision's, timm's, and functions of the user's own."""

from xvcore.models import function, timm, torchvision
from xvcore.models.architecture import Architecture, architectures


def find(name: str) -> Architecture:
    """Return the architecture of this name.

    Parameters
    ----------
    name : of a registered architecture, a torchvision classifier, or ``timm/NAME``

    Raises
    ------
    UnknownNameError
        Nobody knows it; lists what is near.
    XvError
        A timm name, but timm is not installed; a function that is not allowed, or not to be had.

    Examples
    --------
    >>> from xvcore.models import find
    >>> find("squeezenet1_1").n_classes
    1000
    """
    if name.startswith(timm.PREFIX):
        return timm.architecture(name)
    if function.is_function(name):
        return function.architecture(name)
    if name in architectures:
        return architectures[name]
    if name in torchvision.names():
        return torchvision.architecture(name)
    raise architectures.unknown(name, (*names(), *(timm.names() or [f"{timm.PREFIX}NAME"]), "MODULE:FUNCTION"))


def names() -> list[str]:
    """Return the registered names and torchvision's, sorted; timm's are ``timm/`` and the name timm gives."""
    return sorted({*architectures, *torchvision.names()})
