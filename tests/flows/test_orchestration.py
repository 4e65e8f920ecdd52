"""Laws of runs that nobody is told of: the same words, tries, records and artifacts as Prefect's, without Prefect."""

import json
from pathlib import Path

import pytest

from flows import orchestration
from flows.artifacts import FOLDER, findings, markdown
from flows.families.evidence import COMMAND, flow
from flows.fanout import FanOut, place_of
from flows.orchestration import PlainFlow, ended, is_reported, task
from xvcore.data import open_dataset
from xvcore.errors import ClassesFailedError, XvError
from xvcore.runs.run import open_run
from xvcore.store import Store

pytestmark = pytest.mark.filterwarnings("default")
DATASET = "partbirds?classes=2&images=2"
CLASSES = [info.class_id for info in open_dataset(DATASET).classes]
NAMED = {
    ("env", "PREFECT_API_URL"): "http://127.0.0.1:9/api",
    ("env", "PREFECT_PROFILE"): "local",
    ("file", "home/profiles.toml"): '[profiles.mine]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n',
    ("file", "home/profiles.toml "): 'active = "local"\n',
    ("file", "prefect.toml"): '[api]\nurl = "http://127.0.0.1:9/api"\n',
    ("file", "pyproject.toml"): '[tool.prefect.api]\nurl = "http://127.0.0.1:9/api"\n',
    ("file", ".env"): "PREFECT_API_URL=http://127.0.0.1:9/api\n",
}
SILENT = {
    "home/profiles.toml": 'active = "ephemeral"\n\n[profiles.ephemeral]\nPREFECT_SERVER_EPHEMERAL_ENABLED = "true"\n',
    "pyproject.toml": '[project]\ndependencies = ["prefect"]\n',
    ".env": "TOKEN=x\n",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder and a home of Prefect's in which no server is set, and no waiting between tries."""
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(orchestration, "DELAYS_SECONDS", (0.0, 0.0))
    return tmp_path


@pytest.mark.parametrize(("kind", "name"), list(NAMED))
def test_wherever_prefect_looks_for_a_server_it_is_asked(
    kind: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not orchestration._may_name_a_server()
    if kind == "env":
        monkeypatch.setenv(name, NAMED[kind, name])
    else:
        (folder / name.strip()).write_text(NAMED[kind, name])
    assert orchestration._may_name_a_server()


@pytest.mark.parametrize("name", list(SILENT))
def test_a_file_that_names_no_server_starts_nothing(name: str, folder: Path) -> None:
    (folder / name).write_text(SILENT[name])
    assert not orchestration._may_name_a_server()
    assert not is_reported()


def test_how_a_flow_ended_is_said_in_prefects_words() -> None:
    def call(outcome: BaseException | None) -> None:
        if outcome:
            raise outcome

    called = PlainFlow(call, {"name": "call"})
    assert ended(called, None).is_completed()
    failed = ended(called, XvError("no such bird"))
    assert failed.is_failed()
    assert not failed.is_crashed()
    assert failed.message == "Flow run encountered an exception: XvError: no such bird"
    with pytest.raises(KeyboardInterrupt):
        ended(called, KeyboardInterrupt())


def test_a_task_is_tried_again_where_its_surroundings_failed_and_nowhere_else() -> None:
    outcomes: list[BaseException | None] = []
    calls = []

    @task
    def step(name: str) -> str:
        calls.append(name)
        outcome = outcomes.pop(0)
        if outcome:
            raise outcome
        return name

    outcomes[:] = [OSError("disk"), OSError("disk"), None]
    assert step("a", title="a") == "a"
    outcomes[:] = [OSError("first"), OSError("second"), OSError("third")]
    with pytest.raises(OSError, match="third"):
        step("b")
    outcomes[:] = [XvError("wrong")]
    with pytest.raises(XvError, match="wrong"):
        step("c")
    assert calls == list("aaabbbc")


def test_a_pool_without_a_server_is_refused_by_name() -> None:
    with (
        pytest.raises(XvError, match=r"work pool 'gpus'.*PREFECT_API_URL"),
        place_of(FanOut(to="pool", pool="gpus"), flow),
    ):
        pass


def test_classes_fail_one_by_one_and_the_run_goes_on_and_leaves_what_prefect_would_show(folder: Path) -> None:
    request = COMMAND.request(
        dataset=DATASET,
        models=["partbirds_bagnet17@random?classes=3"],
        store=str(folder / "store"),
        class_map={each: str(index) for index, each in enumerate(CLASSES)},
        batch_size=2,
    )
    run = open_run(request.specs()[0])
    blocked = folder / "store" / "parts" / "evidence" / run.run_id
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder has to be: no evidence can be written")
    with pytest.raises(ClassesFailedError, match=rf"3 of 3 classes failed: {run.classifier.name} {CLASSES[0]}: Store"):
        orchestration.run(flow, request)
    store = Store(request.store)
    assert list(store.class_runs(run.run_id)["status"]) == ["failed"] * 3
    (of_classes,) = (folder / "store" / FOLDER).glob("evidence-classes-*.json")
    assert [row["status"] for row in json.loads(of_classes.read_text())] == ["failed"] * 3
    blocked.unlink()
    assert orchestration.run(flow, request) == {run.run_id: CLASSES}
    assert list(store.class_runs(run.run_id)["attempt"]) == [2, 2, 2]
    assert list(store.class_runs(run.run_id)["status"]) == ["complete"] * 3
    (summary,) = (folder / "store" / FOLDER).glob("evidence-summary-*.md")
    assert summary.read_text() == markdown(findings([run], CLASSES, []))
    assert [row["status"] for row in json.loads(of_classes.read_text())] == ["complete"] * 3
