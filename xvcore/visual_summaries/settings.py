"""Every parameter, with the paper's defaults; a digest of them is part of the run id."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from xvcore.parameters import check, parameter
from xvcore.visual_summaries.method.clustering import Clustering
from xvcore.visual_summaries.method.coherence import Coherence
from xvcore.visual_summaries.method.descriptors import WhitenedHog
from xvcore.visual_summaries.method.distinct_parts import DistinctParts
from xvcore.visual_summaries.method.drop import CausalDrop
from xvcore.visual_summaries.method.extremal_perturbation import ExtremalPerturbation
from xvcore.visual_summaries.method.joint_drop import JointDrop
from xvcore.visual_summaries.method.proposal_flow import ProposalFlow
from xvcore.visual_summaries.method.proposals import SelectiveSearch
from xvcore.visual_summaries.method.pruning import Pruning
from xvcore.visual_summaries.method.recount import CountInterval
from xvcore.visual_summaries.method.rise import Rise
from xvcore.visual_summaries.method.sparse_mask import SparseMask

MaskMethod = Literal["sparse_mask", "extremal_perturbation", "rise"]
"""Methods whose masks can feed summaries, by the names under which they are registered."""


@dataclass(frozen=True, slots=True)
class VisualSummaries:
    """From the images of a class to its accepted summaries (Godi, Carletti et al., BMVC 2018).

    Each group is a value of the library that can be used on its own; dotted names reach into them:
    ``replaced(VisualSummaries(), {"mask.smooth_steps": "100"})``.
    """

    method: ClassVar[str] = "visual-summaries"
    version: ClassVar[int] = 4
    explains_class: ClassVar[bool] = True
    networks: ClassVar[tuple[str, ...]] = ()

    max_images: int | None = parameter(
        100, "Images of a class that are looked at, the first in sorted order; none = all (paper: 10 to 100)", ge=1
    )
    skip_misclassified: bool = parameter(
        default=True, description="Leave out images whose prediction is not the target (the paper's gate)"
    )
    least_drop: float | None = parameter(
        0.5,
        "Relative drop of the probability from which a mask feeds summaries; none = all masks do (paper); ours: what "
        "leaves the network more than half of its confidence is no evidence of what it looked at",
        le=1,
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
    mask_method: MaskMethod = parameter("sparse_mask", "Method that makes the masks (the paper: sparse masks)")
    mask: SparseMask = parameter(SparseMask(), "Sparse masks, where they are the method")
    extremal: ExtremalPerturbation = parameter(
        ExtremalPerturbation(), "Extremal perturbations, where they are the method"
    )
    rise: Rise = parameter(Rise(), "RISE, where it is the method")
    proposals: SelectiveSearch = parameter(SelectiveSearch(), "Region proposals")
    descriptor: WhitenedHog = parameter(WhitenedHog(), "Descriptors of the regions")
    flow: ProposalFlow = parameter(ProposalFlow(), "Matching of regions between images")
    pruning: Pruning = parameter(Pruning(), "Which proposals become regions")
    clustering: Clustering = parameter(Clustering(), "Affinity propagation")
    coherence: Coherence = parameter(Coherence(), "Which clusters become summaries")
    drop: CausalDrop = parameter(CausalDrop(), "What the decision loses without a summary's region")
    joint_drop: JointDrop = parameter(JointDrop(), "What it loses without several, against random regions")
    distinct_parts: DistinctParts = parameter(DistinctParts(), "Which summaries lie on the same part")
    count_interval: CountInterval = parameter(CountInterval(), "How sure the numbers of summaries and parts are")

    def __post_init__(self) -> None:
        check(self)
