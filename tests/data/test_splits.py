"""Folders that are called like splits are no classes; a class that is called train is."""

from pathlib import Path

import pytest
from test_datasets import class_ids, ids, touch

from xvcore.data import open_dataset
from xvcore.data.splits import split_of
from xvcore.errors import DataError


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *[
            (name, "train")
            for name in ("train", "Training", "TRAIN", "train2017", "seg_train", "training_set", "trainset")
        ],
        *[(name, "val") for name in ("Val", "validation", "valid", "ILSVRC2012_img_val", "val images", "dev", "eval")],
        *[(name, "test") for name in ("Testing", "test_data", "test-set", "seg_test", "Test Images", "test1")],
        *[
            (name, None)
            for name in ("trains", "bullet train", "2017", "data", "", "val_blurred", "train_test", "latest")
        ],
    ],
)
def test_what_a_split_may_be_called(name: str, split: str | None) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    "names",
    [
        ("Training", "Testing"),
        ("Train", "Test"),
        ("TRAIN", "VAL", "TEST"),
        ("train", "validation"),
        ("seg_train", "seg_test"),
    ],
)
@pytest.mark.parametrize("strays", [(), ("labels", "__MACOSX")])
def test_splits_are_refused_as_classes_in_any_case(
    tmp_path: Path, names: tuple[str, ...], strays: tuple[str, ...]
) -> None:
    touch(*(tmp_path / name / "cat" / "1.png" for name in names), *(tmp_path / stray / "1.txt" for stray in strays))
    with pytest.raises(DataError, match="look like splits, not classes") as refused:
        open_dataset(f"imagefolder:{tmp_path}")
    assert all(f"?split={name}" in str(refused.value) for name in names)
    assert all(stray in str(refused.value) for stray in strays)
    for name in names:
        dataset = open_dataset(f"imagefolder:{tmp_path}?split={name}")
        assert (class_ids(dataset), ids(dataset, "cat")) == (["cat"], [f"{name}/cat/1.png"])


def test_one_split_beside_other_folders_is_told_by_its_shape(tmp_path: Path) -> None:
    touch(tmp_path / "Training" / "cat" / "1.png", tmp_path / "notes" / "1.txt")
    with pytest.raises(DataError, match=r"Training looks like a split.*beside them: notes"):
        open_dataset(f"imagefolder:{tmp_path}")


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    touch(*(tmp_path / name / "1.png" for name in ("bus", "car", "train")))
    assert class_ids(open_dataset(f"imagefolder:{tmp_path}")) == ["bus", "car", "train"]


@pytest.mark.parametrize("name", ["bullet train", "bullet_train", "466.bullet-train", "test tube", "dev board"])
def test_a_class_that_has_a_split_in_its_name_hides_no_other_and_no_split(tmp_path: Path, name: str) -> None:
    """Readers that look for these words anywhere in a path read such a class alone, or in two splits."""
    touch(*(tmp_path / "classes" / each / "1.png" for each in (name, "goldfish")))
    assert set(class_ids(open_dataset(f"imagefolder:{tmp_path}/classes"))) == {name, "goldfish"}
    touch(*(tmp_path / "splits" / split / each / "1.png" for split in ("train", "val") for each in (name, "goldfish")))
    for split in ("train", "val"):
        dataset = open_dataset(f"imagefolder:{tmp_path}/splits?split={split}")
        assert set(class_ids(dataset)) == {name, "goldfish"}
        assert ids(dataset, name) == [f"{split}/{name}/1.png"]


def test_folders_inside_a_class_are_no_classes(tmp_path: Path) -> None:
    touch(*(tmp_path / name / age / "1.png" for name in ("a", "b") for age in ("adult", "young")))
    touch(*(tmp_path / "tiny" / "train" / name / "images" / f"{name}_0.JPEG" for name in ("n01443537", "n02917067")))
    dataset = open_dataset(f"imagefolder:{tmp_path}/tiny?split=train")
    assert class_ids(dataset) == ["n01443537", "n02917067"]
    assert ids(dataset, "n02917067") == ["train/n02917067/images/n02917067_0.JPEG"]
    (tmp_path / "tiny").rename(tmp_path.parent / f"{tmp_path.name}-tiny")
    assert class_ids(open_dataset(f"imagefolder:{tmp_path}")) == ["a", "b"]


def test_who_knows_better_says_so(tmp_path: Path) -> None:
    touch(tmp_path / "train" / "1.png", tmp_path / "test" / "1.png")
    assert class_ids(open_dataset(f"imagefolder:{tmp_path}?splits=no")) == ["test", "train"]
    with pytest.raises(DataError, match="unknown value of splits: 'nope'"):
        open_dataset(f"imagefolder:{tmp_path}?splits=nope")


def test_splits_one_step_further_down_are_found_and_opened(tmp_path: Path) -> None:
    touch(tmp_path / "dataset" / "Train" / "cat" / "1.png", tmp_path / "dataset" / "Test" / "cat" / "1.png")
    with pytest.raises(DataError, match=r"\?split=dataset/Test or \?split=dataset/Train"):
        open_dataset(f"imagefolder:{tmp_path}")
    dataset = open_dataset(f"imagefolder:{tmp_path}?split=dataset/Train")
    assert (dataset.split, ids(dataset, "cat")) == ("dataset/Train", ["dataset/Train/cat/1.png"])


@pytest.mark.parametrize("split", ["..", "a/../..", "/etc", "train/", ".hidden"])
def test_a_split_does_not_leave_the_folder(tmp_path: Path, split: str) -> None:
    touch(tmp_path / "in" / "a" / "1.png", tmp_path / "in" / ".hidden" / "a" / "1.png", tmp_path / "b" / "1.png")
    with pytest.raises(DataError, match="unknown split"):
        open_dataset(f"imagefolder:{tmp_path}/in?split={split}")


def test_the_only_class_that_holds_folders_is_pointed_at(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path / "pictures" / "cat" / "1.png", tmp_path / "pictures" / "dog" / "1.png")
    assert class_ids(open_dataset(f"imagefolder:{tmp_path}")) == ["pictures"]
    assert f"{tmp_path}/pictures: the images of the only class lie in 2 folders" in caplog.text


def test_splits_far_down_are_found(tmp_path: Path) -> None:
    touch(*(tmp_path / "archive" / "dataset" / split / "cat" / "1.png" for split in ("Train", "Valid")))
    with pytest.raises(DataError, match=r"\?split=archive/dataset/Train or \?split=archive/dataset/Valid"):
        open_dataset(f"imagefolder:{tmp_path}")
    assert ids(open_dataset(f"imagefolder:{tmp_path}?split=archive/dataset/Valid"), "cat") == [
        "archive/dataset/Valid/cat/1.png"
    ]


def test_images_and_labels_beside_each_other_are_no_classes(tmp_path: Path) -> None:
    touch(*(tmp_path / "images" / split / "cat" / "1.png" for split in ("train", "val")))
    touch(*(tmp_path / "labels" / split / "1.txt" for split in ("train", "val")))
    with pytest.raises(DataError, match=r"\?split=images/train or \?split=images/val"):
        open_dataset(f"imagefolder:{tmp_path}")
