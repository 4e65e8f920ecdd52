"""Laws of the forms and of the command line."""

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from flows.cli import app
from flows.families.summarise import COMMAND
from flows.flags import ClassFlags
from flows.forms import filled_from, settings_of
from xvcore.data import open_dataset
from xvcore.errors import UnknownNameError, XvError
from xvcore.parameters import replaced
from xvcore.visual_summaries.settings import VisualSummaries

SummariseRequest = COMMAND.request
SettingsForm = SummariseRequest.model_fields["settings"].annotation


def test_a_form_and_its_settings_are_the_same() -> None:
    settings = replaced(
        VisualSummaries(), {"mask.smooth_steps": "7", "max_images": "none", "proposals.scales": "50,100"}
    )
    assert settings_of(filled_from(settings, SettingsForm), VisualSummaries) == settings
    assert settings_of(SettingsForm(), VisualSummaries) == VisualSummaries()


def test_the_form_has_types_bounds_choices_and_descriptions() -> None:
    schema = SummariseRequest.model_json_schema()
    settings = schema["$defs"]["Settings"]["properties"]
    assert settings["similarity"]["enum"] == ["full", "top50", "none"]
    mask = schema["$defs"]["SparseMaskForm"]["properties"]
    assert mask["smooth_steps"]["type"] == "integer"
    assert mask["smooth_steps"]["default"] == VisualSummaries().mask.smooth_steps
    assert all(field.get("description") for field in {**settings, **mask}.values())


@pytest.mark.parametrize(
    ("change", "field"),
    [({"mask": {"smooth_steps": -1}}, "smooth_steps"), ({"similarity": "some"}, "similarity"), ({"maks": {}}, "maks")],
)
def test_nonsense_in_the_form_is_refused_by_field(change: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        SummariseRequest(models=["alexnet"], settings=change)


def test_the_request_of_a_shard_keeps_everything_but_where_it_is_computed() -> None:
    fan_out = {"to": "pool", "shard_size": 2}
    request = SummariseRequest(models=["a", "b"], classes=["x", "y"], class_map={"x": "1"}, store="s", fan_out=fan_out)
    one = request.of_shard("b", ["y"])
    assert (one.models, one.classes, one.class_map, one.store) == (["b"], ["y"], {"x": "1"}, "s")
    assert one.fan_out.to == "here"
    assert one.specs()[0].settings == VisualSummaries()


@pytest.mark.parametrize("command", [["summarise"], ["evidence"], ["units"], ["analyse", "occlusion"]])
def test_every_command_over_classes_takes_all_flags_and_they_reach_the_request(command: list[str]) -> None:
    flags = [*("--dataset", "partbirds"), *("--classes", "a, b"), *("--store", "s"), *("--max-images", "3")]
    flags += [*("--set", "seed=1"), *("--class-map", "a=1"), *("--device", "cpu"), *("--batch-size", "2")]
    result = CliRunner().invoke(app, [*command, "--model", "m", *flags, "--shard", "3/2"])
    assert isinstance(result.exception, ValidationError), result.output
    assert [each["loc"] for each in result.exception.errors()] == [("shard",)], "all but the shard is in order"


def test_flags_mean_what_the_request_says() -> None:
    flags = ClassFlags(model=["m"], classes="a, b", class_map=["a=1"], settings=["seed=1"], max_images=3, batch_size=2)
    request = SummariseRequest(**flags.request())
    assert request == SummariseRequest(models=["m"], classes=["a", "b"], class_map={"a": "1"}, batch_size=2)
    assert flags.changes() == {"seed": "1", "max_images": "3"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "mask.stepz=3"], ["stepz"]),
        (["--set", "mask.smooth_steps"], ["NAME=VALUE"]),
        (["--set", "max_images=0"], ["max_images = 0", "1 … inf"]),
    ],
)
def test_a_wrong_setting_on_the_command_line_is_named(arguments: list[str], words: list[str]) -> None:
    result = CliRunner().invoke(app, ["summarise", "--model", "alexnet", *arguments])
    assert isinstance(result.exception, XvError)
    for word in words:
        assert word in str(result.exception)


def test_status_of_an_empty_store_says_so(tmp_path) -> None:
    result = CliRunner().invoke(app, ["status", "--store", str(tmp_path)])
    assert result.exit_code == 0
    assert "no runs" in result.output


@pytest.mark.parametrize("kind", ["datasets", "architectures", "methods", "parameters"])
def test_every_kind_of_name_is_listed(kind: str) -> None:
    result = CliRunner().invoke(app, ["list", kind])
    assert result.exit_code == 0
    assert {"datasets": "imagenet", "architectures": "partbirds_wide", "methods": "sparse_mask"}.get(
        kind, "mask.smooth_steps"
    ) in result.output


def test_a_plan_of_what_there_is_no_such_method_names_the_nearest() -> None:
    result = CliRunner().invoke(app, ["plan", "sumarise", "--model", "alexnet"])
    assert isinstance(result.exception, UnknownNameError)
    assert "did you mean summarise" in str(result.exception)


BIRDS = [info.class_id for info in open_dataset("partbirds?classes=2").classes]
TINY_EVIDENCE = [
    *("--dataset", "partbirds?classes=2&images=3", "--model", "partbirds_narrow@random?classes=3"),
    *("--device", "cpu", *(part for index, each in enumerate(BIRDS) for part in ("--class-map", f"{each}={index}"))),
]


def test_a_plan_without_anything_to_estimate_from_says_what_to_do(tmp_path) -> None:
    result = CliRunner().invoke(app, ["plan", "evidence", *TINY_EVIDENCE, "--store", str(tmp_path / "store")])
    assert isinstance(result.exception, XvError)
    assert "--measure" in str(result.exception)


def test_a_plan_tells_classes_shards_stages_rates_and_wall_clock_and_writes_nothing(tmp_path) -> None:
    flags = ["--measure", "2", "--shard-size", "2", "--workers", "2", "--store", str(tmp_path / "store")]
    result = CliRunner().invoke(app, ["plan", "evidence", *TINY_EVIDENCE, *flags])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].split()[:8] == ["network", "classes", "done", "to", "do", "images", "shards", "CPU"]
    assert lines[1].split()[:6] == ["partbirds_narrow", "3", "0", "3", "9", "2"]
    assert lines[2].split()[:6] == ["all", "3", "0", "3", "9", "2"]
    for words in ("predict", "explain", "gather", "measured now: 2 images of", "on cpu: ", "with 2 workers: "):
        assert words in result.output
    assert not (tmp_path / "store").exists()


def test_a_plan_of_a_shard_counts_the_classes_of_the_shard(tmp_path) -> None:
    flags = ["--measure", "1", "--max-images", "2", "--shard", "1/2", "--store", str(tmp_path / "store")]
    result = CliRunner().invoke(app, ["plan", "evidence", *TINY_EVIDENCE, *flags])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[1].split()[:6] == ["partbirds_narrow", "2", "0", "2", "4", "2"]
