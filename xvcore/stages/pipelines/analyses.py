"""Every analysis as a pipeline: *predict*, its own stage, and figures when the classes are done."""

from typing import Any

from xvcore.stages.analysis import analyses
from xvcore.stages.compare import compare
from xvcore.stages.pipeline import Pipeline, Stage, pipelines, predicted
from xvcore.stages.predict import predict
from xvcore.stages.run import Run


def gather(run: Run[Any]) -> None:
    """Draw the figures of one network and join what its classes left."""
    compare([run])


for _name in analyses:
    pipelines.register(_name)(
        Pipeline(
            stages=(Stage("predict", "predictions", predict), *analyses[_name].stages), count=predicted, gather=gather
        )
    )
