"""How often a network is right, and how fast it is.

The paper [1]_ gives top-5 accuracy and images per second; device and batch size of its speed test are not found, so
both are columns here.

References
----------
.. [1] W. Brendel, M. Bethge, "Approximating CNNs with Bag-of-local-Features Models Works Surprisingly Well on
   ImageNet", ICLR 2019.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from xvcore.models.classifier import Classifier
from xvcore.parameters import check, parameter


@dataclass(frozen=True, slots=True)
class TopAccuracy:
    """Share of the images whose class is among the first k outputs."""

    ks: tuple[int, ...] = parameter((1, 5), "Numbers of outputs that may hold the class", ge=1)

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, predictions: pd.DataFrame, *, by: Sequence[str] = ("model",)) -> pd.DataFrame:
        """Return the accuracy of each group.

        Parameters
        ----------
        predictions : with ``rank_target`` (from 1; none where the image has no prediction) and the columns of ``by``
        by : columns that make a group, e.g. model and class_id

        Returns
        -------
        DataFrame
            A row per group, sorted: n_images (with a prediction), n_errors (without), and for each k ``top<k>`` (0 … 1,
            NaN where no image has a prediction) and ``top<k>_error`` (its standard error ``√(p (1 − p) / n)``).
        """
        ranks = predictions["rank_target"].astype(float)
        hits = {f"top{k}": (ranks <= k).astype(float).where(ranks.notna()) for k in self.ks}
        groups = (
            predictions[list(by)]
            .assign(n_images=ranks.notna(), n_errors=ranks.isna(), **hits)
            .groupby(list(by), observed=True)
        )
        table = groups[["n_images", "n_errors"]].sum().astype(np.int64)
        for name in hits:
            share = groups[name].mean()
            table[name] = share
            table[f"{name}_error"] = np.sqrt(share * (1 - share) / table["n_images"])
        return table.reset_index()


@dataclass(frozen=True, slots=True)
class Throughput:
    """Times forward passes of random images of each network's input size; the median batch counts."""

    batch_size: int = parameter(32, "Images at a time (not found; ours)", ge=1)
    n_batches: int = parameter(10, "Batches timed (not found; ours)", ge=1)
    n_warm: int = parameter(2, "Batches before the clock starts", ge=0)

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, classifiers: Sequence[Classifier]) -> pd.DataFrame:
        """Return a row per network, in the order given.

        Returns
        -------
        DataFrame with the columns model, device, n_threads (of the processor), batch_size, input_h, input_w (px),
        n_parameters, seconds (median of a batch, of this run on this machine), images_per_second.
        """
        return pd.DataFrame([self._row(classifier) for classifier in classifiers])

    def _row(self, classifier: Classifier) -> dict[str, str | int | float]:
        height, width = classifier.preprocessing.input_px
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(self.batch_size, 3, height, width, generator=generator).to(classifier.device)
        durations = [_seconds(classifier, images) for _ in range(self.n_warm + self.n_batches)][self.n_warm :]
        seconds = float(np.median(durations))
        return {
            "model": classifier.name,
            "device": classifier.device.type,
            "n_threads": torch.get_num_threads(),
            "batch_size": self.batch_size,
            "input_h": height,
            "input_w": width,
            "n_parameters": sum(each.numel() for each in classifier.network.parameters()),
            "seconds": seconds,
            "images_per_second": self.batch_size / seconds,
        }


def _seconds(classifier: Classifier, images: torch.Tensor) -> float:
    """Return how long a batch takes, until the device is done."""
    _wait(images)
    start = time.perf_counter()
    with torch.no_grad():
        classifier.logits(images)
    _wait(images)
    return time.perf_counter() - start


def _wait(images: torch.Tensor) -> None:
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
