"""What an analysis is: a published question that whole classes are asked, answered as a table and as figures.

An analysis is one module of :mod:`xvcore.analyses.runs`, and a run like any other: its settings *are* the question of
:mod:`xvcore.analyses.questions` with the choice of images added, so that they are called on the images; one stage
writes the rows of a class; what concerns all classes, or several networks, is drawn, told and joined by
:func:`xvcore.analyses.compare.compare` from the tables of the finished classes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from xvcore.analyses.questions.scores import Sample
from xvcore.registry import Registry
from xvcore.report.findings import Finding
from xvcore.runs.images import batches, passed_images, records
from xvcore.runs.run import Progress, Run
from xvcore.runs.stage import Stage
from xvcore.store import SCHEMAS


@dataclass(frozen=True, slots=True)
class Results:
    """Runs of one analysis with equal settings on one dataset, and the classes that all of them have finished.

    Parameters
    ----------
    runs : one a network, in the order of the request
    class_ids : sorted
    made : what the analysis's ``join`` returned, by table; figures and findings need not work it out again
    """

    runs: tuple[Run[Any], ...]
    class_ids: tuple[str, ...]
    made: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def settings(self) -> Any:
        """Every parameter of the analysis."""
        return self.runs[0].settings

    @property
    def models(self) -> list[str]:
        """Names of the networks, in the order of the request."""
        return [run.classifier.name for run in self.runs]

    def read(self, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the rows of all networks and classes; with some of the columns, or all."""
        parts = [part for run in self.runs for _, part in self.by_class(run, table, columns)]
        return pd.concat(parts, ignore_index=True)

    def joined(self, table: str) -> pd.DataFrame:
        """Return the rows of a table over all classes that was written for each network alone."""
        parts = [
            run.store.read(table, run.run_id, shard)
            for run in self.runs
            for shard in run.store.classes_of(table, run.run_id)
        ]
        return pd.concat(parts, ignore_index=True)

    def by_class(
        self, run: Run[Any], table: str, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield the class and its rows, for one network; one class at a time is held."""
        for class_id in self.class_ids:
            yield class_id, run.store.read(table, run.run_id, class_id, columns=columns)


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture of what was found.

    Parameters
    ----------
    name : unique among the figures of the analysis; its address in the table ``figures``
    title : in words
    draw : returns the SVG; an XvError says why there is none, e.g. that no number is known
    """

    name: str
    title: str
    draw: Callable[[], str]


@dataclass(frozen=True, slots=True)
class MapOver:
    """Numbers at places of an image, to be laid over it.

    Parameters
    ----------
    image_id : of the image
    title : what the numbers are, with their unit
    values : (rows, columns); above 0 is shown red, below 0 blue
    box : x, y, w, h of the whole map, px of the input; may reach beyond the image
    words : what else there is to say
    """

    image_id: str
    title: str
    values: np.ndarray
    box: tuple[float, float, float, float]
    words: str = ""


@dataclass(frozen=True, slots=True)
class Analysis:
    """One analysis.

    Parameters
    ----------
    settings : every parameter; its ``method`` is the name of the analysis
    stages : after *predict*, which every analysis begins with; none where the predictions are all it reads
    figures : draws what was found, for one network or several
    join : rows over all classes or over several networks, by table; None where every table is of a class
    joined : the tables that ``join`` gives rows of
    findings : sentences that the tables bear, for one network or several; None where there are none to say
    maps : maps over their images, of the rows of a class in the table of the last stage; None where it makes none
    least_networks : networks that it takes to answer the question
    """

    settings: type[Any]
    stages: tuple[Stage, ...]
    figures: Callable[[Results], Iterator[Figure]]
    join: Callable[[Results], Mapping[str, pd.DataFrame]] | None = None
    joined: tuple[str, ...] = ()
    findings: Callable[[Results], Iterator[Finding]] | None = None
    maps: Callable[[pd.DataFrame], Iterator[MapOver]] | None = None
    least_networks: int = 1

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that readers want: those over all classes first, then those of classes."""
        of_classes = tuple(stage.table for stage in self.stages if stage.table and SCHEMAS[stage.table].is_published)
        return (*self.joined, *of_classes)

    @property
    def summary(self) -> str:
        """What the analysis does, in one line."""
        return (self.settings.__doc__ or "").strip().splitlines()[0]


analyses: Registry[Analysis] = Registry("analysis", "xvcore.analyses.runs.*")
"""Every analysis by name."""


def image_by_image(table: str, rows_of: Callable[[Run[Any], Sample, str], pd.DataFrame]) -> Stage:
    """Return the stage of an analysis that treats each image by itself.

    Parameters
    ----------
    table : what the stage writes
    rows_of : the rows of a batch of images on the network's device, given the class's id; ``targets`` of the sample is
        the class's output, or None where the settings explain no class
    """

    def analyse(run: Run[Any], class_id: str, progress: Progress | None = None) -> int:
        image_ids = passed_images(run, class_id)
        target = run.target(class_id) if run.settings.explains_class else None
        rows: list[dict[str, Any]] = []
        n_done = 0
        for batch in batches(run, class_id, image_ids) if image_ids else ():
            images = batch.images.to(run.classifier.device)
            targets = None if target is None else torch.full((len(images),), target, device=images.device)
            frame = rows_of(run, Sample(images, targets, batch.image_ids), class_id)
            rows.extend({**row, **run.keys(class_id)} for row in records(frame))
            n_done += len(images)
            if progress:
                progress(n_done, len(image_ids))
        run.store.write(table, run.run_id, class_id, rows)
        return n_done

    return Stage("analyse", table, analyse)
