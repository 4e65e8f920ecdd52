"""Stage *scan*: what every unit responds to most; images → unit_sums, and of all classes units, unit_top."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from xvcore.data import Batch
from xvcore.ops.taps import UnitLayer
from xvcore.runs.along import looked
from xvcore.runs.images import image_numbers
from xvcore.runs.joining import report
from xvcore.runs.run import Progress, Run
from xvcore.runs.summaries import keep
from xvcore.types import Scores
from xvcore.units.method.top_activations import Candidates, UnitTops
from xvcore.units.settings import TopUnits
from xvcore.units.stages.project import Pixels, n_shown, with_pictures
from xvcore.units.stages.rankings import layers_of, ranked

RANKED_AT_ONCE = 64
"""Images whose maxima are put into the rankings together."""


def scan(run: Run[TopUnits], class_id: str, progress: Progress | None = None) -> int:
    """Rank the images of a class for every unit, add them to ``unit_sums``; return the images."""
    found, n_images = looked(run, class_id, Scanned, progress)
    keep(run, class_id, found.ranked())
    return n_images


class Scanned:
    """The rankings of all units over the images of a class, batch by batch.

    Parameters
    ----------
    run : the run
    class_id : of the class
    """

    def __init__(self, run: Run[TopUnits], class_id: str) -> None:
        self._tops = UnitTops.empty(layers_of(run), run.settings.top.kept, run.classifier.device)
        self._waiting: list[tuple[Candidates, Sequence[int]]] = []
        self._run = run
        self._numbers = image_numbers(run, class_id)
        self._at_work: Candidates

    def look(self, batch: Batch) -> Scores:
        """Make the pass of a batch and return the scores."""
        images = batch.images.to(self._run.classifier.device)
        numbers = torch.tensor([self._numbers[each] for each in batch.image_ids])
        self._at_work = self._run.settings.top.look(self._run.classifier, images, numbers, self._tops)
        return self._at_work.logits

    def take(self, kept: Sequence[int], _predicted: Sequence[int]) -> None:
        """Note the images of the batch that count; several batches are ranked at once."""
        self._waiting.append((self._at_work, kept))
        if sum(len(each) for _, each in self._waiting) >= RANKED_AT_ONCE:
            self.ranked()

    def ranked(self) -> UnitTops:
        """Return the rankings over all images that were noted."""
        if self._waiting:
            self._tops = Candidates.ranked_together(self._waiting)
            self._waiting = []
        return self._tops


def gather_units(run: Run[TopUnits]) -> None:
    """Merge the rankings of the finished classes into ``units`` and ``unit_top``, one part a layer.

    A layer whose ranking has not changed since it was written is left as it is: projections take far longer than the
    scan, and a killed run goes on with the next layer.
    """
    found = ranked(run)
    if found is None:
        return
    tops, images = found
    units = tops.units([class_id for class_id, _ in images], shown=run.settings.top.shown)
    top = tops.top(
        [str(number) for number in range(len(images))],
        first=run.settings.top.shown if run.settings.shown_only else None,
    )
    pixels = Pixels(run)
    made, total = 0, n_shown(run.settings, top)
    names = np.array([*images, ("", "")], dtype=object)  # and one, so that it has two axes
    rankings = dict(iter(top.groupby("layer", sort=False)))
    for layer in tops.layers:
        of_layer = rankings.get(layer.name, top.iloc[:0]).reset_index(drop=True)
        numbers = of_layer["image_id"].to_numpy().astype(int)
        of_layer["image_class_id"], of_layer["image_id"] = names[numbers].T
        before, made = made, made + n_shown(run.settings, of_layer)
        if not _is_written(run, layer, of_layer):
            rows = with_pictures(run, layer, of_layer, pixels, partial(_tell, before, total))
            run.store.write("unit_top", run.run_id, layer.name, rows)
        elif made > before:
            report(made, total)
        of_units = pa.Table.from_pandas(units[units["layer"] == layer.name], preserve_index=False)
        run.store.write("units", run.run_id, layer.name, of_units)


def _tell(before: int, total: int, n: int) -> None:
    report(before + n, total)


def _is_written(run: Run[TopUnits], layer: UnitLayer, ranking: pd.DataFrame) -> bool:
    if not run.store.has("unit_top", run.run_id, layer.name):
        return False
    columns = ["unit", "position", "image_id", "activation", "map_y", "map_x"]
    before = run.store.read("unit_top", run.run_id, layer.name, columns=columns)
    return len(before) == len(ranking) and all(
        np.array_equal(before[name].to_numpy(), ranking[name].to_numpy()) for name in columns
    )
