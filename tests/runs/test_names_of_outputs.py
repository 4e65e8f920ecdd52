"""What an output is called, by the labels file that its run was asked with."""

import json
from pathlib import Path

import pytest

from xvcore.runs.originals import OutputNames


def run_with(spec: str | None) -> dict:
    return {"env": json.dumps({"model_spec": spec})}


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("0 n01440764 tench\n1 n01443537 goldfish\n2 n01484850 great white shark\n")
    return path


def test_an_output_has_the_name_of_its_line(labels):
    run = run_with(f"squeezenet1_1@random?labels={labels}")
    assert [OutputNames()(run, index) for index in (0, 2, 3, -1)] == ["tench", "great white shark", None, None]


@pytest.mark.parametrize("spec", [None, "", "squeezenet1_1", "squeezenet1_1@random?labels=none", "a network?=&"])
def test_without_a_file_there_is_no_name(spec):
    assert OutputNames()(run_with(spec), 0) is None


def test_a_file_that_is_gone_gives_no_name(labels):
    run = run_with(f"squeezenet1_1@random?labels={labels}&name=gone")
    labels.unlink()
    assert OutputNames()(run, 0) is None


def test_a_run_without_environment_has_no_names():
    assert OutputNames()({"env": None}, 0) is None
