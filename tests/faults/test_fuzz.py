"""A sample of the inputs of ``fuzz.py`` and of the kills of ``kills.py``; the whole of either is run by hand."""

import os
import random
import subprocess
import sys
from pathlib import Path

import fuzz
import pytest

HERE = Path(__file__).parent
SAMPLE = {
    "images": 150,
    "weights": 60,
    "networks": 100,
    "datasets": 100,
    "stores": 60,
    "parameters": 150,
    "requests": 60,
    "files": 15,
    "sql": 60,
}


def _run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of one thread, which can be forked."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(HERE / script), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)


def test_every_area_has_a_sample() -> None:
    assert SAMPLE.keys() == fuzz.AREAS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("area", SAMPLE)
def test_whatever_is_given_is_taken_or_refused_in_one_line_and_nothing_hangs(area: str) -> None:
    done = _run("fuzz.py", area, "--inputs", str(SAMPLE[area]), "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{SAMPLE[area]} inputs, 0 findings" in done.stdout


@pytest.mark.slow
def test_runs_of_every_method_that_were_killed_leave_the_tables_of_undisturbed_ones() -> None:
    done = _run("kills.py", "--kills", "10", "--seed", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 kills in" in done.stdout


class _Broken:
    """An area whose inputs are refused as they should be, and otherwise, end the process, and hang."""

    def __call__(self, _folder: Path):
        kinds = {0: lambda: "fine", 1: self._name_nothing, 2: lambda: str(int("none")), 3: lambda: os._exit(9)}

        def drawn(chance: random.Random) -> fuzz.Trial:
            kind = chance.randrange(4)
            return fuzz.Trial(f"kind {kind}", kinds[kind], names=("value",))

        return drawn

    @staticmethod
    def _name_nothing() -> str:
        raise fuzz.XvError("something is wrong")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_what_must_not_be_is_found_and_the_inputs_behind_it_are_looked_at() -> None:
    report = fuzz.examine(_Broken(), 40, seed=0)
    kinds = [random.Random(f"0/{number}").randrange(4) for number in range(40)]
    assert set(kinds) == {0, 1, 2, 3}
    assert report.outcomes == {"fine": kinds.count(0)}
    for kind, words in (
        (1, "XvError names none"),
        (2, "ValueError: invalid literal"),
        (3, "ends the process (9): kind 3"),
    ):
        assert sum(words in finding for finding in report.findings) == kinds.count(kind)
