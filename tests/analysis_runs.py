"""Analyses of small networks over drawn birds, as tests run them."""

from pathlib import Path

from xvcore.analyses.analysis import analyses
from xvcore.data import open_dataset
from xvcore.parameters import replaced
from xvcore.runs import pipeline
from xvcore.runs.run import Run, RunSpec, announce, conclude, open_run

DATASET = "partbirds?classes=2&images=3"
QUICK = {
    "accuracy": {"ks": "1,2", "throughput.batch_size": "1", "throughput.n_batches": "1", "throughput.n_warm": "0"},
    "correspondence": {"parts": "bill", "n_images": "2", "n_random": "2", "n_permutations": "9"},
    "error_consistency": {"k": "1"},
    "interactions": {"gaps_px": "0,8", "n_placements": "1", "curve.n_resamples": "20"},
    "invariance": {"shift_step": "60", "scale_step": "0.8", "rotation_step": "180"},
    "masking": {"n_removed": "1,4", "integrated_gradients.steps": "2"},
    "occlusion": {"stride": "64"},
    "scrambling": {"blocks_px": "56"},
    "spatial_sensitivity": {"stride_px": "48"},
    "transfer": {"n_train": "2", "n_test": "1", "n_folds": "1", "layers": "relu1,relu5"},
}
"""An analysis that is not named runs with its defaults."""
NARROW, WIDE = (f"partbirds_{name}@random?classes=3" for name in ("narrow", "wide"))
SECOND = {
    "evolution": f"{NARROW}&seed=1&name=partbirds_wide",
    "first_layer": "partbirds_bagnet9@random?classes=3&name=partbirds_wide",
}
"""The second network, under the wide one's name; its layers may be called otherwise. Where none is named: the wide."""


def spec(store: Path, name: str, model: str = NARROW, **changes: str) -> RunSpec:
    classes = open_dataset(DATASET).classes
    return RunSpec(
        dataset=DATASET,
        model=model,
        store=str(store),
        settings=replaced(analyses[name].settings(), {**QUICK.get(name, {}), **changes}),
        class_map=tuple((info.class_id, str(info.class_idx)) for info in classes),
        batch_size=2,
    )


def complete(given: RunSpec) -> Run:
    run = open_run(given)
    class_ids = [info.class_id for info in run.dataset.classes]
    announce(run, class_ids)
    for class_id in class_ids:
        assert pipeline.complete_class(run, class_id)["status"] == "complete"
    pipeline.gather(run)
    assert conclude(run) == "complete"
    return run
