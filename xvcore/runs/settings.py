"""What the settings of a family, or of an analysis, have in common; a digest of them is part of the run id."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

from xvcore.parameters import parameter


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


_MAX_IMAGES = "Images of a class that are looked at, the first in order; none = all"


@dataclass(frozen=True)
class ImageSettings:
    """Settings that explain no class: which images are looked at. A family or an analysis adds its own."""

    skip_misclassified: ClassVar[bool] = False
    explains_class: ClassVar[bool] = False
    networks: ClassVar[tuple[str, ...]] = ()

    max_images: int | None = parameter(None, _MAX_IMAGES, ge=1)
    seed: int = parameter(0, "Seed of every random choice", ge=0)


@dataclass(frozen=True)
class ClassSettings:
    """Settings that explain a class by its output: which images are looked at. A family or an analysis adds its own."""

    explains_class: ClassVar[bool] = True
    networks: ClassVar[tuple[str, ...]] = ()

    max_images: int | None = parameter(None, _MAX_IMAGES, ge=1)
    skip_misclassified: bool = parameter(
        default=False, description="Leave out images whose prediction is not the target"
    )
    seed: int = parameter(0, "Seed of every random choice", ge=0)
