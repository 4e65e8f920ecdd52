"""From images to colours."""

from colours.settings import Colours
from colours.stages.look import look
from xvcore.runs.pipeline import predicted
from xvcore.runs.predict import PREDICT
from xvcore.runs.run import Run
from xvcore.runs.stage import Counts, Pipeline, Stage, pipelines


def count(run: Run[Colours], class_id: str) -> Counts:
    """Count the colours of a class."""
    colours = run.store.read("colours", run.run_id, class_id, columns=["image_id"])
    return predicted(run, class_id, n_colours=len(colours))


pipelines.register(Colours.method)(
    Pipeline(settings=Colours, order=9, stages=(PREDICT, Stage("look", "colours", look)), count=count)
)
