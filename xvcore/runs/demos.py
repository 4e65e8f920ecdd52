"""What the demo shows of a family: small networks on drawn birds, measured against the truth that the drawings know."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from xvcore.registry import Registry
from xvcore.store import Store


@dataclass(frozen=True, slots=True)
class Demo:
    """A family's part of the demo.

    Parameters
    ----------
    networks : architectures that are trained and looked at; all families share those they have in common
    verdict : yields lines that hold what was found against the truth; what it reads is in the store by then
    steps : batches of training of a network where fewer than usual will do
    changes : parameters of the family that are set, beside the number of images
    """

    networks: tuple[str, ...]
    verdict: Callable[[Store], Iterator[str]] = lambda _store: iter(())
    steps: Mapping[str, int] = field(default_factory=dict)
    changes: Mapping[str, str] = field(default_factory=dict)


demos: Registry[Demo] = Registry("demo", "xvcore.*.demo")
"""Of the families that have one, by the method that their settings name."""
