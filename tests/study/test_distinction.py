"""HIVE's task of distinction, of evidence and of masks: explanations are those of the predicted and of other classes."""

import io

import numpy as np
import pytest
from PIL import Image

from xvcore.errors import StoreError
from xvcore.evidence.settings import PatchEvidence
from xvcore.parameters import replaced
from xvcore.query import table
from xvcore.runs.originals import Originals
from xvcore.runs.pipeline import complete_run
from xvcore.runs.run import RunSpec, open_run
from xvcore.store import Store
from xvcore.study.runs.build import build_study
from xvcore.study.runs.reopened import reopened
from xvcore.study.runs.score import score_study
from xvcore.study.runs.simulate import simulate
from xvcore.study.settings import Study
from xvcore.visual_summaries.settings import VisualSummaries

CLASSES = ("b00_zigzag-crest_ringed-wing_spotted-tail", "b01_ringed-bill_spotted-wing_chevroned-tail")
CLASS_MAP = tuple((each, str(place)) for place, each in enumerate(CLASSES))
MASKS = {"max_images": 3, "skip_misclassified": False, "mask.smooth_steps": 3, "mask.crisp_steps": 3}


def run_of(store, model: str, settings) -> None:
    spec = RunSpec("partbirds?classes=2&images=4", model, str(store), settings, CLASS_MAP)
    run = open_run(spec)
    complete_run(run, list(CLASSES))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    folder = tmp_path_factory.mktemp("store")
    run_of(folder, "partbirds_bagnet17@random?classes=7", PatchEvidence(max_images=4))
    return Store(folder)


SETTINGS = {"tasks": "two_afc,distinction", "trials": "16", "questions.n_practice": "1"}


def test_four_explanations_one_of_the_prediction_in_every_place_equally_often(store, tmp_path) -> None:
    made = build_study(store, tmp_path / "s.html", replaced(Study(), SETTINGS), picture_of=Originals())
    rows = table(store, "study_questions", run_id=made.study_id, filters={"task": "distinction"}).to_dict("records")
    assert len(rows) == 6
    assert all(list(row["sides"]) == ["photo", "item", "item", "item", "item"] for row in rows)
    assert all(len(set(row["pictures"])) == 5 for row in rows)
    assert all(row["chance"] == 0.25 for row in rows)
    places = [row["truth"][0] for row in rows]
    assert max(map(places.count, places)) - min(map(places.count, "1234")) <= 1
    seen = table(store, "predictions", columns=["image_id", "correct"]).set_index("image_id")["correct"]
    for row in rows:
        assert row["prediction"] == ("correct" if seen[row["image_ids"][0]] else "wrong")
    simulate(store, tmp_path / "a", study_id=made.study_id, error=0.0, people=6)
    scored = score_study(store, [tmp_path / "a"], study_id=made.study_id).scores
    row = scored[(scored["task"] == "distinction") & (scored["prediction"] == "either")].iloc[0]
    # Parts tell nothing of explanations: people who see no more guess.
    assert row["accuracy_low"] <= row["chance"] == 0.25 <= row["accuracy_high"]


def test_a_run_whose_network_has_changed_is_refused(store) -> None:
    (row,) = store.runs().to_dict("records")[:1]
    assert reopened(store, row).run_id == row["run_id"]
    changed = {**row, "env": row["env"].replace("classes=7", "classes=6")}
    with pytest.raises(StoreError, match="compute it again"):
        reopened(store, changed)


@pytest.mark.slow
def test_masks_are_explained_class_by_class_with_the_run_s_own_parameters(tmp_path) -> None:
    folder = tmp_path / "masks"
    run_of(folder, "partbirds_wide@random?classes=7", replaced(VisualSummaries(), MASKS))
    store = Store(folder)
    settings = replaced(Study(), {"tasks": "distinction", "trials": "4", "questions.catch_share": "0"})
    made = build_study(store, tmp_path / "s.html", settings, picture_of=Originals())
    rows = table(store, "study_questions", run_id=made.study_id, filters={"task": "distinction"}).to_dict("records")
    assert len(rows) == 4
    cells = table(store, "study_pictures", filters={"task": "distinction"})
    sizes = {Image.open(io.BytesIO(cell["bytes"])).size for cell in cells["picture"]}
    assert sizes == {(160, 160)}
    assert np.unique(cells["picture_id"]).size == len(cells)
