"""Laws of what the command line refuses: one line, the word that was typed, exit code 2, before anything is started."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from summary_store import build

from flows.cli import main
from xvcore.errors import ClassesFailedError

NETWORK = "--model partbirds_narrow@random?classes=7"
REFUSED = {
    "evidence --model misspelt": "'misspelt'",
    "evidence --model tf_efficientnet_lite0": "did you mean timm/tf_efficientnet_lite0 or",
    "evidence --model alexnett": "did you mean alexnet",
    "evidence --model ''": "model ''",
    "evidence --model squeezenet1_1@nofile.pt": "'nofile.pt'",
    "evidence --model squeezenet1_1?inptu=3": "did you mean input",
    "evidence --model squeezenet1_1@random?input=x": "input='x'",
    "evidence --model squeezenet1_1@random?labels=nofile": "labels nofile",
    "evidence --model nets:tiny": "XV_ALLOW_MODULES=nets",
    f"summarise {NETWORK} --dataset nosuch": "dataset 'nosuch'",
    f"summarise {NETWORK} --dataset ''": "dataset ''",
    f"summarise {NETWORK} --dataset partbirds?images=x": "images=x",
    f"summarise {NETWORK} --dataset imagefolder:/no[where]": "/no[where]",
    f"units {NETWORK} --classes misspelt": "class 'misspelt'",
    f"units {NETWORK} --classes ' , '": "--classes ' , '",
    f"units {NETWORK} --class-map plan=0": "'plan'; did you mean plain?",
    f"units {NETWORK} --class-map plain": "--class-map 'plain': expected CLASS=OUTPUT",
    f"units {NETWORK} --class-map plain=": "'plain' has no output",
    f"units {NETWORK} --class-map plain=0 --class-map plain=1": "--class-map: plain is given twice",
    f"units {NETWORK} --class-map plain=0 --class-map Plain=1": "'plain' and 'Plain' are one class",
    f"units {NETWORK} --shard 2": "--shard '2'",
    f"units {NETWORK} --shard 3/2": "--shard '3/2'",
    f"units {NETWORK} --shard 0/2": "--shard '0/2'",
    f"units {NETWORK} --batch-size 0": "'--batch-size'",
    f"units {NETWORK} --fan-out nowhere": "'--fan-out'",
    f"units {NETWORK} --device gpu": "device 'gpu'",
    f"units {NETWORK} --store ''": "store ''",
    f"units {NETWORK} --store s4://x": "s4",
    f"units {NETWORK} --set seed": "--set 'seed'",
    f"units {NETWORK} --set max_images=4 --max-images 3": "max_images is given twice",
    f"units {NETWORK} --nosuch 3": "--nosuch",
    "units": "--model",
    f"analyse accuracy {NETWORK} --set seed=x": "seed = 'x'",
    f"analyse nosuch {NETWORK}": "'nosuch'",
    f"plan sumarise {NETWORK}": "did you mean summarise",
    "plan evidence --model misspelt": "'misspelt'",
    "status --store nothere": "nothere",
    "status --store ''": "store ''",
    "publish --store nothere": "nothere",
    "report --store nothere": "nothere",
    "figures --store nothere": "nothere",
    "query 'select 1' --store nothere": "nothere",
    "list nosuch": "'nosuch'",
    "list classes --dataset nosuch": "'nosuch'",
    "nosuch": "'nosuch'",
}
"""Command lines, and what the one line says of each."""
NEED_THE_FORM = {
    f"summarise {NETWORK} --set mask.crisp_steps=-4": "mask.crisp_steps = -4 is outside",
    f"summarise {NETWORK} --set mask.crips_steps=4": "did you mean mask.crisp_steps",
    f"units {NETWORK} --set skip_misclassified=1": "'skip_misclassified'",
    f"units {NETWORK} --set method=x": "'method'",
    f"units {NETWORK} --batch-size 5000": "--batch-size 5000",
    f"units {NETWORK} --shard-size 5000": "--shard-size 5000",
    f"prototypes {NETWORK}": "partbirds_narrow has no prototypes: expected infodisent@FILE",
    f"evidence {NETWORK} --class-map plain=nosuch": "cannot tell which output of partbirds_narrow",
    f"units {NETWORK} --model partbirds_narrow@random?classes=6": "two networks are called 'partbirds_narrow'",
    f"compare {NETWORK}": "2 different networks or more",
    f"compare {NETWORK} --model partbirds_wide@random?classes=7": "xv summarise",
}
"""Whoever fills in a form, or looks into files, imports networks; Prefect's server is not started."""
PROGRAM = """
import contextlib, io, json, shlex, sys
from flows.cli import main
said = {}
for line in json.load(sys.stdin):
    sys.argv, err = ["xv", *shlex.split(line)], io.StringIO()
    with contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            said[line] = (end.code, err.getvalue())
print(json.dumps([said, "prefect" in sys.modules]))
"""


