"""Do image parts interact? The sum of the drops of single regions against the drop of all of them together.

For regions 1 … n of an image, with the logit s of a class [1]_::

    drop_i = s(image) − s(image without region i),   joint = s(image) − s(image without all regions)

Without interaction between the regions, the sum of the drops equals the joint drop. Over many images and places their
Pearson correlation says how nearly it does; a network whose logit is a sum over windows of q pixels has correlation 1
as soon as the gap between any two regions is at least q − 1 pixels.

Choices where nothing is found in the accessible sources: regions are the cells of a square block (2 × 2), equally far
from their neighbours, so that the removed area is the same at each gap and only the distance differs; size of a
region, gaps, number of places, what replaces a region (each image's own mean colour). A block lies anywhere in the
image with equal probability: wide blocks therefore reach nearer to the borders, where there is less to lose.

References
----------
.. [1] W. Brendel, M. Bethge, "Approximating CNNs with Bag-of-local-Features Models Works Surprisingly Well on
   ImageNet", ICLR 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from xvcore.analyses.questions.figures import Frame, Series, line_chart
from xvcore.analyses.questions.scores import Sample, target_scores
from xvcore.errors import ParameterError
from xvcore.models.classifier import Classifier
from xvcore.ops.box_mask import inside
from xvcore.ops.perturb import Baseline, Perturbation, baseline
from xvcore.parameters import check, parameter


@dataclass(frozen=True, slots=True)
class InteractionTest:
    """Removes the squares of a block one by one and together, at several distances."""

    region_px: int = parameter(24, "Side of a region, in pixels (not found; ours)", ge=1)
    n_side: int = parameter(2, "Regions along each side of the block (not found; ours)", ge=2)
    gaps_px: tuple[int, ...] = parameter(
        (0, 4, 8, 16, 32, 64, 96, 128), "Pixels left between neighbouring regions (not found; ours)", ge=0
    )
    n_placements: int = parameter(4, "Blocks of each gap in an image (not found; ours)", ge=1)
    baseline: Baseline = parameter("mean", "What replaces a region (not found; ours)")
    seed: int = parameter(0, "Seed of the places", ge=0)

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, classifiers: Sequence[Classifier], sample: Sample, *, batch_size: int = 32) -> pd.DataFrame:
        """Return the sum of the single drops and the joint drop of every block.

        Parameters
        ----------
        classifiers : the networks that are tested; all see the same pictures and the same blocks
        sample : images, names, and targets whose logits are read
        batch_size : pictures at a time; does not change the result

        Returns
        -------
        DataFrame
            A row per model, image_id, gap_px and placement: x, y (top left pixel of the block), target_idx,
            sum_of_drops, joint_drop (logits).

        Raises
        ------
        ParameterError
            A gap at which the block does not fit into the image.
        """
        regions = self.blocks(sample)
        n_blocks, n_regions = len(self.gaps_px) * self.n_placements, self.n_side**2
        image = torch.arange(len(sample.images)).repeat_interleave(n_blocks)
        tables = []
        for classifier in classifiers:
            targets = sample.targets_of(classifier, batch_size=batch_size)
            pictures = sample.images.to(classifier.device)
            perturbation = Perturbation.of(pictures, baseline(pictures, self.baseline))
            # Pictures in groups: each region of a block alone, then all; an empty box removes nothing.
            alone, together = torch.eye(n_regions, dtype=torch.long), torch.ones(1, n_regions, dtype=torch.long)
            boxes = (regions[:, None] * torch.cat([alone, together])[None, :, :, None]).flatten(0, 1)
            owner = image.repeat_interleave(1 + n_regions)
            removed = _logits(classifier, perturbation, (boxes, owner), targets, batch_size)
            nothing = torch.zeros(len(pictures), 1, 4, dtype=torch.long)
            full = _logits(classifier, perturbation, (nothing, torch.arange(len(pictures))), targets, batch_size)
            drops = full[image][:, None] - removed.view(-1, 1 + n_regions)
            tables.append(self._table(classifier.name, sample, targets, regions, drops))
        return pd.concat(tables, ignore_index=True)

    def blocks(self, sample: Sample) -> Int[Tensor, "blocks regions 4"]:
        """Return the regions (x, y, w, h) of every block: of each image, of each gap, of each placement.

        Raises
        ------
        ParameterError
            A gap at which the block does not fit into the image.
        """
        height, width = sample.images.shape[2:]
        room = min(height, width) - self.n_side * self.region_px
        if max(self.gaps_px) * (self.n_side - 1) > room:
            most = room // (self.n_side - 1)
            raise ParameterError(
                f"gaps_px = {max(self.gaps_px)}: in images of {height} × {width} px at most {most} fit"
            )
        corners = []
        for generator in sample.generators(self.seed):
            places = generator.uniform(size=(len(self.gaps_px), self.n_placements, 2))
            for gap, shares in zip(self.gaps_px, places, strict=True):
                side = self.n_side * self.region_px + (self.n_side - 1) * gap
                free = np.array([width - side + 1, height - side + 1])
                steps = np.arange(self.n_side) * (self.region_px + gap)
                grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
                corners.append(np.floor(shares * free).astype(np.int64)[:, None] + grid)
        xy = torch.from_numpy(np.concatenate([np.zeros((0, self.n_side**2, 2), np.int64), *corners]))
        return torch.cat([xy, torch.full_like(xy, self.region_px)], dim=-1)

    def _table(
        self, model: str, sample: Sample, targets: Tensor, regions: Tensor, drops: Float[Tensor, "blocks drops"]
    ) -> pd.DataFrame:
        n_images, n_gaps = len(sample.image_ids), len(self.gaps_px)
        return pd.DataFrame(
            {
                "model": model,
                "image_id": np.repeat(sample.image_ids, n_gaps * self.n_placements),
                "gap_px": np.tile(np.repeat(self.gaps_px, self.n_placements), n_images),
                "placement": np.tile(np.arange(self.n_placements), n_images * n_gaps),
                "x": regions[:, 0, 0].numpy(),
                "y": regions[:, 0, 1].numpy(),
                "target_idx": np.repeat(targets.numpy(), n_gaps * self.n_placements),
                "sum_of_drops": drops[:, :-1].sum(dim=1).numpy(),
                "joint_drop": drops[:, -1].numpy(),
            }
        )


@dataclass(frozen=True, slots=True)
class InteractionCurve:
    """Sums up an interaction test by network and gap, with an interval by resampling whole images."""

    n_resamples: int = parameter(1000, "Bootstrap samples of the images", ge=1)
    coverage: float = parameter(0.95, "Share of the bootstrap samples within the interval", ge=0, le=1)
    seed: int = parameter(0, "Seed of the bootstrap", ge=0)

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return correlation and departure from additivity by gap.

        Parameters
        ----------
        table : as :class:`InteractionTest` returns it

        Returns
        -------
        DataFrame
            A row per model and gap_px: n_images, n_blocks, correlation (Pearson, of sum_of_drops with joint_drop; NaN
            where either does not vary), low and high (percentiles over resampled images), departure
            (``Σ |sum − joint| / Σ |joint|``, 0 is no interaction), mean_drop (mean of |joint_drop|, logits).
        """
        rows = []
        for (model, gap), blocks in table.groupby(["model", "gap_px"], sort=True):
            drops = blocks[["sum_of_drops", "joint_drop"]].to_numpy(float)
            image = blocks["image_id"].factorize()[0]
            low, high = self._interval(drops, image)
            difference, joint = np.abs(drops[:, 0] - drops[:, 1]).sum(), np.abs(drops[:, 1]).sum()
            rows.append(
                {
                    "model": model,
                    "gap_px": gap,
                    "n_images": image.max() + 1,
                    "n_blocks": len(blocks),
                    "correlation": float(_correlation(_moments(drops).sum(axis=0))),
                    "low": low,
                    "high": high,
                    "departure": difference / joint if joint > 0 else float("nan"),
                    "mean_drop": joint / len(blocks),
                }
            )
        return pd.DataFrame(rows)

    def _interval(self, drops: np.ndarray, image: np.ndarray) -> tuple[float, float]:
        n_images = image.max() + 1
        moments = np.zeros((n_images, 6))
        np.add.at(moments, image, _moments(drops))
        generator = np.random.default_rng(self.seed)
        weights = generator.multinomial(n_images, np.full(n_images, 1 / n_images), size=self.n_resamples)
        found = _correlation(weights @ moments)
        found = found[np.isfinite(found)]
        if not len(found):
            return float("nan"), float("nan")
        low, high = np.quantile(found, [(1 - self.coverage) / 2, (1 + self.coverage) / 2])
        return float(low), float(high)


