"""Top activations: from images to what every unit of a network responds to (Zeiler & Fergus, ECCV 2014)."""

from xvcore.stages.pipeline import Pipeline, Stage, pipelines, predicted
from xvcore.stages.predict import predict
from xvcore.stages.scan import gather_units, scan
from xvcore.stages.settings import TopUnits

pipelines.register(TopUnits.method)(
    Pipeline(
        stages=(Stage("predict", "predictions", predict), Stage("scan", "unit_scans", scan)),
        count=predicted,
        gather=gather_units,
    )
)
