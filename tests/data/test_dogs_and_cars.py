"""Stanford Dogs and Stanford Cars in the layouts that they are given out in."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from test_datasets import class_ids, ids, touch, write

from xvcore.data import Dataset, open_dataset
from xvcore.errors import DataError

CHIHUAHUA, POINTER = "n02085620-Chihuahua", "n02100236-German_short-haired_pointer"


def cells(*values: str) -> np.ndarray:
    column = np.empty((len(values), 1), dtype=object)
    column[:, 0] = values
    return column


def kennel(root: Path, lists: str = "") -> Path:
    """Two breeds; the third image of the training list is not on the disk."""
    train = [f"{CHIHUAHUA}/n02085620_1.jpg", f"{POINTER}/n02100236_3.jpg", f"{POINTER}/n02100236_9.jpg"]
    test = [f"{CHIHUAHUA}/n02085620_2.jpg"]
    touch(*(root / "Images" / name for name in [*train[:2], *test]))
    (root / lists).mkdir(parents=True, exist_ok=True)
    for name, files in (("train", train), ("test", test)):
        labels = np.array([[1] if CHIHUAHUA in each else [2] for each in files], dtype=np.uint8)
        content = {
            "file_list": cells(*files),
            "annotation_list": cells(*(each[:-4] for each in files)),
            "labels": labels,
        }
        savemat(root / lists / f"{name}_list.mat", content)
    box = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
    objects = [
        f"<object><name>Chihuahua</name>{box.format(*corners)}</object>"
        for corners in ((25, 10, 276, 498), (1, 1, 2, 2))
    ]
    write(root / "Annotation" / CHIHUAHUA / "n02085620_1", f"<annotation>{''.join(objects)}</annotation>")
    return root


@pytest.mark.parametrize("lists", ["", "lists"])
def test_stanford_dogs(tmp_path: Path, lists: str) -> None:
    kennel(tmp_path, lists)
    every, train, test = (open_dataset(f"dogs:{tmp_path}{query}") for query in ("", "?split=train", "?split=test"))
    assert isinstance(every, Dataset)
    assert [(info.class_id, info.class_name, info.wnid) for info in every.classes] == [
        (CHIHUAHUA, "Chihuahua", "n02085620"),
        (POINTER, "German short-haired pointer", "n02100236"),
    ]
    assert (class_ids(train), class_ids(test)) == ([CHIHUAHUA, POINTER], [CHIHUAHUA])
    assert ids(train, CHIHUAHUA) == [f"{CHIHUAHUA}/n02085620_1.jpg"]
    assert ids(test, CHIHUAHUA) == [f"{CHIHUAHUA}/n02085620_2.jpg"]
    assert ids(every, CHIHUAHUA) == ids(train, CHIHUAHUA) + ids(test, CHIHUAHUA)
    assert every.read(every.images(POINTER)[0]) == b"x"
    assert [(each.image_id[-5], each.x, each.y, each.w, each.h) for each in every.boxes(CHIHUAHUA)] == [
        ("1", 24.0, 9.0, 252.0, 489.0),
        ("1", 0.0, 0.0, 2.0, 2.0),
    ]
    assert every.boxes(POINTER) == every.parts(POINTER) == ()


def test_dogs_without_lists_can_be_opened_as_a_whole(tmp_path: Path) -> None:
    kennel(tmp_path, "lists")
    (tmp_path / "lists").rename(tmp_path / "elsewhere")
    assert class_ids(open_dataset(f"dogs:{tmp_path}")) == [CHIHUAHUA, POINTER]
    with pytest.raises(DataError, match=r"has no train_list\.mat"):
        open_dataset(f"dogs:{tmp_path}?split=train")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<annotation>", "no annotation that can be understood"),
        ("<a><bndbox><xmin>x</xmin></bndbox></a>", "no annotation that can be understood"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "defines no entities"),
    ],
)
def test_damaged_annotations_of_dogs_are_named(tmp_path: Path, text: str, words: str) -> None:
    write(kennel(tmp_path) / "Annotation" / CHIHUAHUA / "n02085620_1", text)
    with pytest.raises(DataError, match=f"n02085620_1.*{words}"):
        open_dataset(f"dogs:{tmp_path}").boxes(CHIHUAHUA)


NAMES = ("AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012", "smart fortwo Convertible 2012")
CARS = {"00001": (1, 0), "00002": (3, 0), "00003": (1, 1), "00004": (2, 1), "00005": (3, 1)}
"""Class and whether it is a test image; the last one is not on the disk."""
BOX = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


def structs(fields: tuple[str, ...], rows: list[tuple]) -> np.ndarray:
    return np.array([rows], dtype=[(name, "O") for name in fields])


def names_of_cars() -> np.ndarray:
    row = np.empty((1, len(NAMES)), dtype=object)
    row[0] = NAMES
    return row


def old_garage(root: Path) -> Path:
    rows = [(f"car_ims/0{n}.jpg", 10, 20, 30, 60, label, test) for n, (label, test) in CARS.items()]
    fields = ("relative_im_path", *BOX, "class", "test")
    touch(*(root / row[0] for row in rows[:-1]))
    savemat(root / "cars_annos.mat", {"annotations": structs(fields, rows), "class_names": names_of_cars()})
    return root


def new_garage(root: Path, kit: str = "devkit", *, nested: bool = False, with_labels: bool = True) -> Path:
    (root / kit).mkdir(parents=True, exist_ok=True)
    savemat(root / kit / "cars_meta.mat", {"class_names": names_of_cars()})
    for split, is_test in (("train", 0), ("test", 1)):
        numbers = [(n, label) for n, (label, test) in CARS.items() if test == is_test]
        folder = root / f"cars_{split}" / (f"cars_{split}" if nested else "")
        touch(*(folder / f"{n}.jpg" for n, _ in numbers if n != "00005"))
        rows = [(10, 20, 30, 60, label, f"{n}.jpg") for n, label in numbers]
        annotated = {"annotations": structs((*BOX, "class", "fname"), rows)}
        blind = {"annotations": structs((*BOX, "fname"), [(*row[:4], row[5]) for row in rows])}
        savemat(root / kit / f"cars_{split}_annos.mat", annotated if split == "train" else blind)
        if is_test and with_labels:
            savemat(root / "cars_test_annos_withlabels.mat", annotated)
    return root


GARAGES = {
    "old": old_garage,
    "new": new_garage,
    "all in one place": lambda root: new_garage(root, ""),
    "nested": lambda root: new_garage(root, "car_devkit/devkit", nested=True),
    "torchvision": lambda root: new_garage(root / "stanford_cars"),
}


@pytest.mark.parametrize("garage", GARAGES)
def test_stanford_cars_in_every_layout(tmp_path: Path, garage: str) -> None:
    GARAGES[garage](tmp_path)
    every, train, test = (open_dataset(f"cars:{tmp_path}{query}") for query in ("", "?split=train", "?split=test"))
    assert isinstance(every, Dataset)
    assert [(info.class_id, info.class_name) for info in every.classes] == [
        ("001.AM_General_Hummer_SUV_2000", NAMES[0]),
        ("002.Ram_C-V_Cargo_Van_Minivan_2012", NAMES[1]),
        ("003.smart_fortwo_Convertible_2012", NAMES[2]),
    ]
    hummer = every.classes[0].class_id
    last = {key: sorted(Path(each).stem[-5:] for each in ids(every, key)) for key in class_ids(every)}
    assert list(last.values()) == [["00001", "00003"], ["00004"], ["00002"]]
    assert sorted(ids(train, hummer) + ids(test, hummer)) == sorted(ids(every, hummer))
    assert (class_ids(train), class_ids(test)) == (class_ids(every)[::2], class_ids(every)[:2])
    boxes = every.boxes(hummer)
    assert [each.image_id for each in boxes] == ids(every, hummer)
    assert {(each.x, each.y, each.w, each.h) for each in boxes} == {(9.0, 19.0, 21.0, 41.0)}
    assert every.read(every.images(hummer)[0]) == b"x"


def test_test_images_of_cars_without_labels_are_refused_where_they_are_asked_for(tmp_path: Path) -> None:
    new_garage(tmp_path, with_labels=False)
    assert open_dataset(f"cars:{tmp_path}").classes == open_dataset(f"cars:{tmp_path}?split=train").classes
    with pytest.raises(
        DataError, match=r"needs cars_test_annos_withlabels\.mat \(cars_test_annos\.mat has no classes\)"
    ):
        open_dataset(f"cars:{tmp_path}?split=test")


@pytest.mark.parametrize("kind", ["cars", "dogs"])
def test_other_folders_and_splits_are_refused(tmp_path: Path, kind: str) -> None:
    touch(tmp_path / "a" / "1.png")
    with pytest.raises(DataError, match=f"dataset {kind}: {tmp_path} has "):
        open_dataset(f"{kind}:{tmp_path}")
    with pytest.raises(DataError, match=f"unknown split of {kind}: 'val'"):
        open_dataset(f"{kind}:{tmp_path}?split=val")


def test_a_list_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    touch(tmp_path / "secret.jpg", tmp_path / "secret" / "1.jpg")
    new_garage(tmp_path / "cars")
    rows = [
        (1, 1, 2, 2, 1, name)
        for name in ("../../secret.jpg", "../../secret/1.jpg", f"{tmp_path}/secret.jpg", "00001.jpg")
    ]
    savemat(tmp_path / "cars/devkit/cars_train_annos.mat", {"annotations": structs((*BOX, "class", "fname"), rows)})
    dataset = open_dataset(f"cars:{tmp_path}/cars?split=train")
    assert ids(dataset, dataset.classes[0].class_id) == ["cars_train/00001.jpg"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"annotations": np.zeros(3)}, "expected an array of structs"),
        ({"other": np.zeros(3)}, r"has no annotations \(it has: other\)"),
        ({"annotations": structs(("fname",), [("00001.jpg",)])}, "its annotations have no class"),
        ({"annotations": structs(("fname", "class"), [("00001.jpg", 9)])}, "is of class 9, but there are 3"),
    ],
)
def test_tables_of_cars_that_hold_something_else_are_named(tmp_path: Path, content: dict, words: str) -> None:
    savemat(new_garage(tmp_path) / "devkit/cars_train_annos.mat", content)
    with pytest.raises(DataError, match=words):
        open_dataset(f"cars:{tmp_path}?split=train")
