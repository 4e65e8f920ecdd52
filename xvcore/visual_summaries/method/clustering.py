"""Clustering: affinity propagation of the regions of a class by their similarity."""

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from xvcore.errors import XvError
from xvcore.parameters import check, parameter


@dataclass(frozen=True, slots=True)
class Clusters:
    """Regions by cluster.

    Parameters
    ----------
    labels : cluster of each region; -1 where no cluster was found
    exemplars : index of the region that stands for each cluster, ascending
    n_iter : iterations made; 0 where none was needed
    converged : the exemplars did not change any more before the iterations ran out
    preference : similarity of a region to itself that was used, after the shift; sets how many clusters there are
    """

    labels: Int[Tensor, " regions"]
    exemplars: Int[Tensor, " clusters"]
    n_iter: int
    converged: bool
    preference: float


@dataclass(frozen=True, slots=True)
class Clustering:
    """Affinity propagation [1]_ with the constants of the visual summaries [2]_.

    Similarities are shifted to S - max <= 0; the preference is ``preference_scale`` times their median over **all**
    entries, diagonal and pairs of one image included. The published code takes the maximum over all of S, which is a
    region's similarity to itself. On photographs that is many times what the best pair reaches (12 robins: 272
    against 36), a cluster then costs more than its members can gain, and a class of a few dozen images ends as a single
    cluster. By default the maximum is taken over pairs of different regions, the only entries that the messages use;
    where regions repeat exactly, as drawn ones do, the two hardly differ. After the messages have settled, each cluster
    takes the member with the largest column sum as its exemplar, and regions join the nearest exemplar once more
    (scikit-learn does both, as the authors' code does).

    The similarities are used as they are, not made symmetric: row i, column k says how well k stands for i. Blocks
    of two different images are symmetric by construction, the match of an image with itself is not.

    References
    ----------
    .. [1] B. J. Frey, D. Dueck, Clustering by passing messages between data points, Science 315, 2007.
    .. [2] M. Godi, M. Carletti, M. Aghaei, F. Giuliari, M. Cristani, Understanding Deep Architectures by Visual
       Summaries, BMVC 2018.
    """

    shift: Literal["pairs", "all"] = parameter(
        "pairs", "What the similarities are shifted by: the maximum over pairs of regions (ours), or over all (paper)"
    )
    preference_scale: float = parameter(1.3, "Preference as a multiple of the median; larger: fewer clusters", ge=0)
    damping: float = parameter(0.9, "Share of the old message kept in each iteration", ge=0.5, le=0.999)
    max_iter: int = parameter(1000, "Most iterations", ge=1)
    convergence_iter: int = parameter(100, "Iterations without a change of the exemplars: convergence", ge=1)

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, scores: Float[Tensor, "regions regions"], *, seed: int = 0) -> Clusters:
        """Return the clusters of the regions.

        Where all pairs are equally similar, messages can tell nothing apart: one cluster, or as many as regions where
        the preference is higher than the similarity.

        Parameters
        ----------
        scores : similarity of each pair, any range
        seed : of the noise in the last digits that breaks ties

        Raises
        ------
        XvError
            A similarity is not finite.
        """
        similarity = scores.detach().cpu().numpy().astype(np.float64)
        if not np.isfinite(similarity).all():
            raise XvError(f"{(~np.isfinite(similarity)).sum()} similarities are NaN or infinite; they must be finite")
        n_regions = len(similarity)
        if n_regions == 0:
            return _clusters(np.zeros(0), np.zeros(0), preference=0.0)
        is_pair = ~np.eye(n_regions, dtype=bool)
        if self.shift == "pairs" and n_regions > 1:
            similarity = np.minimum(similarity, similarity[is_pair].max())
        similarity -= similarity.max()
        preference = float(self.preference_scale * np.median(similarity))
        others = similarity[is_pair]
        if not others.size or (others == others[0]).all():
            each_alone = others.size and preference > others[0]
            labels = np.arange(n_regions) if each_alone else np.zeros(n_regions)
            return _clusters(labels, np.unique(labels), preference=preference)
        return self._propagate(similarity, preference, seed)

    def _propagate(self, similarity: np.ndarray, preference: float, seed: int) -> Clusters:
        # Slow to import, with much of SciPy; needed only once the masks of a class are made and matched.
        from sklearn.cluster import AffinityPropagation
        from sklearn.exceptions import ConvergenceWarning

        propagation = AffinityPropagation(
            affinity="precomputed",
            preference=preference,
            damping=self.damping,
            max_iter=self.max_iter,
            convergence_iter=self.convergence_iter,
            copy=False,
            random_state=seed,
        )
        with warnings.catch_warnings():
            # Recorded as `converged` instead.
            warnings.simplefilter("ignore", ConvergenceWarning)
            propagation.fit(similarity)
        n_iter = int(propagation.n_iter_)
        return _clusters(
            propagation.labels_,
            np.asarray(propagation.cluster_centers_indices_),
            n_iter=n_iter,
            converged=n_iter < self.max_iter,
            preference=preference,
        )


def _clusters(
    labels: np.ndarray, exemplars: np.ndarray, *, preference: float, n_iter: int = 0, converged: bool = True
) -> Clusters:
    return Clusters(
        labels=torch.from_numpy(labels.astype(np.int64)),
        exemplars=torch.from_numpy(exemplars.astype(np.int64)),
        n_iter=n_iter,
        converged=converged,
        preference=preference,
    )
