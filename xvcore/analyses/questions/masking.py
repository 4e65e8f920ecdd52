"""Removal of the patches that an attribution ranks first, and what it costs the network and other networks.

If the patches that count for network A are removed, and network B loses its decision faster than by the patches that
an attribution computed in B itself ranks first, then B decides by what A sees [1]_.

The image is cut into square cells; a cell counts for as much as its attribution sums up to; the first k cells are
replaced by a baseline.

Choices where nothing is found in the accessible sources: size and number of the patches, that they are cells of a
grid which do not overlap, what replaces them (each image's own mean colour), and the random order as the bar.

References
----------
.. [1] W. Brendel, M. Bethge, "Approximating CNNs with Bag-of-local-Features Models Works Surprisingly Well on
   ImageNet", ICLR 2019.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xvcore.analyses.questions.figures import Frame, Series, line_chart
from xvcore.analyses.questions.scores import Sample, target_scores
from xvcore.errors import ParameterError
from xvcore.models.classifier import Classifier
from xvcore.ops.perturb import Baseline, Perturbation, baseline
from xvcore.parameters import check, parameter
from xvcore.types import Images, Maps, Targets

Attribution = Callable[[Classifier, Images, Targets], Tensor]
RANDOM = "random"
"""Name of the ranking by chance."""


@dataclass(frozen=True, slots=True)
class PatchRemoval:
    """Removes the first k patches of each ranking and reads the target's score in every network."""

    patch_px: int = parameter(16, "Side of a patch, in pixels (not found; ours)", ge=1)
    n_removed: tuple[int, ...] = parameter(
        (1, 2, 4, 8, 16, 32, 64), "Numbers of patches to remove (not found; ours)", ge=1
    )
    baseline: Baseline = parameter("mean", "What replaces a removed patch (not found; ours)")
    n_random: int = parameter(1, "Random orders of each image, averaged as the ranking `random`; 0 is none", ge=0)
    seed: int = parameter(0, "Seed of the random orders", ge=0)

    def __post_init__(self) -> None:
        check(self)

    def __call__(
        self,
        classifiers: Sequence[Classifier],
        sample: Sample,
        rankings: Mapping[str, Attribution | Tensor],
        *,
        batch_size: int = 32,
    ) -> pd.DataFrame:
        """Return the target's score of every network after every removal.

        Parameters
        ----------
        classifiers : the networks that are tested; all see the same pictures, so load them with one input size
        sample : images, names, and targets whose scores are read
        rankings : by name. A callable (classifier, images, targets) → maps is asked in **each tested network**; a
            tensor (batch × 1 × height × width, e.g. of a BagNet's evidence) ranks the same patches for all. High
            counts first; NaN is a pixel that was not seen
        batch_size : pictures at a time; does not change the result

        Returns
        -------
        DataFrame
            A row per model, ranking, image_id and n_removed (0 included): target_idx, area_removed (share of the
            image), logit, prob.

        Raises
        ------
        ParameterError
            Maps of another size than the images, more patches to remove than there are, nothing to rank them by, or a
            ranking named ``random`` beside the random orders.
        """
        cells = math.prod(-(-length // self.patch_px) for length in sample.images.shape[2:])
        if max(self.n_removed) > cells:
            raise ParameterError(f"n_removed = {max(self.n_removed)}: an image has {cells} patches")
        if not rankings and not self.n_random:
            raise ParameterError("no rankings and n_random = 0: expected something to rank the patches by")
        if self.n_random and RANDOM in rankings:
            raise ParameterError(f"a ranking named {RANDOM!r}: the name is taken by the random orders")
        random = [self._random(sample, cells, draw) for draw in range(self.n_random)]
        tables = []
        for classifier in classifiers:
            targets = sample.targets_of(classifier, batch_size=batch_size)
            asked = _Asking(classifier, sample.images, targets, batch_size)
            for name, ranking in rankings.items():
                order = cell_order(cell_scores(asked(name, ranking), self.patch_px))
                tables.append(self._table(asked, sample, name, self._scores(asked, order)))
            if random:
                draws = [self._scores(asked, order) for order in random]
                means = [np.mean(values, axis=0) for values in zip(*draws, strict=True)]
                tables.append(self._table(asked, sample, RANDOM, means))
        return pd.concat(tables, ignore_index=True)

    def _random(self, sample: Sample, n_cells: int, draw: int) -> Int[Tensor, "batch cells"]:
        orders = [generator.permutation(n_cells) for generator in sample.generators(self.seed, draw)]
        return torch.from_numpy(np.array(orders, dtype=np.int64).reshape(len(orders), n_cells))

    def _scores(self, asked: "_Asking", order: Int[Tensor, "batch cells"]) -> list[np.ndarray]:
        """Return area_removed, logit and prob of every image and number of cells, in this order."""
        counts = torch.tensor((0, *self.n_removed))
        image, count = torch.arange(len(order)).repeat_interleave(len(counts)), counts.repeat(len(order))
        places, areas = order.argsort(dim=1), torch.zeros(len(image), dtype=torch.float64)
        pictures = asked.images.to(asked.classifier.device)
        perturbation = Perturbation.of(pictures, baseline(pictures, self.baseline))

        def make(rows: Tensor) -> Tensor:
            removed = first_cells(places[image[rows]], count[rows], tuple(pictures.shape[2:]), self.patch_px)
            areas[rows] = removed.double().mean(dim=(1, 2, 3))
            kept = (~removed).to(pictures)
            return perturbation.of_images(image[rows].to(kept.device))(kept)

        scores = target_scores(asked.classifier, make, asked.targets[image], batch_size=asked.batch_size)
        return [values.double().numpy() for values in (areas, scores.logits, scores.probabilities)]

    def _table(self, asked: "_Asking", sample: Sample, name: str, scores: Sequence[np.ndarray]) -> pd.DataFrame:
        counts = (0, *self.n_removed)
        columns = {
            "model": asked.classifier.name,
            "ranking": name,
            "image_id": np.repeat(sample.image_ids, len(counts)),
            "target_idx": np.repeat(asked.targets.numpy(), len(counts)),
            "n_removed": np.tile(counts, len(sample.image_ids)),
        }
        return pd.DataFrame(columns | dict(zip(("area_removed", "logit", "prob"), scores, strict=True)))


@dataclass(frozen=True, slots=True)
class _Asking:
    """One network and the images of which it is asked."""

    classifier: Classifier
    images: Images
    targets: Targets
    batch_size: int

    def __call__(self, name: str, ranking: Attribution | Tensor) -> Maps:
        """Return the maps of a ranking."""
        if isinstance(ranking, Tensor):
            maps = ranking
        else:
            parts = zip(self.images.split(self.batch_size), self.targets.split(self.batch_size), strict=True)
            maps = torch.cat([ranking(self.classifier, *part).detach().cpu() for part in parts])
        expected = (len(self.images), 1, *self.images.shape[2:])
        if tuple(maps.shape) != expected:
            raise ParameterError(f"ranking {name!r} has maps of shape {tuple(maps.shape)}: expected {expected}")
        return maps


def cell_scores(maps: Maps, patch_px: int) -> Float[Tensor, "batch rows columns"]:
    """Return the sum of each map over square cells from the top left corner; cells at the far borders may be smaller.

    NaN counts as nothing; a cell of which nothing was seen gets −∞, behind all others.
    """
    seen = ~maps.isnan()

    def sums(values: Tensor) -> Tensor:
        return F.avg_pool2d(values.double(), patch_px, ceil_mode=True, divisor_override=1)[:, 0]

    return sums(maps.nan_to_num(nan=0.0)).masked_fill(sums(seen) == 0, -torch.inf)


def cell_order(scores: Float[Tensor, "batch rows columns"]) -> Int[Tensor, "batch cells"]:
    """Return the numbers of the cells, row by row from 0, highest first; ties go to the lower number."""
    return scores.flatten(1).argsort(dim=1, descending=True, stable=True).cpu()


def first_cells(
    places: Int[Tensor, "rows cells"], count: Int[Tensor, " rows"], size: tuple[int, ...], patch_px: int
) -> Bool[Tensor, "rows 1 height width"]:
    """Return the pixels of the first cells.

    Parameters
    ----------
    places : place of each cell in the order, from 0
    count : how many cells of each picture
    size : height and width of the pictures
    patch_px : side of a cell
    """
    height, width = size
    chosen = (places < count[:, None]).view(len(places), 1, -(-height // patch_px), -(-width // patch_px))
    spread = chosen.repeat_interleave(patch_px, dim=2).repeat_interleave(patch_px, dim=3)
    return spread[..., :height, :width]


def window_map(
    evidence: Float[Tensor, "batch rows columns"], *, patch_px: int, stride_px: int, size: tuple[int, int]
) -> Maps:
    """Return the mean evidence of the windows that cover each pixel; NaN where none does.

    Parameters
    ----------
    evidence : of the window whose top left pixel is ``stride_px`` times its row and column, e.g. a BagNet's
    patch_px : side of a window
    stride_px : from one window to the next
    size : height and width of the image
    """
    kernel = torch.ones(1, 1, patch_px, patch_px, dtype=evidence.dtype, device=evidence.device)
    sums = F.conv_transpose2d(evidence[:, None], kernel, stride=stride_px)
    covers = F.conv_transpose2d(torch.ones_like(evidence[:1, None]), kernel, stride=stride_px)
    missing = (0, size[1] - sums.shape[3], 0, size[0] - sums.shape[2])
    if min(missing) < 0:
        raise ParameterError(f"windows reach to {tuple(sums.shape[2:])}, outside an image of {size} px")
    return F.pad(sums / covers, missing, value=torch.nan)


def removal_curves(table: pd.DataFrame) -> pd.DataFrame:
    """Return the means over the images of what :class:`PatchRemoval` returns.

    Returns
    -------
    DataFrame
        A row per model, ranking and n_removed, in this order: n_images, area_removed, prob, prob_error (standard error
        of the mean over images), prob_left (mean of ``prob / prob of the whole image``), logit_drop (whole minus rest).
    """
    keys = ["model", "ranking", "image_id"]
    whole = table[table["n_removed"] == 0].set_index(keys)[["logit", "prob"]].add_suffix("_whole")
    joined = table.join(whole, on=keys)
    tiny = np.finfo(float).tiny
    values = joined.assign(
        prob_left=joined["prob"] / joined["prob_whole"].clip(lower=tiny),
        logit_drop=joined["logit_whole"] - joined["logit"],
    )
    return (
        values.groupby(["model", "ranking", "n_removed"])
        .agg(
            n_images=("prob", "size"),
            area_removed=("area_removed", "mean"),
            prob=("prob", "mean"),
            prob_error=("prob", "sem"),
            prob_left=("prob_left", "mean"),
            logit_drop=("logit_drop", "mean"),
        )
        .reset_index()
    )


def removal_figure(curves: pd.DataFrame, model: str) -> str:
    """Return a chart (SVG) of one network: mean probability left, with its standard error, by the patches removed."""
    chosen = curves[curves["model"] == model]
    counts = sorted(chosen["n_removed"].unique())
    names = sorted(chosen["ranking"].unique(), key=lambda name: (name == RANDOM, name))
    series = []
    for name in names:
        rows = chosen[chosen["ranking"] == name].sort_values("n_removed")
        prob, error = rows[["prob", "prob_error"]].to_numpy(float).T
        places = np.searchsorted(counts, rows["n_removed"])
        series.append(Series(str(name), places, prob, prob - error, prob + error, is_reference=name == RANDOM))
    x_label = f"Patches removed (the last: {chosen['area_removed'].max():.0%} of the image)"
    marks = [str(count) for count in counts]
    frame = Frame(f"Removing what counts first: {model}", x_label, "Probability of the target", marks, y_range=(0, 1))
    return line_chart(series, frame)
