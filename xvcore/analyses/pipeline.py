"""Every analysis as a pipeline: *predict*, its own stage, and figures when the classes are done."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from xvcore.analyses.analysis import analyses
from xvcore.analyses.compare import compare, comparison_id
from xvcore.runs.images import records
from xvcore.runs.pipeline import predicted
from xvcore.runs.predict import PREDICT
from xvcore.runs.run import Run
from xvcore.runs.stage import Pipeline, pipelines
from xvcore.runs.thumbnails import Thumbnail


def gather(run: Run[Any]) -> None:
    """Draw the figures of one network and join what its classes left."""
    compare([run])


def figures(runs: Sequence[Run[Any]]) -> Iterator[Thumbnail]:
    """Yield the figures of one network or, drawn together, of several."""
    store, owner = runs[0].store, comparison_id(runs)
    for name in store.classes_of("figures", owner):
        for row in records(store.read("figures", owner, name, ["title", "svg"])):
            if isinstance(row["svg"], str):
                yield Thumbnail(row["title"], _on_white(row["svg"]).encode())


def _on_white(svg: str) -> str:
    """Return a figure with a ground of its own: its text is black, and so may the page be."""
    return re.sub(r"<svg\b[^>]*>", r'\g<0><rect width="100%" height="100%" fill="#fff"/>', svg, count=1)


def figures_of(run: Run[Any], _done: pd.DataFrame) -> Iterator[Thumbnail]:
    """Yield the figures of one network."""
    return figures([run])


for _name in analyses:
    pipelines.register(_name)(
        Pipeline(
            settings=analyses[_name].settings,
            stages=(PREDICT, *analyses[_name].stages),
            count=predicted,
            gather=gather,
            joins_last="comparisons",
            pictures=figures_of,
            pictures_of_all=figures,
        )
    )
