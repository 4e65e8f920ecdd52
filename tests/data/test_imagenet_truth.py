"""Flat validation images of ImageNet: whatever list tells their classes, the classes are the same."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from test_datasets import ids, touch, write

from xvcore.data import open_dataset
from xvcore.errors import DataError
from xvcore.models.labels import labelled

TENCH, SHARK, ROBIN = "n01440764", "n01494475", "n01558993"
SORTED = (TENCH, SHARK, ROBIN)
TRUTH = (ROBIN, TENCH, ROBIN, SHARK)
"""Of image 1, 2, 3, 4."""
IDS = {SHARK: 1, ROBIN: 2, TENCH: 3}
"""Of the development kit: another order than that of the WordNet ids."""


def image(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}"


def flat(folder: Path) -> None:
    touch(*(folder / f"{image(number)}.JPEG" for number in range(1, 5)))


def meta_mat(file: Path, key: str) -> None:
    fields = [(key, "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(number, wnid, "a name", 0) for wnid, number in IDS.items()] + [(1001, "n00001740", "entity", 7)]
    file.parent.mkdir(parents=True, exist_ok=True)
    savemat(file, {"synsets": np.array(rows, dtype=fields)[:, None]})


def kit(folder: Path, name: str, *, mapping: str) -> None:
    write(folder / name, *(str(IDS[wnid]) for wnid in TRUTH))
    if mapping == "map_clsloc.txt":
        write(folder / mapping, *(f"{wnid} {number} name" for wnid, number in IDS.items()))
    else:
        meta_mat(folder / mapping, "ILSVRC2015_CLSLOC_ID" if "clsloc" in mapping else "ILSVRC2012_ID")


def caffe(folder: Path, synsets: str) -> None:
    write(folder / "val.txt", *(f"{image(n)}.JPEG {SORTED.index(wnid)}" for n, wnid in enumerate(TRUTH, start=1)))
    lines = {"synsets.txt": "{}", "synset_words.txt": "{} a name, another", "LOC_synset_mapping.txt": "{} a name"}
    write(folder / synsets, *(lines[synsets].format(wnid) for wnid in SORTED))


def kaggle(root: Path) -> None:
    rows = [f"{image(n)},{wnid} 1 2 3 4 {wnid} 5 6 7 8" for n, wnid in enumerate(TRUTH, start=1)]
    write(root / "LOC_val_solution.csv", "ImageId,PredictionString", *reversed(rows))


def valprep(root: Path) -> None:
    moves = (f"mv {image(n)}.JPEG {wnid}/" for n, wnid in enumerate(TRUTH, start=1))
    write(root / "valprep.sh", "#!/bin/bash", *(f"mkdir -p {wnid}" for wnid in SORTED), *moves)


def annotations(root: Path) -> None:
    write(
        root / "val" / "val_annotations.txt", *(f"{image(n)}.JPEG\t{w}\t0\t0\t62\t62" for n, w in enumerate(TRUTH, 1))
    )


def mxnet(root: Path) -> None:
    write(root / "val.lst", *(f"{n}\t{SORTED.index(w)}.000000\tval/{image(n)}.JPEG" for n, w in enumerate(TRUTH, 1)))
    write(root / "synsets.txt", *SORTED)


def table(root: Path) -> None:
    write(root / "val_labels.csv", "filename;wnid", *(f"val/{image(n)}.JPEG;{w}" for n, w in enumerate(TRUTH, 1)))


def mapping(root: Path) -> None:
    (root / "val_labels.json").write_text(json.dumps({f"{image(n)}.JPEG": w for n, w in enumerate(TRUTH, 1)}))


TRUTH_2012, TRUTH_2015 = "ILSVRC2012_validation_ground_truth.txt", "ILSVRC2015_clsloc_validation_ground_truth.txt"
LISTS = {
    "kaggle": kaggle,
    "devkit with meta.mat": lambda root: kit(root / "ILSVRC2012_devkit_t12/data", TRUTH_2012, mapping="meta.mat"),
    "devkit in the parts": lambda root: kit(root, TRUTH_2012, mapping="meta.mat"),
    "devkit with map": lambda root: kit(root / "devkit/data", TRUTH_2012, mapping="map_clsloc.txt"),
    "2015 with map": lambda root: kit(root / "ILSVRC2015_devkit/data", TRUTH_2015, mapping="map_clsloc.txt"),
    "2015 with meta": lambda root: kit(root / "devkit/data", TRUTH_2015, mapping="meta_clsloc.mat"),
    "caffe": lambda root: caffe(root, "synsets.txt"),
    "caffe in its folder": lambda root: caffe(root / "caffe_ilsvrc12", "synset_words.txt"),
    "caffe in val": lambda root: caffe(root / "val", "LOC_synset_mapping.txt"),
    "tensorflow": lambda root: write(root / "imagenet_2012_validation_synset_labels.txt", *TRUTH),
    "valprep": valprep,
    "annotations": annotations,
    "mxnet": mxnet,
    "table": table,
    "json": mapping,
}


def told(root: Path, query: str = "?split=val") -> dict[str, list[int]]:
    dataset = open_dataset(f"imagenet:{root}{query}")
    return {
        info.class_id: [int(Path(each).stem[-8:]) for each in ids(dataset, info.class_id)] for info in dataset.classes
    }


EXPECTED = {TENCH: [2], SHARK: [4], ROBIN: [1, 3]}


@pytest.mark.parametrize("name", LISTS)
def test_every_list_tells_the_same(tmp_path: Path, name: str) -> None:
    flat(tmp_path / "val")
    LISTS[name](tmp_path)
    assert told(tmp_path) == told(tmp_path, "") == EXPECTED


@pytest.mark.parametrize(
    "folder",
    ["ILSVRC2012_img_val", "Val", "validation", "ILSVRC/Data/CLS-LOC/val", "ILSVRC2015/Data/CLS-LOC/val", "val/images"],
)
def test_the_folder_of_the_images_goes_by_its_usual_names(tmp_path: Path, folder: str) -> None:
    flat(tmp_path / folder)
    LISTS["tensorflow"](tmp_path)
    assert told(tmp_path) == EXPECTED


@pytest.mark.parametrize("inside", [True, False])
def test_the_folder_of_the_images_may_be_opened_itself(tmp_path: Path, inside: bool) -> None:
    folder = tmp_path / "val"
    flat(folder)
    LISTS["devkit in the parts"](folder if inside else tmp_path)
    assert told(folder) == EXPECTED


def test_numbers_count_the_training_folders_where_there_are_as_many(tmp_path: Path) -> None:
    flat(tmp_path / "val")
    caffe(tmp_path, "synsets.txt")
    (tmp_path / "synsets.txt").unlink()
    with pytest.raises(DataError, match=r"val.txt: numbers up to 2, and nothing tells which class each is"):
        told(tmp_path)
    touch(*(tmp_path / "train" / wnid / "1.JPEG" for wnid in SORTED))
    assert told(tmp_path) == EXPECTED
    touch(tmp_path / "train" / "n09999999" / "1.JPEG")
    with pytest.raises(DataError, match="nothing tells which class each is"):
        told(tmp_path)


def test_all_numbers_of_imagenet_count_its_own_classes(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    flat(tmp_path / "val")
    numbers = {1: 15, 2: 0, 3: 15, 4: 4, 5: 999}
    write(tmp_path / "val.txt", *(f"{image(n)}.JPEG {label}" for n, label in numbers.items()))
    assert told(tmp_path) == EXPECTED


@pytest.mark.parametrize("split", ["train", "all", "val"])
def test_flat_validation_images_without_truth_stop_only_who_asks_for_them(tmp_path: Path, split: str) -> None:
    flat(tmp_path / "val")
    touch(tmp_path / "train" / ROBIN / "1.JPEG")
    if split == "train":
        assert ids(open_dataset(f"imagenet:{tmp_path}?split=train"), ROBIN) == [f"train/{ROBIN}/1.JPEG"]
    else:
        with pytest.raises(DataError, match=r"4 validation images lie flat.*\?split=train does without them"):
            open_dataset(f"imagenet:{tmp_path}?split={split}")


def test_a_validation_folder_that_cannot_be_listed_is_no_matter_for_the_training_images(tmp_path: Path) -> None:
    touch(tmp_path / "train" / ROBIN / "1.JPEG")
    (tmp_path / "val").symlink_to(tmp_path / "away")
    assert ids(open_dataset(f"imagenet:{tmp_path}?split=train"), ROBIN) == [f"train/{ROBIN}/1.JPEG"]


def test_a_list_may_be_given(tmp_path: Path) -> None:
    flat(tmp_path / "data" / "val")
    write(tmp_path / "mine.txt", *TRUTH)
    assert told(tmp_path / "data", f"?truth={tmp_path}/mine.txt") == EXPECTED
    with pytest.raises(DataError, match=r"nowhere\.txt cannot be read"):
        told(tmp_path / "data", f"?truth={tmp_path}/nowhere.txt")
    touch(tmp_path / "train" / ROBIN / "1.JPEG")
    with pytest.raises(DataError, match="no images lie flat"):
        told(tmp_path, f"?split=train&truth={tmp_path}/mine.txt")


@pytest.mark.parametrize(
    ("file", "lines", "words"),
    [
        ("val.txt", [f"{image(1)}.JPEG 1", f"{image(2)}.JPEG 7"], "number 7 is none of the 3 classes of"),
        ("val.txt", [f"{image(1)}.JPEG 1", "hello"], "'hello' tells no class"),
        ("val.txt", [f"{image(1)}.JPEG 1", TENCH], "its lines tell different things"),
        ("val.txt", [f"{image(1)} {TENCH}", f"{image(1)} {ROBIN}"], "is both n01440764 and n01558993"),
        (TRUTH_2012, ["1", "2"], "neither lies beside it"),
        ("val_labels.json", ["[1, 2]"], "expected a JSON object, found list"),
        ("val.txt", ["# nothing"], "no line tells a class"),
    ],
)
def test_a_list_that_cannot_be_understood_is_named_with_the_reason(
    tmp_path: Path, file: str, lines: list[str], words: str
) -> None:
    flat(tmp_path / "val")
    write(tmp_path / "synsets.txt", *SORTED)
    write(tmp_path / file, *lines)
    with pytest.raises(DataError, match=f"found, but not understood.*{words}"):
        told(tmp_path)


@pytest.mark.parametrize("data", [b"", b"MATLAB 5.0 MAT-file" + b" " * 200, b"\0" * 500, b"\x89HDF\r\n\x1a\n"])
def test_a_damaged_table_of_the_development_kit_is_named(tmp_path: Path, data: bytes) -> None:
    flat(tmp_path / "val")
    kit(tmp_path, TRUTH_2012, mapping="meta.mat")
    (tmp_path / "meta.mat").write_bytes(data)
    with pytest.raises(DataError, match=r"meta\.mat"):
        told(tmp_path)


def test_a_whole_table_cut_anywhere_is_named(tmp_path: Path) -> None:
    flat(tmp_path / "val")
    kit(tmp_path, TRUTH_2012, mapping="meta.mat")
    whole = (tmp_path / "meta.mat").read_bytes()
    for end in range(0, len(whole) - 1, max(1, len(whole) // 40)):
        (tmp_path / "meta.mat").write_bytes(whole[:end])
        with pytest.raises(DataError):
            told(tmp_path)


def test_folders_of_classes_and_labels_may_have_a_name_behind_the_wordnet_id(tmp_path: Path) -> None:
    touch(tmp_path / "train" / f"{ROBIN}-American_robin" / "1.jpg", tmp_path / "val" / ROBIN / "2.jpg")
    dataset = open_dataset(f"imagenet:{tmp_path}")
    assert [(info.class_id, info.wnid, info.class_name) for info in dataset.classes] == [
        (ROBIN, ROBIN, "American robin")
    ]
    assert ids(dataset, ROBIN) == [f"train/{ROBIN}-American_robin/1.jpg", f"val/{ROBIN}/2.jpg"]
    folder = open_dataset(f"imagefolder:{tmp_path}?split=train").classes[0]
    assert (folder.class_id, folder.wnid, folder.class_name) == (f"{ROBIN}-American_robin", ROBIN, "American robin")
    (output,) = labelled([folder.class_id])
    assert (output.wnid, output.name) == (ROBIN, "American_robin")


@pytest.mark.parametrize("name", ["n015589931", "n0155899", "N01558993", "n01558993x", "xn01558993"])
def test_what_is_no_wordnet_id_in_front_is_a_name(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name / "1.png")
    info = open_dataset(f"imagefolder:{tmp_path}").classes[0]
    assert (info.class_id, info.class_name, info.wnid) == (name, name, None)
