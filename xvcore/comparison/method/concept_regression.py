"""Concept regression (RSVC): how well one network's activations give the concepts of another."""

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso

from xvcore.errors import XvError
from xvcore.parameters import check, parameter

Activations = Float[np.ndarray, "_patches _units"]
Coefficients = Float[np.ndarray, "_patches concepts"]


@dataclass(frozen=True, slots=True)
class ConceptRegression:
    """Concepts of network A by non-negative matrix factorisation, predicted from activations of network B [1]_.

    The activations of patches of a class's images are A ≈ U W with U, W >= 0; a lasso takes B's activations to each
    column of U, both standardised on the training patches. The score of a concept is Pearson's correlation of U with
    what was predicted for patches that the lasso had not seen. Patches of one image are never on both sides (the
    published folds do not look at the image). Told beside it: the same from A's own activations.

    References
    ----------
    .. [1] N. Kondapaneni, O. Mac Aodha, P. Perona, Representational Similarity via Interpretable Visual Concepts,
       ICLR 2025.
    """

    n_concepts: int = parameter(10, "Concepts of a class", ge=1)
    alpha: float = parameter(0.1, "Price of the lasso's weights", ge=1e-6)
    n_folds: int = parameter(5, "Divisions of the images into training and test", ge=2)
    max_iter: int = parameter(400, "Most iterations of the factorisation (ours)", ge=1)

    def __post_init__(self) -> None:
        check(self)

    def concepts(self, activations: Activations, *, seed: int = 0) -> Coefficients:
        """Return how much of each concept is in each patch, at least 0; fewer concepts than asked for of few patches.

        Raises
        ------
        XvError
            Activations below 0.
        """
        if activations.min(initial=0) < 0:
            raise XvError(f"activations down to {activations.min():.3g}: a factorisation needs them to be at least 0")
        n_concepts = min(self.n_concepts, *activations.shape)
        factors = NMF(n_concepts, init="nndsvda", max_iter=self.max_iter, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # the coefficients are what is compared, converged or not
            found: Coefficients = factors.fit_transform(np.asarray(activations, np.float64))
        return found

    def scores(
        self, concepts: Coefficients, activations: Activations, images: Int[np.ndarray, " _patches"]
    ) -> Float[np.ndarray, " concepts"]:
        """Return the score of each concept, -1 … 1; 0 where nothing is predicted, NaN where the concept never varies.

        Parameters
        ----------
        concepts : of network A
        activations : of network B (A for the baseline), the same patches
        images : number of each patch's image

        Raises
        ------
        XvError
            Not as many patches, or fewer images than folds.
        """
        if not len(concepts) == len(activations) == len(images):
            raise XvError(f"{len(concepts)} and {len(activations)} patches of {len(images)} images: must be as many")
        _, number = np.unique(images, return_inverse=True)
        if number.max(initial=-1) + 1 < self.n_folds:
            raise XvError(f"patches of {number.max(initial=-1) + 1} images: {self.n_folds} folds need as many")
        predicted = np.zeros_like(concepts)
        for fold in range(self.n_folds):
            is_test = number % self.n_folds == fold
            predicted[is_test] = self._predicted(activations, concepts, is_test)
        return np.array([_pearson(*columns) for columns in zip(concepts.T, predicted.T, strict=True)])

    def _predicted(self, activations: np.ndarray, concepts: np.ndarray, is_test: np.ndarray) -> np.ndarray:
        """Return what is predicted for the test patches, in standardised units."""
        inputs, seen = (_standardised(np.asarray(each, np.float64), ~is_test) for each in (activations, concepts))
        lasso = Lasso(self.alpha, precompute=bool(inputs.shape[1] < (~is_test).sum()), max_iter=2000, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            lasso.fit(inputs[~is_test], seen[~is_test])
        return np.asarray(lasso.predict(inputs[is_test])).reshape(-1, concepts.shape[1])


def _standardised(values: np.ndarray, is_seen: np.ndarray) -> np.ndarray:
    mean, spread = values[is_seen].mean(axis=0), values[is_seen].std(axis=0)
    return np.asarray((values - mean) / np.where(spread > 0, spread, 1.0))


def _pearson(truth: np.ndarray, predicted: np.ndarray) -> float:
    if not truth.std() > 0:
        return float("nan")
    if not predicted.std() > 1e-12:
        return 0.0
    return float(np.corrcoef(truth, predicted)[0, 1])
