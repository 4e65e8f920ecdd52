"""Stage *scan*: what every unit responds to most; images → unit_sums, and of all classes units, unit_top."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import torch

from xvcore.data import Batch
from xvcore.models import laid_out
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

RANKED_AT_ONCE = 128
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
        images = laid_out(self._run.classifier, batch.images)
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
    shown = run.settings.top.shown
    class_ids, image_ids = [class_id for class_id, _ in images], [image_id for _, image_id in images]
    units = pa.Table.from_pandas(tops.units(class_ids, shown=shown), preserve_index=False)
    names = pa.array(class_ids, pa.string()), pa.array(image_ids, pa.string())
    rankings = {
        layer: _columns(columns, *names)
        for layer, columns in tops.rankings(first=shown if run.settings.shown_only else None)
    }
    pixels = Pixels(run)
    made, first, total = 0, 0, sum(n_shown(run.settings, ranking) for ranking in rankings.values())
    for layer, ranking in rankings.items():
        before, made = made, made + n_shown(run.settings, ranking)
        if not _is_written(run, layer, ranking):
            rows = with_pictures(run, layer, ranking, pixels, partial(_tell, before, total))
            run.store.write("unit_top", run.run_id, layer.name, rows)
        elif made > before:
            report(made, total)
        run.store.write("units", run.run_id, layer.name, units.slice(first, layer.n_units))
        first += layer.n_units


def _columns(ranking: Mapping[str, np.ndarray], class_ids: pa.Array, image_ids: pa.Array) -> pa.Table:
    """Return the ranking of a layer with class and id of each image, given those of all by number."""
    columns = {name: pa.array(values) for name, values in ranking.items()}
    numbers = columns.pop("image")
    return pa.table({"image_class_id": class_ids.take(numbers), "image_id": image_ids.take(numbers), **columns})


def _tell(before: int, total: int, n: int) -> None:
    report(before + n, total)


def _is_written(run: Run[TopUnits], layer: UnitLayer, ranking: pa.Table) -> bool:
    if not run.store.has("unit_top", run.run_id, layer.name):
        return False
    columns = ["unit", "position", "image_id", "activation", "map_y", "map_x"]
    before = run.store.read_arrow("unit_top", run.run_id, layer.name, columns)
    return bool(before.equals(ranking.select(columns).cast(before.schema)))
