"""What the settings of a family, or of an analysis, have in common; a digest of them is part of the run id."""

from typing import ClassVar, Protocol, TypeVar, runtime_checkable


@runtime_checkable
class Settings(Protocol):
    """The parameters of a method that whole classes can be run through.

    ``method`` names it in tables and run ids; ``version`` is counted up whenever a change of the code moves the
    numbers: old results are then recomputed, not mixed. ``explains_class``: an output of the network has to stand for
    each class; else any images will do.
    """

    method: ClassVar[str]
    version: ClassVar[int]
    explains_class: ClassVar[bool]

    @property
    def max_images(self) -> int | None:
        """Images of a class that are looked at, the first in sorted order; None: all."""
        ...

    @property
    def skip_misclassified(self) -> bool:
        """Whether images whose prediction is not the target are left out."""
        ...

    @property
    def seed(self) -> int:
        """Seed of every random choice."""
        ...

    @property
    def networks(self) -> tuple[str, ...]:
        """Addresses of further networks that decide the numbers; their weights enter the run id."""
        ...


Settings_co = TypeVar("Settings_co", bound=Settings, covariant=True)