def interaction_figure(curves: pd.DataFrame) -> str:
    """Return a chart (SVG) of the correlation by the gap, a curve for each network."""
    series = []
    for model, rows in curves.groupby("model", sort=True):
        gap, correlation, low, high = rows[["gap_px", "correlation", "low", "high"]].to_numpy(float).T
        series.append(Series(str(model), gap, correlation, low, high))
    title = "Interaction of image parts by distance (1: none)"
    return line_chart(series, Frame(title, "Gap between the regions (px)", "Correlation of summed and joint drop"))


def departure_figure(curves: pd.DataFrame) -> str:
    """Return a chart (SVG) of the departure from additivity by the gap, a curve for each network."""
    series = []
    for model, rows in curves.groupby("model", sort=True):
        gap, departure = rows[["gap_px", "departure"]].to_numpy(float).T
        series.append(Series(str(model), gap, 100 * departure))
    y_range = (0.0, max(1.0, 110 * float(curves["departure"].max())))
    title, y_label = "Departure of the summed drops from the joint drop", "Departure (% of the joint drop)"
    return line_chart(series, Frame(title, "Gap between the regions (px)", y_label, y_range=y_range))


def _logits(
    classifier: Classifier,
    perturbation: Perturbation,
    removal: tuple[Int[Tensor, "rows regions 4"], Int[Tensor, " rows"]],
    targets: Tensor,
    batch_size: int,
) -> Float[Tensor, " rows"]:
    """Return the target's logit of pictures, given by number, without their boxes."""
    boxes, owner = removal
    size = tuple(perturbation.baseline.shape[2:])

    def make(rows: Tensor) -> Tensor:
        kept = (~inside(boxes[rows], size)).to(perturbation.baseline)
        return perturbation.of_images(owner[rows].to(kept.device))(kept)

    return target_scores(classifier, make, targets[owner], batch_size=batch_size).logits.double()


def _moments(drops: Float[np.ndarray, "blocks 2"]) -> Float[np.ndarray, "blocks 6"]:
    """Return 1, x, y, x², y², x y of each row, around the overall mean, which keeps the differences exact."""
    x, y = (drops - drops.mean(axis=0)).T
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def _correlation(sums: Float[np.ndarray, "*resamples 6"]) -> np.ndarray:
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    spread = np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(spread > 0, (n * xy - x * y) / np.sqrt(spread), np.nan))
