"""Training: the file that comes out, and how good the two networks get."""

import os
from pathlib import Path

import pytest
import torch

from xvcore.data import open_dataset
from xvcore.errors import XvError
from xvcore.models import Classifier, load
from xvcore.runs.train import TRAINING_SET, train

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


class StoppedError(Exception):
    pass


def stop_after(last: int):
    def progress(step: int, _total: int) -> None:
        if step == last:
            raise StoppedError

    return progress


@pytest.mark.parametrize(
    "architecture", ["partbirds_narrow", pytest.param("partbirds_bagnet9", marks=pytest.mark.slow)]
)
def test_a_training_that_was_interrupted_gives_the_same_file(tmp_path: Path, architecture: str) -> None:
    few = "partbirds?classes=1&images=20&split=train"
    whole = train(architecture, few, tmp_path / "a" / "w.pt", steps=6, device="cpu", checkpoint_every=2)
    out = tmp_path / "b" / "w.pt"
    seen: list[int] = []
    for last in (3, 5):
        with pytest.raises(StoppedError):
            train(architecture, few, out, steps=6, device="cpu", checkpoint_every=2, progress=stop_after(last))
        assert not out.exists()
    train(architecture, few, out, steps=6, device="cpu", checkpoint_every=2, progress=lambda step, _: seen.append(step))
    assert seen == [5, 6]
    assert out.read_bytes() == whole.read_bytes()
    assert os.listdir(out.parent) == ["w.pt"]  # noqa: PTH208 -- hidden files count


def test_a_checkpoint_of_another_training_is_left_aside(tmp_path: Path) -> None:
    few, out = "partbirds?classes=1&images=20&split=train", tmp_path / "w.pt"
    with pytest.raises(StoppedError):
        train("partbirds_narrow", few, out, steps=6, device="cpu", checkpoint_every=2, progress=stop_after(4))
    seen: list[int] = []
    train(
        "partbirds_narrow",
        few,
        out,
        steps=6,
        seed=1,
        device="cpu",
        checkpoint_every=2,
        progress=lambda step, _: seen.append(step),
    )
    assert seen == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("left", [b"", b"no archive", "cut", "flipped"])
def test_a_damaged_checkpoint_is_left_aside_and_said(tmp_path: Path, left: bytes | str, caplog) -> None:
    few, out = "partbirds?classes=1&images=4&split=train", tmp_path / "w.pt"
    with pytest.raises(StoppedError):
        train("partbirds_narrow", few, out, steps=3, device="cpu", checkpoint_every=1, progress=stop_after(2))
    checkpoint = tmp_path / ".w.pt.training"
    data = bytearray(checkpoint.read_bytes())
    data[len(data) // 2] ^= 1
    checkpoint.write_bytes({"cut": data[:-50], "flipped": data}.get(left, left))
    seen: list[int] = []
    train("partbirds_narrow", few, out, steps=3, device="cpu", checkpoint_every=1, progress=lambda n, _: seen.append(n))
    assert seen == [1, 2, 3]
    assert "training is damaged" in caplog.text


def test_mixed_precision_gives_weights_in_float32_that_differ(tmp_path: Path) -> None:
    few = "partbirds?classes=1&images=20&split=train"
    plain, mixed = (
        torch.load(train("partbirds_narrow", few, tmp_path / str(amp), steps=2, device="cpu", amp=amp))["state_dict"]
        for amp in (False, True)
    )
    assert all(value.dtype == torch.float32 for value in mixed.values())
    assert not torch.equal(plain["conv1.weight"], mixed["conv1.weight"])
    torch.testing.assert_close(plain["conv1.weight"], mixed["conv1.weight"], rtol=0, atol=0.02)


def test_unknown_names_and_impossible_steps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(XvError, match="partbirds_wide"):
        train("partbirds_wid", FEW, tmp_path / "w.pt", steps=1)
    with pytest.raises(XvError, match="steps"):
        train("partbirds_wide", FEW, tmp_path / "w.pt", steps=0)


@pytest.mark.slow
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


def test_weights_are_kept_on_the_way_and_do_not_move_the_training(tmp_path: Path) -> None:
    few = "partbirds?classes=1&images=20&split=train"
    plain = train("partbirds_narrow", few, tmp_path / "plain.pt", steps=6, device="cpu")
    kept = train("partbirds_narrow", few, tmp_path / "kept.pt", steps=6, device="cpu", keep=[2, 6])
    assert kept.read_bytes() == plain.read_bytes()
    early, last = (load(f"partbirds_narrow@{tmp_path / f'kept-step{step}.pt'}") for step in (2, 6))
    final = load(f"partbirds_narrow@{kept}")
    images = torch.rand(2, 3, 128, 128)
    assert torch.equal(last.logits(images), final.logits(images))
    assert not torch.equal(early.logits(images), final.logits(images))


def test_images_that_do_not_fit_the_memory_are_decoded_anew_and_give_the_same_weights(tmp_path: Path) -> None:
    few = "partbirds?classes=1&images=20&split=train"
    held = train("partbirds_narrow", few, tmp_path / "held.pt", steps=4, device="cpu")
    streamed = train("partbirds_narrow", few, tmp_path / "streamed.pt", steps=4, device="cpu", held_bytes=0)
    assert held.read_bytes() == streamed.read_bytes()
