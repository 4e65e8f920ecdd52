"""Laws of the one flow of all analyses: its form, and what the command line refuses."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from flows.analyse import FORMS, AnalyseRequest
from flows.cli import app
from xvcore.analyses.analysis import analyses
from xvcore.data import open_dataset
from xvcore.errors import UnknownNameError, XvError
from xvcore.parameters import as_dict, replaced
from xvcore.store import Store


@pytest.mark.parametrize("name", list(analyses))
def test_a_form_and_its_settings_are_the_same(name: str) -> None:
    settings = replaced(analyses[name].settings(), {"max_images": "7"})
    request = AnalyseRequest(models=["alexnet"], settings={"analysis": name, **as_dict(settings)})
    assert request.chosen() == settings
    assert request.of_shard("alexnet", ["x"]).chosen() == settings


def test_the_form_of_each_analysis_is_a_choice_with_described_fields() -> None:
    schema = AnalyseRequest.model_json_schema()
    assert set(schema["properties"]["settings"]["discriminator"]["mapping"]) == set(analyses) == set(FORMS)
    for form in FORMS.values():
        assert all(field.get("description") for field in form.model_json_schema()["properties"].values())


@pytest.mark.parametrize("settings", [{"analysis": "occlusions"}, {"analysis": "occlusion", "window": 0}, {}])
def test_nonsense_in_the_form_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AnalyseRequest(models=["alexnet"], settings=settings)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (["oclusion"], UnknownNameError, ["did you mean occlusion"]),
        (["occlusion", "--set", "windw=3"], XvError, ["windw", "window"]),
        (["error_consistency"], XvError, ["at least 2"]),
    ],
)
def test_a_wrong_command_is_named(arguments: list[str], kind: type[XvError], words: list[str]) -> None:
    result = CliRunner().invoke(app, ["analyse", *arguments, "--model", "alexnet"])
    assert isinstance(result.exception, kind)
    for word in words:
        assert word in str(result.exception)


def test_every_analysis_is_listed_with_what_it_does() -> None:
    result = CliRunner().invoke(app, ["list", "analyses"])
    assert [line.split("\t")[0] for line in result.output.splitlines()] == list(analyses)
    assert all(len(line.split("\t")[1]) > 20 for line in result.output.splitlines())


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_flow_compares_its_networks_and_does_nothing_twice(tmp_path: Path) -> None:
    from prefect.testing.utilities import prefect_test_harness

    from flows.analyse import analyse

    dataset = "partbirds?classes=2&images=2"
    classes = [info.class_id for info in open_dataset(dataset).classes]
    request = AnalyseRequest(
        dataset=dataset,
        models=[f"partbirds_{name}@random?classes=3" for name in ("narrow", "wide")],
        classes=classes[:2],
        store=str(tmp_path / "store"),
        class_map={each: str(index) for index, each in enumerate(classes)},
        settings={"analysis": "scrambling", "blocks_px": [56]},
    )
    with prefect_test_harness(server_startup_timeout=240):
        run_ids = list(analyse(request))
        store = Store(request.store)
        (compared,) = [each for each in store.place.names("parts/figures") if each not in run_ids]
        members = store.read("comparisons", compared, "runs")
        assert list(members["of_run"]) == run_ids
        assert list(members["n_classes"]) == [2, 2]
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("parts/scrambling/**/*.parquet")}
        assert list(analyse(request)) == run_ids
    assert len(before) == 4
    assert before == {path: path.stat().st_mtime_ns for path in before}
