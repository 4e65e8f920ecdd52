"""Every parameter, with the paper's defaults; a digest of them is part of the run id."""

from dataclasses import dataclass
from typing import ClassVar

from xvcore.evidence.method.bagnet_evidence import BagNetEvidence
from xvcore.evidence.method.top_patches import TopPatches
from xvcore.parameters import check, parameter


@dataclass(frozen=True, slots=True)
class PatchEvidence:
    """Class evidence of every patch, and the patches that speak loudest (Brendel & Bethge, ICLR 2019).

    For BagNets, and for every network whose logits are a mean over positions.
    """

    method: ClassVar[str] = "evidence"
    version: ClassVar[int] = 2
    explains_class: ClassVar[bool] = True
    networks: ClassVar[tuple[str, ...]] = ()

    max_images: int | None = parameter(
        None, "Images of a class that are looked at, the first in order; none = all", ge=1
    )
    skip_misclassified: bool = parameter(
        default=False, description="Leave out images whose prediction is not the target"
    )
    prediction_too: bool = parameter(
        default=True, description="Keep the map of the predicted output beside that of the class, where they differ"
    )
    seed: int = parameter(0, "Seed of every random choice; there is none yet", ge=0)
    evidence: BagNetEvidence = parameter(BagNetEvidence(), "The maps")
    top_patches: TopPatches = parameter(TopPatches(), "Which patches are kept of each class")

    def __post_init__(self) -> None:
        check(self)
