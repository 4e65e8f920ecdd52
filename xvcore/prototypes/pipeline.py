"""From a network to heads of prototypes, and from these to prototypes and decisions taken apart (InfoDisent, 2024)."""

from xvcore.prototypes.settings import Disentangle
from xvcore.prototypes.stages.cache import cache, cache_id
from xvcore.prototypes.stages.train_heads import train_heads
from xvcore.runs.pipeline import Pipeline, Stage, pipelines, predicted
from xvcore.runs.predict import PREDICT_DISTINCT

pipelines.register(Disentangle.method)(
    Pipeline(
        settings=Disentangle,
        order=5,
        stages=(PREDICT_DISTINCT, Stage("cache", None, cache)),
        count=predicted,
        gather=train_heads,
        caches=lambda run: {"features": cache_id(run)},
    )
)
