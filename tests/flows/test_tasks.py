"""Laws of tasks, each of which costs a server dozens of milliseconds: few for many classes, and each class by itself."""

from pathlib import Path
from typing import Any

import pytest
from aviary import bird_folder

from flows import orchestration
from flows.families.evidence import COMMAND, flow
from flows.orchestration import Task
from xvcore.data import open_dataset
from xvcore.errors import ClassesFailedError
from xvcore.runs import pipeline
from xvcore.runs.run import open_run
from xvcore.store import Store

pytestmark = pytest.mark.filterwarnings("default")
N_CLASSES = 4
TITLES = ["partbirds_bagnet17 · s0-b00", "partbirds_bagnet17 · s0-b01 and 1 more", "partbirds_bagnet17 · s0-b03"]


@pytest.fixture
def request_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Some classes of one picture each, where no server is set."""
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    dataset = bird_folder(tmp_path / "birds", n_classes=N_CLASSES, n_images=1)
    return COMMAND.request(
        dataset=dataset,
        models=[f"partbirds_bagnet17@random?classes={N_CLASSES}"],
        store=str(tmp_path / "store"),
        class_map={info.class_id: str(info.class_idx) for info in open_dataset(dataset).classes},
    )


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Titles of the tasks that are begun: where a server is set, its task runs."""
    found: list[str | None] = []
    begin = Task.__call__

    def listed(self: Task, *arguments: Any, title: str | None = None) -> Any:
        found.append(title)
        return begin(self, *arguments, title=title)

    monkeypatch.setattr(Task, "__call__", listed)
    return found


def test_many_classes_are_few_tasks_whatever_their_stages_and_a_failed_class_fails_alone(
    request_of_many: Any, titles: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(request_of_many.specs()[0])
    classes = [info.class_id for info in run.dataset.classes]
    run_stage = pipeline.run_stage

    def fails_once(run: Any, class_id: str, verb: str, progress: Any) -> int | None:
        if (class_id, verb) == (classes[1], "explain"):
            raise ValueError("too blue")
        return run_stage(run, class_id, verb, progress)

    monkeypatch.setattr(pipeline, "run_stage", fails_once)
    name = run.classifier.name
    with pytest.raises(
        ClassesFailedError, match=rf"^1 of 4 classes failed: {name} {classes[1]}: ValueError: too blue$"
    ):
        orchestration.run(flow, request_of_many)
    assert titles == [*TITLES, f"gather {name}"]
    records = Store(request_of_many.store).class_runs(run.run_id).set_index("class_id")
    assert records["status"].to_dict() == {each: "failed" if each == classes[1] else "complete" for each in classes}
