"""Patches of a BagNet, units with projections and prototypes, from the family's own run to scores."""

from pathlib import Path

import pytest
from study_store import data_of

from xvcore.evidence.settings import PatchEvidence
from xvcore.parameters import replaced
from xvcore.prototypes.settings import Disentangle, Prototypes
from xvcore.query import table
from xvcore.runs.originals import Originals
from xvcore.runs.pipeline import complete_run
from xvcore.runs.run import RunSpec, open_run
from xvcore.store import Store
from xvcore.study.runs.build import build_study
from xvcore.study.runs.score import score_study
from xvcore.study.runs.simulate import simulate
from xvcore.study.settings import Study
from xvcore.units.settings import TopUnits

DATASET = "partbirds?classes=3&images=8"
SETTINGS = replaced(Study(), {"trials": 30, "per_run": 12, "picture_px": 64})


def run_of(store: Path, model: str, settings) -> Store:
    from xvcore.data import open_dataset

    outputs = ()
    if settings.explains_class and not model.startswith("infodisent"):
        outputs = tuple((each.class_id, str(place)) for place, each in enumerate(open_dataset(DATASET).classes))
    assert complete_run(open_run(RunSpec(DATASET, model, str(store), settings, outputs, "cpu"))) == "complete"
    return Store(store)


def patches(folder: Path) -> Store:
    return run_of(folder / "store", "partbirds_bagnet17@random?classes=7", PatchEvidence())


def units(folder: Path) -> Store:
    return run_of(folder / "store", "partbirds_narrow@random?classes=7", TopUnits(layers=("relu4", "relu5")))


def prototypes(folder: Path) -> Store:
    recipe = {"recipe.epochs": 2, "recipe.rotation_rate": 0.05, "recipe.learning_rate": 0.05}
    run_of(folder / "heads", "partbirds_narrow@random?classes=7", replaced(Disentangle(), recipe))
    weights = next((folder / "heads").rglob("seed-0.pt"))
    return run_of(folder / "store", f"infodisent@{weights}", replaced(Prototypes(), {"n_patches": 5, "n_measured": 6}))


@pytest.mark.slow
@pytest.mark.parametrize("make", [patches, units, prototypes])
def test_a_study_is_built_answered_and_scored(make, tmp_path) -> None:
    store = make(tmp_path)
    made = build_study(store, tmp_path / "s.html", SETTINGS, picture_of=Originals())
    questions = table(store, "study_questions", run_id=made.study_id, filters={"role": "main"})
    assert set(questions["task"]) == {"name", "intruder", "two_afc"}
    assert set(questions["subject_group"]) == {"found", "random_cluster", "raw_region"}
    shown = [each for question in data_of(made.path)["questions"] for each in question["shown"]]
    assert any(projection is not None for _, _, projection in shown) == (make is units)
    simulate(store, tmp_path / "a", error=0.0, people=3)
    simulate(store, tmp_path / "a", error=float("nan"), people=8)
    scored = score_study(store, [tmp_path / "a"])
    sessions = scored.sessions
    assert sessions["is_counted"].sum() >= 3
    rows = scored.scores[(scored.scores["judged_model"] == "all") & (scored.scores["judged_method"] == "all")]
    assert set(rows["task"]) == {"name", "intruder", "two_afc"}
    counted = rows[(rows["population"] == "counted") & (rows["subject_group"] == "found")].set_index("task")
    assert counted.loc["name", "accuracy"] > counted.loc["name", "chance"]
    # Who answers without looking fails the catch trials, and is at chance.
    marked = rows[(rows["population"] == "marked") & rows["task"].isin(["intruder", "two_afc"])]
    assert len(marked)
    assert (marked["accuracy_low"] <= marked["chance"]).all()
    assert (marked["chance"] <= marked["accuracy_high"]).all()
