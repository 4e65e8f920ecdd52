"""Laws of plug-ins: what is installed is found, what is broken is named, and nothing else is touched by it."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from plugin_packages import install, sources_of

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "xvcore" / "README.md"
FLAGS = ["--dataset", "dots?images=4", "--model", "tiny@random", "--class-map", "crimson=0", "--class-map", "navy=1"]
BIRDS = ["--dataset", "partbirds?classes=2&images=3", "--model", "partbirds_narrow@random?classes=3"]
BROKEN = "from xvcore.models import architectures\nraise RuntimeError('the licence server\\ndoes not answer')\n"
TWICE = "from xvcore.models import architectures\narchitectures.register('partbirds_wide')(None)\n"


def examples() -> tuple[dict[str, str], dict[str, str]]:
    """Return the files that the page of plug-ins shows, by their names, and their entry points."""
    blocks = re.findall(r"```(\w+)\n# (\S+)\n(.*?)```", README.read_text(), re.DOTALL)
    files = {name: text for language, name, text in blocks if language == "python"}
    (project,) = (text for language, name, text in blocks if language == "toml")
    return files, tomllib.loads(project)["project"]["entry-points"]["xv.plugins"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plug-ins of the page, a family with all rooms, and two that fail."""
    folder = tmp_path_factory.mktemp("site")
    install(folder, "shown", *examples())
    install(folder, "colours", sources_of("colours"), {"colours": "colours"})
    broken = {"broken_nets.py": BROKEN, "twice_nets.py": TWICE}
    return install(folder, "broken", broken, {"broken": "broken_nets", "twice": "twice_nets", "gone": "not_there"})


def xv(site: Path, *arguments: str, folder: Path, code: int = 0) -> str:
    """Run the command line with the plug-ins installed; return what it printed."""
    command = [sys.executable, "-c", "from flows.cli import main; main()", *arguments]
    env = {**os.environ, "PYTHONPATH": f"{site}:{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


LISTED = """
import sys
from typer.testing import CliRunner
from flows.cli import app
for line in sys.stdin.read().splitlines():
    result = CliRunner().invoke(app, line.split())
    print(f"### {line}\\n{result.output}{result.exception if result.exit_code else ''}")
"""
ASKED = [*(f"list {kind}" for kind in ("datasets", "architectures", "methods", "parameters", "plugins")), "--help"]
WRONG = "evidence --model lost_net"


@pytest.fixture(scope="module")
def said(site: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the command line says with the plug-ins installed, line by line, by what it was asked."""
    done = subprocess.run(
        [sys.executable, "-c", LISTED],
        input="\n".join([*ASKED, WRONG]),
        cwd=tmp_path_factory.mktemp("said"),
        env={**os.environ, "PYTHONPATH": f"{site}:{ROOT}", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    answers = (part.split("\n", 1) for part in done.stdout.split("### ")[1:])
    return {asked: answer.splitlines() for asked, answer in answers}


def test_what_is_installed_is_listed_and_what_is_broken_says_why(said) -> None:
    rows = dict(line.split("\t", 1) for line in said["list plugins"] if "\t" in line)
    assert {name for name, rest in rows.items() if rest.endswith("in use")} == {"brightness", "colours", "dots", "tiny"}
    assert rows["colours"].startswith("colours\tcolours 1.0\t")
    assert rows["broken"].endswith("broken_nets: RuntimeError: the licence server does not answer")
    assert "architecture 'partbirds_wide' is registered twice" in rows["twice"]
    assert "No module named 'not_there'" in rows["gone"]


def test_names_of_plug_ins_are_names_like_any_other(said) -> None:
    assert "dots" in said["list datasets"]
    assert {"tiny", "partbirds_wide"} <= set(said["list architectures"])
    assert "mean_colour" in said["list methods"]
    assert "# colours" in said["list parameters"]
    assert any(line.startswith("colour.gain = 1.0") for line in said["list parameters"])
    words = " ".join(" ".join(said["--help"]).split())
    assert "brightness Measure how bright the images of classes are" in words


def test_an_unknown_name_says_which_plug_in_might_have_had_it(said) -> None:
    words = " ".join(said[WRONG])
    assert "unknown architecture 'lost_net'" in words
    assert "plug-in broken could not be imported (broken_nets: RuntimeError" in words


@pytest.mark.slow
def test_dataset_architecture_and_family_of_the_page_work_together(site, tmp_path) -> None:
    planned = xv(site, "plan", "brightness", *FLAGS, "--measure", "2", folder=tmp_path)
    assert "look" in planned
    xv(site, "brightness", *FLAGS, "--store", "store", folder=tmp_path)
    rows = pd.read_parquet(tmp_path / "store" / "tables" / "brightness")
    assert rows.groupby("class_id").size().to_dict() == {"crimson": 4, "navy": 4}
    assert rows.loc[rows["class_id"] == "navy", "mean"].iloc[0] == pytest.approx(128 / 255 / 3)


@pytest.mark.slow
def test_a_family_with_all_rooms_has_command_plan_table_record_pages_block_and_demo(site, tmp_path) -> None:
    assert "look" in xv(site, "plan", "colours", *BIRDS, "--measure", "2", folder=tmp_path)
    said = xv(site, "colours", *BIRDS, "--store", "store", "--set", "colour.gain=0.5", folder=tmp_path)
    assert "n_colours" in said
    rows = pd.read_parquet(tmp_path / "store" / "tables" / "colours")
    assert len(rows) == 3 * 3  # two classes, and the plain birds
    assert rows["red"].between(0, 0.5).all()
    records = pd.read_parquet(tmp_path / "store" / "tables" / "class_runs")
    assert list(records["n_colours"]) == [3, 3, 3]
    xv(site, "report", "--store", "store", "--out", "report", folder=tmp_path)
    pages = {str(path.relative_to(tmp_path / "report")) for path in (tmp_path / "report").rglob("*.html")}
    of_family = {page for page in pages if page.startswith("colours/partbirds_narrow/")}
    assert len(of_family) == 3 + 9
    first = (tmp_path / "report" / "index.html").read_text()
    assert '<div class="method" id="colours-1">' in first
    assert "A colour is the mean of the pixels." in first
    assert all(page in first for page in of_family if page.endswith("index.html"))
    assert "What a colour is" in (tmp_path / "report" / "about.html").read_text()


FORM = """
from deployments.bootstrap import deployments
from flows.commands import command
from prefect.utilities.callables import parameter_schema
entries = {(each["name"], each["entrypoint"]) for each in deployments()}
assert ("colours", "colours.flow.flow") in entries and ("xv", "colours.flow.shard_flow") in entries, entries
schema = parameter_schema(command("colours").flow).model_dump_for_openapi()
gain = schema["definitions"]["MeanColourForm"]["properties"]["gain"]
assert (gain["minimum"], gain["maximum"], gain["default"]) == (0, 1, 1.0), gain
from xvcore.runs.demos import demos
assert "colours" in demos
"""


@pytest.mark.slow
def test_it_has_a_form_and_deployments(site, tmp_path) -> None:
    env = {**os.environ, "PYTHONPATH": f"{site}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", FORM], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
