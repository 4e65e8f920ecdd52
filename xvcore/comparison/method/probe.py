"""Linear probe: whether a network's features tell that a part is there, whatever it makes of it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from xvcore.errors import XvError
from xvcore.parameters import check, parameter


@dataclass(frozen=True, slots=True)
class Told:
    """How well features tell that a part is there.

    Parameters
    ----------
    accuracy : of the pairs of an image without the part and the same image with it, the share that is put in the right
        order on images the probe was not trained on, 0 … 1; chance is one half
    baseline : mean accuracy of the same probe where the versions of each image trade their labels at random
    p_value : how often such a probe is as accurate
    low, high : interval of the accuracy, by the bootstrap over images; NaN of fewer than two
    n : images
    """

    accuracy: float
    baseline: float
    p_value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Probe:
    """A linear probe between versions of an image: with the part, and without it.

    Each image comes in several versions that all have the part (as it is; with another region of equal size deleted)
    and one that lacks it. A ridge regression on the features, centred image by image, learns the direction in which
    the version without the part differs; on images that it has not seen it must say which version that is. Deleting
    something else of equal size is among the versions *with* the part: a probe that only sees that something was
    deleted stays at chance.
    """

    ridge: float = parameter(
        1.0, "Penalty of the weights, in units of the mean variance of the versions along their directions", ge=1e-6
    )
    n_folds: int = parameter(5, "Divisions of the images into training and test", ge=2)
    n_shuffles: int = parameter(200, "Probes with labels traded at random", ge=20)

    def __post_init__(self) -> None:
        check(self)

    def __call__(
        self,
        without: Float[np.ndarray, "images units"],
        present: Float[np.ndarray, "images versions units"],
        *,
        level: float = 0.95,
        seed: int = 0,
    ) -> Told:
        """Return how well the features tell versions without the part from those with it.

        Parameters
        ----------
        without : features of each image without the part
        present : features of the versions of the same images that have it
        level : of the interval
        seed : of the folds' order, the traded labels and the bootstrap

        Raises
        ------
        XvError
            Fewer images than folds.
        """
        n_images = len(without)
        if n_images < self.n_folds:
            raise XvError(f"{n_images} images: {self.n_folds} folds need as many")
        generator = np.random.default_rng(seed)
        versions = np.concatenate([without[:, None], present], axis=1).astype(np.float64)
        versions -= versions.mean(axis=1, keepdims=True)
        n_versions = versions.shape[1]
        # Which version counts as the one without the part: the true one first, then as the shuffles trade it.
        lacking = np.zeros((1 + self.n_shuffles, n_images), np.intp)
        lacking[1:] = generator.integers(0, n_versions, (self.n_shuffles, n_images))
        fold = generator.permutation(n_images) % self.n_folds
        right = np.empty((len(lacking), n_images))
        for number in range(self.n_folds):
            right[:, fold == number] = self._right(versions, lacking, fold == number)
        accuracy = right.mean(axis=1)
        drawn = right[0][generator.integers(0, n_images, (2000, n_images))].mean(axis=1)
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) if n_images > 1 else (np.nan, np.nan)
        return Told(
            accuracy=float(accuracy[0]),
            baseline=float(accuracy[1:].mean()),
            p_value=float((1 + (accuracy[1:] >= accuracy[0] - 1e-12).sum()) / (1 + self.n_shuffles)),
            low=float(low),
            high=float(high),
            n=n_images,
        )

    def _right(self, versions: np.ndarray, lacking: np.ndarray, is_test: np.ndarray) -> np.ndarray:
        """Return the share of right orders in each test image, for each labelling."""
        train, test = versions[~is_test], versions[is_test]
        n_versions, units = versions.shape[1:]
        labels = np.arange(n_versions) == lacking[:, ~is_test, None]
        wanted = (labels - 1 / n_versions).reshape(len(lacking), -1).T
        rows = train.reshape(-1, units)
        gram = rows @ rows.T
        penalty = self.ridge * max(gram.trace() / len(gram), np.finfo(float).tiny)
        # The weights are combinations of the training rows, so the system has their number, not that of the units.
        duals = np.linalg.solve(gram + penalty * np.eye(len(gram)), wanted)
        scores = (
            (test.reshape(-1, units) @ rows.T @ duals).reshape(len(test), n_versions, len(lacking)).transpose(2, 0, 1)
        )
        said = np.take_along_axis(scores, lacking[:, is_test, None], axis=2)
        beaten = np.where(scores < said, 1.0, np.where(scores == said, 0.5, 0.0)).sum(axis=2) - 0.5
        return np.asarray(beaten / (n_versions - 1))
