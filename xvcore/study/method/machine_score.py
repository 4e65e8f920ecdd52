"""The machine interpretability score: how a judge that sees nothing but similarity answers the 2-AFC task."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from xvcore.parameters import check, parameter


@dataclass(frozen=True, slots=True)
class Score:
    """What a subject got.

    Parameters
    ----------
    mis : mean over tasks of σ(α Δ), in (0, 1); 0.5 is chance
    two_afc : share of tasks with Δ > 0, ties as half: the limit of the score for α → ∞
    n_references : pictures of either side, as many as there were
    """

    mis: float
    two_afc: float
    n_references: int


@dataclass(frozen=True, slots=True)
class MachineScore:
    """MIS (Zimmermann, Klindt, Brendel, NeurIPS 2024).

    Of N tasks each draws K references and a query of either side. With s(q, E) the mean similarity of a query to
    references, Δ = [s(q⁺, E⁺) - s(q⁺, E⁻)] - [s(q⁻, E⁺) - s(q⁻, E⁻)], and MIS = mean of σ(α Δ).
    """

    n_tasks: int = parameter(20, "Tasks of a subject (published: 20)", ge=1)
    n_references: int = parameter(9, "References of either side (published: 9); fewer where a subject has fewer", ge=1)
    alpha: float = parameter(
        6.25,
        "Steepness α. A re-implementation states 0.16, fitted to people's answers; as a factor it would hold every "
        "score of a distance at 0.5, so we read it as 1 / α. two_afc does not depend on it",
        ge=0,
    )
    seed: int = parameter(0, "Seed of the tasks", ge=0)

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, similar: Float[np.ndarray, "pictures pictures"], n_members: int) -> Score:
        """Return the score of a subject.

        Parameters
        ----------
        similar : similarity of each two pictures, higher is more alike; the subject's pictures first
        n_members : how many these are, at least 2, and as many others at least
        """
        n_others = len(similar) - n_members
        n = min(self.n_references, n_members - 1, n_others - 1)
        generator = np.random.default_rng(self.seed)
        deltas = np.empty(self.n_tasks)
        for task in range(self.n_tasks):
            high = generator.permutation(n_members)[: n + 1]
            low = n_members + generator.permutation(n_others)[: n + 1]
            leaning = [similar[query, high[1:]].mean() - similar[query, low[1:]].mean() for query in (high[0], low[0])]
            deltas[task] = leaning[0] - leaning[1]
        mis = 1 / (1 + np.exp(-np.clip(self.alpha * deltas, -500, 500)))
        return Score(float(mis.mean()), float(((deltas > 0) + 0.5 * (deltas == 0)).mean()), n)