@pytest.mark.slow
def test_what_the_words_tell_is_refused_in_one_line_before_prefect_is_imported(tmp_path) -> None:
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        input=json.dumps(list(REFUSED)),
        capture_output=True,
        text=True,
        check=True,
    )
    said, has_prefect = json.loads(ended.stdout.splitlines()[-1])
    assert not has_prefect
    assert list(tmp_path.iterdir()) == []
    assert set(said) == set(REFUSED)
    for line, words in REFUSED.items():
        _check(*said[line], words)


@pytest.mark.parametrize("line", list(NEED_THE_FORM))
def test_what_a_form_refuses_is_named_as_it_was_typed(line, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    _check(*_said(line, monkeypatch, capsys), NEED_THE_FORM[line])
    assert list(tmp_path.iterdir()) == []


QUERIES = {
    "select nosuch from clusters": "Candidate bindings",
    "from cluster": "did you mean clusters",
    "": "empty",
    "/* nothing */": "empty",
    "selec 1": 'near "selec"',
    "select 1; select 2": "not 2",
    "select 'a'::int": "INT32",
    "create table x as select 1": "CREATE",
    "copy (select 1) to 'x.csv'": "COPY",
    "explain analyze copy (select 1) to 'x.csv'": "EXPLAIN",
    "with a as (copy (select 1) to 'store/a.csv') from a": "COPY",
    "with ä as (select 1), a as materialized ( /* ä */ copy (from ä) to 'store/a.csv') from a": "COPY",
    "with a as (copy (select 1 as b) to 'store/a.csv') pivot masks on area_frac": "COPY",
    "with a as (delete from masks) from a": "DELETE",
    f"selec{'t' * 2000} 1": "ttt …",
    "from read_text('x.txt')": "nothing else",
    "from 'x.txt'": "'x.txt'",
    "update extensions": "no query",
    "select '\udc80'": "'\\udc80' at letter 9",
}


@pytest.mark.parametrize("sql", list(QUERIES))
def test_a_query_that_has_no_answer_is_refused_with_the_reason(sql, tmp_path, monkeypatch, capsys) -> None:
    pytest.importorskip("duckdb")
    monkeypatch.chdir(tmp_path)
    Path("x.txt").write_text("harmless")
    store = build(tmp_path / "store")
    before = sorted(tmp_path.rglob("*"))
    _check(*_said(f"query --store {store.url} {shlex.quote(sql)}", monkeypatch, capsys), QUERIES[sql])
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", ["publish", "report", "figures"])
def test_a_run_that_there_is_not_is_refused(command, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    store = build(tmp_path / "store")
    _check(
        *_said(f"{command} --store {store.url} --run alexnet-visual-summaries-9", monkeypatch, capsys), "summaries-1"
    )
    assert [each.name for each in tmp_path.iterdir()] == ["store"]


def test_every_run_that_cannot_be_published_is_named(tmp_path, monkeypatch, capsys) -> None:
    store = build(tmp_path / "store")
    broken = tmp_path / "store/parts/runs/alexnet-visual-summaries-1.parquet"
    broken.write_bytes(broken.read_bytes()[:-9])
    code, error = _said(f"publish --store {store.url}", monkeypatch, capsys)
    _check(code, error, str(broken))
    _check(code, error, "run vgg16-visual-summaries-2")


@pytest.mark.parametrize("command", ["report --store store", "figures --store store", "demo", "down"])
def test_a_file_is_no_folder(command, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    option = "--home" if command == "down" else "--out"
    _check(*_said(f"{command} {option} file", monkeypatch, capsys), f"'{option}'")


def test_failed_classes_are_exit_code_1_whatever_they_say(monkeypatch, capsys) -> None:
    def fail(**_: object) -> None:
        raise ClassesFailedError("2 of 3:\nout of memory")

    monkeypatch.setattr("flows.cli.app", fail)
    assert _said("units", monkeypatch, capsys) == (1, "error: 2 of 3: out of memory\n")


def test_version_and_help_need_no_command(monkeypatch, capsys) -> None:
    for line in ("--version", "--help", "query --help"):
        code, error = _said(line, monkeypatch, capsys)
        assert (code or 0, error) == (0, "")


def _said(line: str, monkeypatch, capsys) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["xv", *shlex.split(line)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code, capsys.readouterr().err


def _check(code: int, error: str, words: str) -> None:
    assert error.startswith("error: "), error
    assert len(error.splitlines()) == 1
    assert words in error
    assert code == 2
