"""Every parameter of each method, with the papers' defaults; a digest of them is part of the run id."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TypeVar, runtime_checkable

from xvcore.methods.bagnet_evidence import BagNetEvidence
from xvcore.methods.deconvnet import Deconvnet
from xvcore.methods.sparse_mask import SparseMask
from xvcore.parameters import check, parameter
from xvcore.summaries.top_activations import TopActivations
from xvcore.summaries.top_patches import TopPatches
from xvcore.summaries.visual.clustering import Clustering
from xvcore.summaries.visual.coherence import Coherence
from xvcore.summaries.visual.descriptors import WhitenedHog
from xvcore.summaries.visual.drop import CausalDrop
from xvcore.summaries.visual.proposal_flow import ProposalFlow
from xvcore.summaries.visual.proposals import SelectiveSearch
from xvcore.summaries.visual.pruning import Pruning


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


@dataclass(frozen=True, slots=True)
class VisualSummaries:
    """From the images of a class to its accepted summaries (Godi, Carletti et al., BMVC 2018).

    Each group is a value of the library that can be used on its own; dotted names reach into them:
    ``replaced(VisualSummaries(), {"mask.smooth_steps": "100"})``.
    """

    method: ClassVar[str] = "visual-summaries"
    version: ClassVar[int] = 2
    explains_class: ClassVar[bool] = True
    networks: ClassVar[tuple[str, ...]] = ()

    max_images: int | None = parameter(
        100, "Images of a class that are looked at, the first in sorted order; none = all (paper: 10 to 100)", ge=1
    )
    skip_misclassified: bool = parameter(
        default=True, description="Leave out images whose prediction is not the target (the paper's gate)"
    )
    max_regions: int = parameter(
        2000,
        "Most regions of a class that enter the clustering, the best by redundancy score first; ours: affinity "
        "propagation needs memory that grows with the square",
        ge=2,
    )
    similarity: Literal["full", "top50", "none"] = parameter(
        "full", "Pairs kept in the table: all, those among either region's 50 best, or none"
    )
    seed: int = parameter(0, "Seed of every random choice", ge=0)
    mask: SparseMask = parameter(SparseMask(), "Sparse masks")
    proposals: SelectiveSearch = parameter(SelectiveSearch(), "Region proposals")
    descriptor: WhitenedHog = parameter(WhitenedHog(), "Descriptors of the regions")
    flow: ProposalFlow = parameter(ProposalFlow(), "Matching of regions between images")
    pruning: Pruning = parameter(Pruning(), "Which proposals become regions")
    clustering: Clustering = parameter(Clustering(), "Affinity propagation")
    coherence: Coherence = parameter(Coherence(), "Which clusters become summaries")
    drop: CausalDrop = parameter(CausalDrop(), "What the decision loses without a summary's region")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class PatchEvidence:
    """Class evidence of every patch, and the patches that speak loudest (Brendel & Bethge, ICLR 2019).

    For BagNets, and for every network whose logits are a mean over positions.
    """

    method: ClassVar[str] = "evidence"
    version: ClassVar[int] = 1
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


@dataclass(frozen=True, slots=True)
class TopUnits:
    """What every unit responds to most over whole classes, with its projections (Zeiler & Fergus, ECCV 2014)."""

    method: ClassVar[str] = "top-activations"
    version: ClassVar[int] = 1
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
    contrast: float = parameter(
        0.995, "Share of a projection's values that keep their contrast; the largest are clipped; ours", ge=0.5, le=1
    )
    top: TopActivations = parameter(TopActivations(), "The ranking")
    deconvnet: Deconvnet = parameter(Deconvnet(), "The projections")

    def __post_init__(self) -> None:
        check(self)


SETTINGS: tuple[type[Settings], ...] = (VisualSummaries, PatchEvidence, TopUnits)
"""Of every method that whole classes can be run through."""
