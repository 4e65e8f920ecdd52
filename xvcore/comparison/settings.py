"""Every parameter of a comparison; a digest of them, of the networks and of what is compared is part of the run id."""

from dataclasses import dataclass
from typing import ClassVar

from xvcore.comparison.method.concept_regression import ConceptRegression
from xvcore.comparison.method.deletion import Deletion
from xvcore.comparison.method.matching import Matching
from xvcore.comparison.method.probe import Probe
from xvcore.comparison.method.verdict import Judge
from xvcore.errors import ParameterError
from xvcore.parameters import check, parameter
from xvcore.visual_summaries.settings import VisualSummaries


@dataclass(frozen=True, slots=True)
class Comparison:
    """Which parts of a class one network uses and another misses, of two networks or more.

    One run compares all its networks, each with each other one: the first by name is the run's own, the others are
    ``others``. It stands on their visual summaries, which must be in the store.
    """

    method: ClassVar[str] = "comparison"
    version: ClassVar[int] = 100 * VisualSummaries.version + 2
    """Of the summaries' version and its own: numbers move with either."""
    explains_class: ClassVar[bool] = True
    max_images: ClassVar[int | None] = None
    skip_misclassified: ClassVar[bool] = False

    others: tuple[str, ...] = parameter((), "Addresses of the other networks; the command makes it of its --model")
    summaries: str = parameter(
        "", "Which visual summaries: their params_hash in runs; empty: the only ones that all the networks have"
    )
    seeds: tuple[str, ...] = parameter(
        (), "Networks that differ by their seed alone, names joined by + (wide_a+wide_b): the null of other seeds"
    )
    depths: tuple[float, ...] = parameter(
        (0.5, 1.0), "Layers whose activations are compared, as shares of the network's depth; 1: the last", ge=0, le=1
    )
    n_deleted: int = parameter(32, "Images of a part in which its regions are deleted, spread over all", ge=2)
    n_flow: int = parameter(12, "Regions of a part that proposal flow looks at, the best first", ge=2)
    n_grid: int = parameter(9, "Images of a part's shown grid, for BSR", ge=2)
    n_concept_images: int = parameter(50, "Images whose patches give the concepts (paper: 200)", ge=5)
    patch_px: int = parameter(64, "Side of the patches that give the concepts, of inputs of 224 px", ge=8, le=224)
    seed: int = parameter(0, "Seed of every random choice", ge=0)
    matching: Matching = parameter(Matching(), "Which part is which")
    deletion: Deletion = parameter(Deletion(), "What is deleted, and the random regions beside it")
    probe: Probe = parameter(Probe(), "Whether features tell a part")
    judge: Judge = parameter(Judge(), "When a part is shared, could be used, or cannot")
    concepts: ConceptRegression = parameter(ConceptRegression(), "Concepts of one network by activations of another")

    def __post_init__(self) -> None:
        check(self)
        if twice := {name for name in self.others if self.others.count(name) > 1}:
            raise ParameterError(f"others = {','.join(self.others)}: {sorted(twice)[0]} is named twice")
        for group in self.seeds:
            if len(set(group.split("+"))) < 2:
                raise ParameterError(f"seeds = {group!r}: expected two names or more, joined by +")

    @property
    def networks(self) -> tuple[str, ...]:
        """Addresses of the further networks that decide the numbers."""
        return self.others

    def siblings(self, model: str) -> tuple[str, ...]:
        """Return the networks that differ from one by their seed alone."""
        groups = [group.split("+") for group in self.seeds]
        return tuple(dict.fromkeys(name for group in groups if model in group for name in group if name != model))
