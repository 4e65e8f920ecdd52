"""The examples of the README run as they stand there."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from tour import TOUR, blocks

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = [text for text in blocks((ROOT / "README.md").read_text()) if text not in TOUR]


def example(words: str) -> str:
    """Return the one example that has these words."""
    (found,) = (text for text in EXAMPLES if words in text)
    return found


def test_every_example_is_run_by_a_test() -> None:
    assert len(EXAMPLES) == len({example(words) for words in ("SparseMask()", "wrap(", '"clusters"')})


@pytest.mark.slow
def test_an_image_and_its_mask(test_data: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    weights = test_data / "weights" / "squeezenet1_1.pt"
    pictures = sorted((test_data / "imagenet-mini").rglob("n01558993*.JPEG"))
    if not weights.exists() or not pictures:
        pytest.skip(f"no {weights} or no robin in {test_data}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    shutil.copy(weights, tmp_path / "weights")
    shutil.copy(pictures[0], tmp_path / "robin.jpg")
    exec(example("SparseMask()"), {})
    said = capsys.readouterr().out
    area, drop = map(
        int, re.fullmatch(r"removing (\d+)% of the pixels takes (\d+)% of the probability\n", said).groups()
    )
    assert 0 < area < 60
    assert drop > 80


def test_a_network_in_memory_and_the_tables(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    known: dict[str, object] = {}
    exec(example("wrap("), known)
    assert "positive_frac" in capsys.readouterr().out
    assert known["run"].store.status()["status"].tolist() == ["complete"]
    assert pd.read_parquet(tmp_path / "my-store" / "tables" / "evidence")["image_id"].nunique() == 10
    clusters = example('"clusters"').replace("/data/xv-store", str(tmp_path / "my-store"))
    exec(clusters, {})
