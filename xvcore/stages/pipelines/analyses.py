"""Every analysis as a pipeline: *predict*, its own stage, and figures when the classes are done."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from xvcore.stages.analysis import analyses
from xvcore.stages.compare import compare, comparison_id
from xvcore.stages.images import records
from xvcore.stages.pipeline import Pipeline, Stage, pipelines, predicted
from xvcore.stages.predict import predict
from xvcore.stages.run import Run
from xvcore.stages.thumbnails import Thumbnail


def gather(run: Run[Any]) -> None:
    """Draw the figures of one network and join what its classes left."""
    compare([run])


def figures(runs: Sequence[Run[Any]]) -> Iterator[Thumbnail]:
    """Yield the figures of one network or, drawn together, of several."""
    store, owner = runs[0].store, comparison_id(runs)
    for name in store.classes_of("figures", owner):
        for row in records(store.read("figures", owner, name, ["title", "svg"])):
            if isinstance(row["svg"], str):
                yield Thumbnail(row["title"], row["svg"].encode())


def figures_of(run: Run[Any], _done: pd.DataFrame) -> Iterator[Thumbnail]:
    """Yield the figures of one network."""
    return figures([run])


for _name in analyses:
    pipelines.register(_name)(
        Pipeline(
            stages=(Stage("predict", "predictions", predict), *analyses[_name].stages),
            count=predicted,
            gather=gather,
            pictures=figures_of,
            pictures_of_all=figures,
        )
    )
