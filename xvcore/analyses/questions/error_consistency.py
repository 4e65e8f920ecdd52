"""Whether two networks fail on the same classes and on the same images.

Per class: the correlation of their accuracies [1]_. Per image: Cohen's kappa of being right,

    kappa = (observed − expected) / (1 − expected)

where *observed* is the share of the images on which both are right or both are wrong, and *expected* that share for
two networks of these accuracies whose failures have nothing to do with each other [2]_. 1 is the same failures, 0 what
chance gives.

Choices where nothing is found in the accessible sources: an image counts as right when its class is among the first
five outputs (the paper compares top-5 accuracies); classes with few images count like all others.

References
----------
.. [1] W. Brendel, M. Bethge, "Approximating CNNs with Bag-of-local-Features Models Works Surprisingly Well on
   ImageNet", ICLR 2019.
.. [2] R. Geirhos, K. Meding, F. Wichmann, "Beyond accuracy: quantifying trial-by-trial behaviour of CNNs and humans
   by measuring error consistency", NeurIPS 2020.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from xvcore.analyses.questions.figures import Frame, Series, scatter_chart
from xvcore.errors import ParameterError
from xvcore.parameters import check, parameter

KEYS = ["class_id", "image_id"]


@dataclass(frozen=True, slots=True)
class ErrorConsistency:
    """Compares each pair of networks on the images that both have predicted."""

    k: int = parameter(5, "An image is right when its class is among the first k outputs", ge=1)
    least_images: int = parameter(1, "Classes with fewer shared images do not count in the correlation", ge=1)

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """Return how alike each pair of networks fails.

        Parameters
        ----------
        predictions : ``model``, ``class_id``, ``image_id``, ``rank_target`` (from 1; none where there is no
            prediction); one row per model and image

        Returns
        -------
        DataFrame
            A row per pair model_a < model_b: n_images (shared), accuracy_a, accuracy_b (on these), observed, expected,
            kappa (NaN where expected is 1), n_classes, class_correlation (Pearson, of class-wise accuracies),
            class_rank_correlation (Spearman); the correlations are NaN where an accuracy is the same in all classes.

        Raises
        ------
        ParameterError
            A network has two rows of one image.
        """
        right = self._right(predictions)
        rows = []
        for a, b in combinations(sorted(right.columns), 2):
            both = right[[a, b]].dropna()
            classes = both.astype(float).groupby("class_id").agg(["mean", "size"])
            classes = classes[classes[a, "size"] >= self.least_images]
            accuracies = np.stack([classes[each, "mean"].to_numpy(float) for each in (a, b)])
            ranks = pd.DataFrame(accuracies.T).rank().to_numpy().T
            rows.append(
                {
                    "model_a": a,
                    "model_b": b,
                    **agreement(*both.to_numpy(bool).T),
                    "n_classes": len(classes),
                    "class_correlation": _correlation(accuracies),
                    "class_rank_correlation": _correlation(ranks),
                }
            )
        return pd.DataFrame(rows)

    def class_accuracy(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """Return the top-k accuracy (0 … 1) of each class (index) for each network (column); NaN without images."""
        return self._right(predictions).astype(float).groupby("class_id").mean()

    def _right(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """Return whether each image (index) is right for each network (column); none where there is no prediction."""
        known = predictions[predictions["rank_target"].notna()]
        twice = known.duplicated(["model", *KEYS])
        if twice.any():
            model, image_id = known.loc[twice, ["model", "image_id"]].iloc[0]
            raise ParameterError(f"{model} has several predictions of image {image_id}")
        ranks = known.assign(rank_target=known["rank_target"].astype(float))
        wide = ranks.pivot(index=KEYS, columns="model", values="rank_target")
        return (wide <= self.k).astype(float).where(wide.notna())


def agreement(a: Bool[np.ndarray, " images"], b: Bool[np.ndarray, " images"]) -> dict[str, int | float]:
    """Return n_images, accuracies, observed and expected agreement, and Cohen's kappa of two networks.

    Parameters
    ----------
    a, b : whether each network is right
    """
    if not len(a):
        nothing = dict.fromkeys(("accuracy_a", "accuracy_b", "observed", "expected", "kappa"), float("nan"))
        return {"n_images": 0, **nothing}
    p, q, observed = float(a.mean()), float(b.mean()), float((a == b).mean())
    expected = p * q + (1 - p) * (1 - q)
    kappa = (observed - expected) / (1 - expected) if expected < 1 else float("nan")
    return {
        "n_images": len(a),
        "accuracy_a": p,
        "accuracy_b": q,
        "observed": observed,
        "expected": expected,
        "kappa": kappa,
    }


def class_figure(accuracy: pd.DataFrame, a: str, b: str, k: int) -> str:
    """Return a chart (SVG) of two networks' class-wise accuracies, a point for each class, with its name.

    Parameters
    ----------
    accuracy : as :meth:`ErrorConsistency.class_accuracy` returns it; its index names the points
    a, b : the networks
    k : an image counted as right when its class was among the first k outputs
    """
    shared = accuracy[[a, b]].dropna()
    x, y = 100 * shared.to_numpy(float).T
    points = Series("", x, y, labels=[str(name) for name in shared.index], is_named=True)
    x_label, y_label = (f"{each}, top-{k} accuracy (%)" for each in (a, b))
    frame = Frame(class_title(k), x_label, y_label, x_range=(-3, 103), y_range=(-3, 103), has_diagonal=True)
    return scatter_chart([points], frame)


def class_title(k: int) -> str:
    """Return what :func:`class_figure` shows."""
    return f"Top-{k} accuracy by class"


def _correlation(pairs: Float[np.ndarray, "2 classes"]) -> float:
    """Return Pearson's correlation, NaN where one of the two does not vary."""
    if pairs.shape[1] < 2 or (np.ptp(pairs, axis=1) == 0).any():
        return float("nan")
    return float(np.corrcoef(pairs)[0, 1])
