"""Training: the file that comes out, and how good the two networks get."""

import os
from pathlib import Path

import pytest
import torch

from xvcore.data import open_dataset
from xvcore.errors import XvError
from xvcore.models import Classifier, load
from xvcore.stages.train import TRAINING_SET, train

FEW = "partbirds?classes=2&images=12&split=train"


def accuracy(classifier: Classifier, spec: str) -> float:
    dataset = open_dataset(spec)
    hits = []
    for info in dataset.classes:
        images = torch.stack([torch.from_numpy(dataset.picture(each)) for each in dataset.images(info.class_id)])
        found = classifier.logits(images.permute(0, 3, 1, 2).float() / 255).argmax(dim=1)
        hits.append((found == info.class_idx).float().mean())
    return float(torch.stack(hits).mean())


def test_the_same_seed_gives_the_same_file_and_another_seed_another(tmp_path: Path) -> None:
    files = [
        train("partbirds_narrow", FEW, tmp_path / name / "w.pt", steps=3, seed=seed, device="cpu").read_bytes()
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert files[0] == files[1] != files[2]


def test_the_file_names_its_outputs_after_the_classes(tmp_path: Path) -> None:
    path = train("partbirds_wide", FEW, tmp_path / "w.pt", steps=1, device="cpu")
    classifier = load(f"partbirds_wide@{path}")
    assert classifier.outputs is not None
    assert [output.name for output in classifier.outputs] == [info.class_name for info in open_dataset(FEW).classes]
    assert classifier.layers[0] == "conv1"
    assert all(classifier.layer(name) is not None for name in classifier.layers)


def test_training_reports_each_step_and_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    seen: list[tuple[int, int]] = []
    train("partbirds_narrow", FEW, tmp_path / "w.pt", steps=4, progress=lambda *at: seen.append(at), device="cpu")
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert torch.equal(before, torch.get_rng_state())


def test_a_write_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        train("partbirds_narrow", FEW, tmp_path / "w.pt", steps=1, device="cpu")
    assert os.listdir(tmp_path) == []  # noqa: PTH208 -- hidden files count


def test_unknown_names_and_impossible_steps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(XvError, match="partbirds_wide"):
        train("partbirds_wid", FEW, tmp_path / "w.pt", steps=1)
    with pytest.raises(XvError, match="steps"):
        train("partbirds_wide", FEW, tmp_path / "w.pt", steps=0)


def test_a_few_steps_learn_something(tmp_path: Path) -> None:
    data = "partbirds?classes=1&images=60&split=train"
    path = train("partbirds_narrow", data, tmp_path / "w.pt", steps=150, device="cpu")
    assert accuracy(load(f"partbirds_narrow@{path}"), "partbirds?classes=1&images=30") > 0.8


@pytest.mark.slow
def test_the_wide_network_knows_the_birds_and_the_narrow_one_knows_them_less(tmp_path: Path) -> None:
    reached = {
        name: accuracy(load(f"{name}@{train(name, TRAINING_SET, tmp_path / f'{name}.pt', device='cpu')}"), "partbirds")
        for name in ("partbirds_wide", "partbirds_narrow")
    }
    assert reached["partbirds_wide"] >= 0.95
    assert reached["partbirds_narrow"] < reached["partbirds_wide"]
