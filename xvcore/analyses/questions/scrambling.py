"""Does the arrangement of the parts count? Accuracy on images whose parts are shuffled, or that are textures.

Shuffled square blocks keep what is inside a block and lose where it was; a texture keeps local statistics and loses
all arrangement. A network that decides by local features loses little [1]_.

The paper used texture synthesis [2]_ of an unknown recipe. Shuffling is ours, because it is exact: within a block
nothing changes, so that of the windows of q pixels only those across a border of blocks are new. Sizes of the blocks
are not found; ours are fractions of 224. Rows and columns beyond the last whole block stay where they are. Each image
is shuffled in its own way, never into itself, and in the same way for every network.

References
----------
.. [1] W. Brendel, M. Bethge, "Approximating CNNs with Bag-of-local-Features Models Works Surprisingly Well on
   ImageNet", ICLR 2019.
.. [2] L. Gatys, A. Ecker, M. Bethge, "Texture Synthesis Using Convolutional Neural Networks", NeurIPS 2015.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from xvcore.analyses.questions.accuracy import TopAccuracy
from xvcore.analyses.questions.figures import Frame, Series, line_chart
from xvcore.analyses.questions.scores import Sample, predictions
from xvcore.errors import ParameterError
from xvcore.models.classifier import Classifier
from xvcore.parameters import check, parameter
from xvcore.types import Images

WHOLE = "whole"
"""Name of the condition in which nothing is changed."""


@dataclass(frozen=True, slots=True)
class Scrambling:
    """Shuffles the blocks of each image at several sizes and asks the networks."""

    blocks_px: tuple[int, ...] = parameter(
        (112, 56, 28, 14, 7), "Sides of the blocks, in pixels (not found; ours)", ge=1
    )
    seed: int = parameter(0, "Seed of the arrangements", ge=0)

    def __post_init__(self) -> None:
        check(self)

    def __call__(
        self,
        classifiers: Sequence[Classifier],
        sample: Sample,
        *,
        others: Mapping[str, Images] | None = None,
        batch_size: int = 32,
    ) -> pd.DataFrame:
        """Return what each network says of each image in each condition.

        Parameters
        ----------
        classifiers : the networks that are tested; all see the same pictures
        sample : images, names, and the right outputs; without targets, a network's answer to the whole image is right
        others : further versions of the same images by name, e.g. textures from
            :class:`xvcore.analyses.questions.texture_synthesis.TextureSynthesis`
        batch_size : images at a time; does not change the result

        Returns
        -------
        DataFrame
            As :func:`xvcore.analyses.questions.scores.predictions`, with the condition (``whole``, ``<side> px``, names
            of the others) and block_px (NaN where nothing was shuffled).

        Raises
        ------
        ParameterError
            Blocks of which fewer than two fit into the image.
        """
        conditions = [(WHOLE, float("nan"), sample.images)]
        conditions += [(f"{side} px", float(side), self.shuffled(sample, side)) for side in self.blocks_px]
        conditions += [(name, float("nan"), images) for name, images in (others or {}).items()]
        tables = []
        for classifier in classifiers:
            targets = sample.targets_of(classifier, batch_size=batch_size)
            for condition, side, images in conditions:
                found = predictions(classifier, Sample(images, targets, sample.image_ids), batch_size=batch_size)
                tables.append(found.assign(condition=condition, block_px=side))
        return pd.concat(tables, ignore_index=True)

    def shuffled(self, sample: Sample, block_px: int) -> Images:
        """Return the images with their blocks in another order, which depends on seed, name and block size alone."""
        n_blocks = _n_blocks(sample.images, block_px)
        if n_blocks < 2:
            height, width = sample.images.shape[2:]
            raise ParameterError(f"blocks_px = {block_px}: fewer than two fit into {height} × {width} px")
        orders = [_another_order(n_blocks, generator) for generator in sample.generators(self.seed, block_px)]
        return rearranged(
            sample.images, torch.from_numpy(np.array(orders, dtype=np.int64).reshape(len(orders), n_blocks)), block_px
        )


def rearranged(images: Images, orders: Int[Tensor, "batch blocks"], block_px: int) -> Images:
    """Return the images with block ``orders[image, i]`` at the place of block i, row by row from the top left."""
    batch, colours = images.shape[:2]
    rows, columns = (length // block_px for length in images.shape[2:])
    inner = images[..., : rows * block_px, : columns * block_px]
    blocks = inner.reshape(batch, colours, rows, block_px, columns, block_px).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    moved = blocks[torch.arange(batch)[:, None], orders].unflatten(1, (rows, columns)).permute(0, 3, 1, 4, 2, 5)
    result = images.clone()
    result[..., : rows * block_px, : columns * block_px] = moved.reshape(inner.shape)
    return result


def scrambling_accuracy(table: pd.DataFrame, ks: tuple[int, ...] = (1, 5)) -> pd.DataFrame:
    """Return the accuracy of each network in each condition, in their order, as :class:`TopAccuracy` does."""
    ordered = table.assign(condition=pd.Categorical(table["condition"], table["condition"].unique(), ordered=True))
    found = TopAccuracy(ks)(ordered, by=("model", "condition"))
    return found.assign(condition=found["condition"].astype(str))


def scrambling_figure(accuracy: pd.DataFrame, k: int = 5) -> str:
    """Return a chart (SVG) of the accuracy by condition, a curve for each network, with its standard error."""
    series = []
    for model, rows in accuracy.groupby("model", sort=True):
        share, error = 100 * rows[[f"top{k}", f"top{k}_error"]].to_numpy(float).T
        series.append(Series(str(model), np.arange(len(rows)), share, share - error, share + error))
    names = [str(condition) for condition in accuracy["condition"].unique()]
    frame = Frame("Accuracy on shuffled images", "Side of the blocks", f"Top-{k} accuracy (%)", names, None, (0, 100))
    return line_chart(series, frame)


def _n_blocks(images: Images, block_px: int) -> int:
    return (images.shape[2] // block_px) * (images.shape[3] // block_px)


def _another_order(n_blocks: int, generator: np.random.Generator) -> np.ndarray:
    order = generator.permutation(n_blocks)
    while (order == np.arange(n_blocks)).all():
        order = generator.permutation(n_blocks)
    return order
