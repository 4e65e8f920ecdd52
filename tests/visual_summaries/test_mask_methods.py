"""Masks of every method feed summaries alike, and say whose they are."""

import pytest

from xvcore.data import open_dataset
from xvcore.parameters import replaced
from xvcore.runs import pipeline
from xvcore.runs.run import RunSpec, announce, open_run
from xvcore.store.encode import rle_decode
from xvcore.visual_summaries.settings import VisualSummaries

SHORT = {
    "sparse_mask": {"mask.steps": "3"},
    "extremal_perturbation": {"extremal.n_steps": "1", "extremal.areas": "0.1,0.3", "extremal.cell_px": "16"},
    "rise": {"rise.n_masks": "4", "rise.areas": "0.1,0.3"},
}


@pytest.mark.parametrize("method", list(SHORT))
def test_each_method_fills_the_table_and_names_itself(method, tmp_path):
    dataset = "partbirds?classes=1&images=1"
    settings = replaced(VisualSummaries(), {"skip_misclassified": "false", "mask_method": method, **SHORT[method]})
    (info, *_) = open_dataset(dataset).classes
    run = open_run(
        RunSpec(
            dataset=dataset,
            model="partbirds_narrow@random?classes=3",
            store=str(tmp_path),
            settings=settings,
            class_map=((info.class_id, str(info.class_idx)),),
        )
    )
    announce(run, [info.class_id])
    pipeline.begin(run, info.class_id)
    for stage in ("predict", "mask"):
        pipeline.run_stage(run, info.class_id, stage)
    masks = run.store.read("masks", run.run_id, info.class_id).set_index("kind")
    assert set(masks["mask_method"]) == {method}
    assert masks.index.tolist() == ["smooth", "sharp"]
    assert masks.loc["smooth", "iterations"] == {"sparse_mask": 2, "extremal_perturbation": 2, "rise": 4}[method]
    assert masks["objective"].notna().all() == (method == "sparse_mask")
    sharp = masks.loc["sharp"]
    assert rle_decode(sharp["rle"]).mean() == pytest.approx(sharp["area_frac"])
    assert sharp["drop_blur_weak"] == pytest.approx(sharp["prob_drop"], abs=1e-6)
    assert sharp["reached"] == (sharp["prob_drop"] >= 0.5)
