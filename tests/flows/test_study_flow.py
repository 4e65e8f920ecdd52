"""The flow of a study: steps in their order, whatever is filled in, with the same tables as the commands."""

import numpy as np
import pytest
from coloured_patches import CLASSES, N_SUMMARISED, write_images, write_run
from pydantic import ValidationError

from flows.study import StudyRequest, study
from xvcore.errors import ParameterError, StoreError
from xvcore.query import table
from xvcore.study.runs.simulate import simulate


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow")
    write_images(folder / "images", N_SUMMARISED + 6, is_telling=True)
    run = write_run(folder / "images", folder / "store", is_telling=True)
    for class_id in CLASSES:
        rows = [
            {"image_id": f"{class_id}/{number:03d}.png", "part": "patch", "x": 0.0, "y": 0.0, "w": 32.0, "h": 32.0, "visible": True}
            for number in range(N_SUMMARISED)
        ]  # fmt: skip
        run.store.write("parts", run.dataset.name, class_id, rows)
    return run.store


def request_of(store, folder, **values) -> StudyRequest:
    settings = {"tasks": ["name"], "trials": 6}
    return StudyRequest(store=store.url, out=str(folder / "s.html"), settings=settings, **values)


def test_steps_are_done_in_their_order_and_every_parameter_arrives(store, tmp_path) -> None:
    steps = ["specialise", "tag", "build"]
    asked = request_of(store, tmp_path, steps=steps, specialise={"most_held_out": 4, "n_folds": 3}, device="cpu")
    study_id = study.fn(asked)
    assert (tmp_path / "s.html").stat().st_size > 10_000
    assert len(table(store, "study_questions", run_id=study_id, filters={"role": "main"})) <= 6
    assert set(table(store, "study_tags", run_id=study_id)["tag"]) == {"patch"}
    assert set(table(store, "specialisations", run_id=study_id)["n_held_out"]) == {12}
    simulate(store, tmp_path / "answers", study_id=study_id, error=float("nan"), people=2)
    with pytest.raises(ParameterError, match="answers is empty"):
        study.fn(request_of(store, tmp_path, steps=["score"]))
    again = request_of(store, tmp_path, steps=["score"], study=study_id, answers=[str(tmp_path / "answers")])
    assert study.fn(again) == study_id
    assert np.isfinite(table(store, "study_scores", run_id=study_id)["n_answers"].astype(float)).all()
    with pytest.raises(ParameterError, match="gets its id"):
        study.fn(request_of(store, tmp_path, study=study_id))
    with pytest.raises(ParameterError, match="trunk is empty"):
        study.fn(request_of(store, tmp_path, steps=["judge"], study=study_id))


def test_nonsense_is_refused_by_its_field(store, tmp_path) -> None:
    for values, field in [
        ({"steps": ["bild"]}, "steps"),
        ({"steps": []}, "steps"),
        ({"tagger": "prats"}, "tagger"),
        ({"judge": {"trnk": "a"}}, "trnk"),
        ({"specialise": {"n_folds": 1}}, "n_folds"),
    ]:
        with pytest.raises(ValidationError, match=field):
            request_of(store, tmp_path, **values)
    with pytest.raises(StoreError, match="nothing was ever written"):
        study.fn(StudyRequest(store=str(tmp_path / "nothere")))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_on_a_server_a_table_shows_what_came_of_it(store, tmp_path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.testing.utilities import prefect_test_harness

    from flows.orchestration import of_prefect

    with prefect_test_harness(server_startup_timeout=240):
        steps = ["build", "tag", "specialise"]
        study_id = of_prefect(study)(request_of(store, tmp_path, steps=steps, device="cpu"))
        with get_client(sync_client=True) as client:
            shown = {each.key: each for each in client.read_artifacts(limit=20)}["study-specialised"]
    assert study_id.startswith("study-")
    assert shown.type == "table"
    assert '"p_value"' in shown.data
    assert "NaN" not in shown.data
