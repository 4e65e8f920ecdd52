"""Laws of the forms and of the command line."""

import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from flows.cli import app
from flows.families.summarise import COMMAND
from flows.flags import ClassFlags, shard_of
from flows.forms import filled_from, settings_of
from flows.listing import listing, show_table
from xvcore.data import open_dataset
from xvcore.errors import ParameterError, UnknownNameError, XvError
from xvcore.models import catalogue, timm
from xvcore.parameters import replaced
from xvcore.store import Store
from xvcore.visual_summaries.settings import VisualSummaries

BIRDS = [info.class_id for info in open_dataset("partbirds?classes=2").classes]
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
    flags = [*("--dataset", "partbirds"), *("--classes", f"{BIRDS[0]}, plain"), *("--store", "s"), "--max-images", "3"]
    flags += [*("--set", "seed=1"), *("--class-map", "plain=1"), *("--device", "cpu"), *("--shard", "1/2")]
    flags += [*("--pool", "p"), *("--ray-address", "r"), *("--shard-size", "3"), *("--at-once", "4")]
    result = CliRunner().invoke(app, [*command, "--model", "alexnet", *flags, "--batch-size", "5000"])
    assert isinstance(result.exception, ParameterError), result.output
    assert str(result.exception).startswith("--batch-size 5000: "), "all but the batch size is in order"
    assert ";" not in str(result.exception)


def test_flags_mean_what_the_request_says() -> None:
    flags = ClassFlags(model=["m"], classes="a, b", class_map=["a=1"], settings=["seed=1"], max_images=3, batch_size=2)
    request = SummariseRequest(**flags.request())
    assert request == SummariseRequest(models=["m"], classes=["a", "b"], class_map={"a": "1"}, batch_size=2)
    assert flags.changes() == {"seed": "1", "max_images": "3"}


def test_every_flag_is_named_as_it_is_typed() -> None:
    """A field that a form refuses is called by its flag, whatever it is called in the request."""
    flags = ClassFlags(
        model=["m"], batch_size=0, shard_size=0, at_once=0, pool="", ray_address="", store="", dataset=""
    )
    with pytest.raises(ParameterError) as caught:
        flags.fill(SummariseRequest)
    for flag in ("--batch-size 0", "--shard-size 0", "--at-once 0", "--pool ''", "--ray-address ''", "--store ''"):
        assert flag in str(caught.value)
    with pytest.raises(ParameterError, match="--model"):
        ClassFlags(model=[]).fill(SummariseRequest)


@given(st.text("0123456789/ -x٣", max_size=6))
def test_a_shard_is_taken_or_refused_by_name_and_the_form_agrees(text: str) -> None:
    try:
        index, count = shard_of(text, "--shard")
    except ParameterError as error:
        said = str(error)
    else:
        assert 1 <= index <= count
        assert SummariseRequest(models=["m"], shard=text).shard == f"{index}/{count}" == text
        return
    assert said.startswith(f"--shard {text!r}: expected K/N")
    with pytest.raises(ValidationError, match="shard"):
        SummariseRequest(models=["m"], shard=text)


def test_a_form_names_nested_settings_with_dots() -> None:
    form = SettingsForm.model_validate({"proposals": {"scales": [-1.0]}})
    with pytest.raises(ParameterError, match=r"^proposals\.scales = -1 is outside"):
        settings_of(form, VisualSummaries)


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


def test_status_of_a_store_without_runs_says_so(tmp_path) -> None:
    store = Store(tmp_path)
    store.write("classes", "d", "c", [{"class_idx": 0, "class_name": "c", "wnid": None}])
    result = CliRunner().invoke(app, ["status", "--store", str(tmp_path)])
    assert result.exit_code == 0
    assert "no runs" in result.output


def test_square_brackets_and_colons_survive_on_a_terminal(monkeypatch) -> None:
    """They are markup and emoji to rich."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    texts = ["imagefolder:/data/[bold]birds[/] [/x]", ":smile: [red]", "[link=x]"]
    frame = pd.DataFrame({"[column]": texts, "n": pd.array([1, None, 3], dtype="Int64"), "x": [0.5, None, 2.0]})
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    show_table(frame, "runs in [store]")
    for text in (*texts, "[column]", "runs in [store]"):
        assert text in out.getvalue()
    assert "NA" not in out.getvalue()


def test_architectures_are_all_that_are_known_without_a_download() -> None:
    listed = CliRunner().invoke(app, ["list", "architectures"]).output.split()
    assert listed == [*catalogue.names(), *timm.names()]
    assert {"partbirds_wide", "squeezenet1_1", "vit_b_16"} <= set(listed)


@given(st.sampled_from(catalogue.names()), st.data())
def test_names_are_found_by_any_of_their_letters_and_by_patterns(name: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(name) - 1))
    part = name[start : data.draw(st.integers(start + 1, len(name)))].upper()
    everything = catalogue.names()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "names", list)
        found = list(listing("architectures", "partbirds", like=part))
        assert found == [each for each in everything if part.lower() in each]
        assert list(listing("architectures", "partbirds", like=f"{name[:start]}*")) == [
            each for each in everything if each.startswith(name[:start])
        ]


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("summ", ["summarise"]),  # a family's command
        ("li", ["list"]),
        ("list ex", ["exports"]),
        ("export c", ["coco", "csv"]),
        ("evidence --data", ["--dataset"]),
    ],
)
def test_the_shell_completes_commands_flags_and_what_they_take(words: str, completed: list[str]) -> None:
    place = len(words.split())
    environment = {"_XV_COMPLETE": "complete_bash", "COMP_WORDS": f"xv {words}", "COMP_CWORD": str(place)}
    result = CliRunner().invoke(app, [], env=environment, prog_name="xv")
    assert result.output.split() == completed


def test_where_no_name_is_like_that_the_nearest_are_named() -> None:
    with pytest.raises(UnknownNameError, match="squeezenet1_1"):
        list(listing("architectures", "partbirds", like="squeezenet11"))


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


def test_a_plan_tells_the_size_of_a_pixel_cache_once_for_networks_that_share_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XV_PIXEL_CACHE", str(tmp_path / "pixels"))
    flags = ["--measure", "1", "--model", "partbirds_wide@random?classes=3", "--store", str(tmp_path / "store")]
    result = CliRunner().invoke(app, ["plan", "evidence", *TINY_EVIDENCE, *flags])
    assert result.exit_code == 0, result.output
    kilobytes = 9 * (3 * 128 * 128 + 24) / 1000
    assert f"pixels: up to {kilobytes:.3g} kB for pictures that it does not have yet" in " ".join(result.output.split())


def test_a_plan_of_a_shard_counts_the_classes_of_the_shard(tmp_path) -> None:
    flags = ["--measure", "1", "--max-images", "2", "--shard", "1/2", "--store", str(tmp_path / "store")]
    result = CliRunner().invoke(app, ["plan", "evidence", *TINY_EVIDENCE, *flags])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[1].split()[:6] == ["partbirds_narrow", "2", "0", "2", "4", "1"]
