"""Evidence of patches: from images to maps, strongest patches and mean maps (Brendel & Bethge, ICLR 2019)."""

from xvcore.stages.explain import explain, gather_patches
from xvcore.stages.pipeline import Pipeline, Stage, pipelines, predicted
from xvcore.stages.predict import predict
from xvcore.stages.settings import PatchEvidence

pipelines.register(PatchEvidence.method)(
    Pipeline(
        stages=(Stage("predict", "predictions", predict), Stage("explain", "evidence", explain)),
        count=predicted,
        gather=gather_patches,
        gathers_by="class",
    )
)
