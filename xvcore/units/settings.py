"""Every parameter, with the paper's defaults; a digest of them is part of the run id."""

from dataclasses import dataclass
from typing import ClassVar

from xvcore.parameters import check, parameter
from xvcore.units.method.deconvnet import Deconvnet
from xvcore.units.method.top_activations import TopActivations


@dataclass(frozen=True, slots=True)
class TopUnits:
    """What every unit responds to most over whole classes, with its projections (Zeiler & Fergus, ECCV 2014)."""

    method: ClassVar[str] = "top-activations"
    version: ClassVar[int] = 2
    explains_class: ClassVar[bool] = False
    networks: ClassVar[tuple[str, ...]] = ()
    skip_misclassified: ClassVar[bool] = False

    max_images: int | None = parameter(
        None, "Images of a class that are looked at, the first in order; none = all", ge=1
    )
    layers: tuple[str, ...] = parameter((), "Names of layers, as the network's modules are called; none = all")
    seed: int = parameter(0, "Seed of every random choice; there is none", ge=0)
    shown_only: bool = parameter(
        default=False, description="Keep in the table only the activations that are shown, not all that were ranked"
    )
    units_shown: int | None = parameter(
        None, "Units of a layer whose crops and projections are made, the first ones; none = all", ge=0
    )
    picture_px: int | None = parameter(
        112,
        "Longest side of crops and projections in pixels, each the mean of those it covers, as WebP above 32: as much "
        "as the pages show; none = as large as what the unit sees, projections without loss",
        ge=8,
    )
    contrast: float = parameter(
        0.995, "Share of a projection's values that keep their contrast; the largest are clipped; ours", ge=0.5, le=1
    )
    top: TopActivations = parameter(TopActivations(), "The ranking")
    deconvnet: Deconvnet = parameter(Deconvnet(), "The projections")

    def __post_init__(self) -> None:
        check(self)
