"""Architectures by the name users type: registered ones, torchvision's, timm's."""

from xvcore.errors import unknown_name
from xvcore.models import timm, torchvision
from xvcore.models.architecture import Architecture, architectures


def find(name: str) -> Architecture:
    """Return the architecture of this name.

    Raises
    ------
    UnknownNameError
        Nobody knows it; lists what is near.
    XvError
        A timm name, but timm is not installed.
    """
    if name.startswith(timm.PREFIX):
        return timm.architecture(name)
    if name in architectures:
        return architectures[name]
    if name in torchvision.names():
        return torchvision.architecture(name)
    raise unknown_name("architecture", name, (*names(), f"{timm.PREFIX}NAME"))


def names() -> list[str]:
    """Return the registered names and torchvision's, sorted; timm's are ``timm/`` and the name timm gives."""
    return sorted({*architectures, *torchvision.names()})
