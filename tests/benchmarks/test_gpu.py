"""The benchmark for GPUs, on this machine's processor and on a pretended GPU, so that it is right where it counts."""

import os
import shutil
import subprocess

import gpu
import pytest
from accelerator import accelerator

ROWS = {
    "bare": ["bare network"] * 5,
    "evidence": ["evidence"],
    "units": ["units"],
    "masks": ["masks"] * 2,
    "flow": ["proposal flow"],
    "heads": ["heads"] * 4,
    "compiled": ["masks"] * 2,
}


def table(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines[0] == gpu.HEADINGS[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def assert_consistent(text: str, sections: list[str]) -> None:
    """Every row is there, all figures are above 0, and the shares are what the other figures say."""
    rows = table(text)
    n_decoding = sum(row[0] == "decoding" for row in rows)
    assert n_decoding >= 2 * ("decoding" in sections)
    expected = [name for section in sections for name in ROWS.get(section, ["decoding"] * n_decoding)]
    assert [row[0] for row in rows] == expected
    for row in rows:
        rate, passes, bare, share, peak = map(float, row[2:7])
        assert min(rate, passes, bare, peak) > 0
        assert share == pytest.approx(rate * passes / bare, rel=2e-3, abs=6e-4)
    assert len({(row[0], row[1]) for row in rows}) == len(rows)


def run(tmp_path, sections: list[str], *arguments: str) -> str:
    """Run the benchmark and return the file it has written, which says what it printed."""
    out = tmp_path / "gpu.md"
    assert gpu.main(["--small", "--out", str(out), "--only", *sections, *arguments], gpu.time.monotonic()) == 0
    return out.read_text()


QUICK = ["bare", "evidence", "units", "masks", "flow", "heads", "decoding"]


def test_every_row_is_there_and_the_figures_agree(tmp_path, capsys):
    text = run(tmp_path, QUICK, "--device", "cpu", "--minutes", "30")
    assert "not run, the device is cpu" in text
    assert_consistent(text, QUICK)
    assert table(capsys.readouterr().out) == table(text)


def test_nothing_that_a_gpu_would_refuse_is_asked_of_it(tmp_path):
    with accelerator():
        text = run(tmp_path, QUICK, "--device", "cuda", "--minutes", "30", "--without-tests")
    assert text.startswith("cuda: pretended")
    assert_consistent(text, QUICK)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("default")
def test_compiled_masks_have_their_rows(tmp_path):
    assert_consistent(run(tmp_path, ["compiled"], "--device", "cpu", "--minutes", "30"), ["compiled"])


def test_what_the_time_does_not_allow_is_skipped_with_a_word(tmp_path):
    text = run(tmp_path, list(gpu.SECTIONS), "--device", "cpu", "--minutes", "0")
    assert not table(text)
    assert [line.split(":")[0] for line in text.splitlines() if "skipped" in line] == [f"* {n}" for n in gpu.SECTIONS]


def test_a_section_that_fails_is_told_and_the_others_go_on(tmp_path, capsys):
    out = tmp_path / "gpu.md"
    # Tensors without memory have no numbers, so nothing but the bare network's call can begin on them.
    arguments = ["--small", "--device", "meta", "--only", "evidence", "flow", "--minutes", "30", "--out", str(out)]
    assert gpu.main(arguments, gpu.time.monotonic()) == 1
    assert [line.split(",")[0] for line in out.read_text().splitlines() if "FAILED" in line] == [
        "* evidence: FAILED",
        "* flow: FAILED",
    ]
    assert "Traceback" in capsys.readouterr().err


def test_tests_marked_gpu_are_found_by_their_files():
    files = gpu.gpu_tests()
    assert "tests/ops/test_full_precision.py" in files
    assert all("mark.gpu" in (gpu.ROOT / file).read_text() for file in files)
    assert not any("flows" in file for file in files)


@pytest.mark.slow
def test_tests_marked_gpu_pass_on_the_pretended_one():
    command = [gpu.sys.executable, "-m", "pytest", "-p", "accelerator", *gpu.QUIETLY, *gpu.gpu_tests()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(gpu.ROOT), str(gpu.ROOT / "tests")])}
    done = subprocess.run(command, cwd=gpu.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
