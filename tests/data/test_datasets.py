"""Datasets by short strings: layouts on disk, names, splits, and what is refused with which words."""

import json
import logging
from pathlib import Path

import pytest
from PIL import Image

from xvcore.data import ClassInfo, Dataset, ImageRecord, datasets, decode, open_dataset
from xvcore.errors import DataError, UnknownNameError, XvError


def touch(*files: Path) -> None:
    """Put a file with one byte at each path; datasets list files and do not open them."""
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")


def write(file: Path, *lines: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def ids(dataset: Dataset, class_id: str) -> list[str]:
    return [record.image_id for record in dataset.images(class_id)]


def class_ids(dataset: Dataset) -> list[str]:
    return [info.class_id for info in dataset.classes]


# -- the short string ------------------------------------------------------------------------------------------------


def test_kinds_of_this_package_are_registered() -> None:
    assert {"imagenet", "imagefolder", "cub"} <= set(datasets)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("imagefoldr:x", "unknown dataset 'imagefoldr'; did you mean imagefolder"),
        ("{0}", "has no kind; did you mean imagefolder:{0}"),
        ("imagefolder", "needs a folder: imagefolder:PATH"),
        ("imagefolder:", "needs a folder"),
        ("imagefolder:{0}/nowhere", "nowhere does not exist"),
        ("imagefolder:{0}/a/1.png", "1.png is not a folder"),
        ("imagefolder:{0}?spilt=a", "unknown option .* 'spilt'; did you mean split"),
        ("imagefolder:{0}?split=b", "unknown split .* 'b'.*known: a, empty"),
        ("imagefolder:{0}?split=", "'split=' is not of the form key=value"),
        ("imagefolder:{0}?split=a&split=a", "'split' is given twice"),
        ("imagefolder:{0}?split=a&x", "'x' is not of the form key=value"),
        ("imagefolder:{0}/empty", "no classes; expected sub-folders with images"),
        ("imagenet:{0}", "has no classes; expected folders named by WordNet id"),
        ("cub:{0}", "images.txt does not exist"),
        ("cub:{0}?split=val", "unknown split of cub: 'val'.*known: all, test, train"),
    ],
)
def test_wrong_specs_are_refused_with_the_known_words(tmp_path: Path, spec: str, words: str) -> None:
    touch(tmp_path / "a" / "1.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(XvError, match=words.format(tmp_path)):
        open_dataset(spec.format(tmp_path))


def test_unknown_kind_is_an_unknown_name() -> None:
    with pytest.raises(UnknownNameError):
        open_dataset("nothing:/x")


@pytest.mark.parametrize("kind", ["imagefolder", "imagenet"])
def test_option_name_replaces_the_name_and_nothing_else(tmp_path: Path, kind: str) -> None:
    touch(tmp_path / "train" / "n00000001" / "1.png")
    plain, named = (
        open_dataset(f"{kind}:{tmp_path}?split=train"),
        open_dataset(f"{kind}:{tmp_path}?split=train&name=mine"),
    )
    assert plain.name == f"{kind}:{tmp_path}"
    assert named.name == "mine"
    assert (named.split, named.classes, ids(named, "n00000001")) == (
        plain.split,
        plain.classes,
        ids(plain, "n00000001"),
    )


def test_name_does_not_depend_on_how_the_path_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "pictures" / "a" / "1.png")
    (tmp_path / "link").symlink_to(tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    specs = ["pictures", "./pictures/", f"{tmp_path}/pictures/../pictures", "~/pictures", "link"]
    assert {open_dataset(f"imagefolder:{path}").name for path in specs} == {f"imagefolder:{tmp_path}/pictures"}


def test_question_mark_in_a_path_is_part_of_the_path(tmp_path: Path) -> None:
    touch(tmp_path / "what?" / "a" / "1.png", tmp_path / "why?" / "s" / "a" / "1.png")
    assert class_ids(open_dataset(f"imagefolder:{tmp_path}/what?/")) == ["a"]
    assert class_ids(open_dataset(f"imagefolder:{tmp_path}/why??split=s")) == ["a"]


# -- imagefolder -----------------------------------------------------------------------------------------------------


def test_imagefolder_takes_sub_folders_as_classes_and_images_below_them(tmp_path: Path) -> None:
    touch(
        tmp_path / "b" / "2.JPG",
        tmp_path / "b" / "10.png",
        tmp_path / "b" / "deep" / "er" / "1.webp",
        tmp_path / "a" / "ä.tif",
        tmp_path / "a" / ".hidden.png",
        tmp_path / "a" / "readme.txt",
        tmp_path / "no pictures" / "readme.txt",
        tmp_path / ".git" / "x.png",
        tmp_path / "loose.png",
    )
    dataset = open_dataset(f"imagefolder:{tmp_path}")
    assert dataset.classes == (ClassInfo("a", 0, "a"), ClassInfo("b", 1, "b"))
    assert dataset.split == "all"
    assert ids(dataset, "b") == ["b/10.png", "b/2.JPG", "b/deep/er/1.webp"]
    assert dataset.images("a") == (ImageRecord("a/ä.tif", f"{tmp_path}/a/ä.tif", "a"),)
    assert dataset.read(dataset.images("a")[0]) == b"x"
    assert dataset.parts("a") == ()
    assert isinstance(dataset, Dataset)


def test_splits_are_not_taken_for_classes(tmp_path: Path) -> None:
    touch(tmp_path / "train" / "a" / "1.png", tmp_path / "val" / "a" / "1.png")
    with pytest.raises(DataError, match=r"train, val look like splits, not classes; add \?split="):
        open_dataset(f"imagefolder:{tmp_path}")
    dataset = open_dataset(f"imagefolder:{tmp_path}?split=val")
    assert (dataset.split, ids(dataset, "a")) == ("val", ["val/a/1.png"])


@pytest.mark.parametrize("method", ["images", "parts"])
def test_unknown_class_is_refused_with_the_nearest(tmp_path: Path, method: str) -> None:
    touch(tmp_path / "robin" / "1.png", tmp_path / "jay" / "1.png")
    with pytest.raises(DataError, match="'robbin'; did you mean robin"):
        getattr(open_dataset(f"imagefolder:{tmp_path}"), method)("robbin")


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    touch(tmp_path / "store" / "1.png")
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "store")
    (tmp_path / "data" / "a" / "below").symlink_to(tmp_path / "store")
    (tmp_path / "data" / "a" / "circle").symlink_to(tmp_path / "data" / "a")
    (tmp_path / "data" / "a" / "broken.png").symlink_to(tmp_path / "nothing")
    dataset = open_dataset(f"imagefolder:{tmp_path}/data")
    assert ids(dataset, "a") == ["a/below/1.png", "a/broken.png"]
    assert ids(dataset, "linked") == ["linked/1.png"]


def test_image_ids_are_valid_text_whatever_the_file_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    try:
        (Path(str(folder)) / "caf\udce9.png").write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    dataset = open_dataset(f"imagefolder:{tmp_path}")
    assert ids(dataset, "a") == ["a/caf\\xe9.png"]
    with pytest.raises(OSError, match="No such file"):
        dataset.read(dataset.images("a")[0])


def test_images_are_found_by_id_after_the_folder_moved(tmp_path: Path) -> None:
    touch(tmp_path / "old" / "a" / "1.png")
    record = open_dataset(f"imagefolder:{tmp_path}/old").images("a")[0]
    (tmp_path / "old").rename(tmp_path / "new")
    assert open_dataset(f"imagefolder:{tmp_path}/new").read(record) == b"x"


# -- imagenet --------------------------------------------------------------------------------------------------------

ROBIN, TENCH = "n01558993", "n01440764"


def ilsvrc(root: Path) -> Path:
    touch(
        root / "train" / ROBIN / f"{ROBIN}_7.JPEG",
        root / "train" / ROBIN / "same.JPEG",
        root / "train" / TENCH / f"{TENCH}_3.JPEG",
        root / "val" / ROBIN / "ILSVRC2012_val_00000001.JPEG",
        root / "val" / ROBIN / "same.JPEG",
        root / "val" / "not a wnid" / "1.JPEG",
    )
    return root


@pytest.mark.parametrize("base", ["", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC"])
def test_splits_of_imagenet_and_their_union(tmp_path: Path, base: str) -> None:
    ilsvrc(tmp_path / base)
    prefix = f"{base}/" if base else ""
    val, train, both = (open_dataset(f"imagenet:{tmp_path}{query}") for query in ("?split=val", "?split=train", ""))
    assert [val.split, train.split, both.split] == ["val", "train", "all"]
    assert class_ids(val) == [ROBIN]
    assert class_ids(train) == class_ids(both) == [TENCH, ROBIN]
    assert ids(val, ROBIN) == [
        f"{prefix}val/{ROBIN}/ILSVRC2012_val_00000001.JPEG",
        f"{prefix}val/{ROBIN}/same.JPEG",
    ]
    assert ids(both, ROBIN) == ids(train, ROBIN) + ids(val, ROBIN)
    assert both.classes[1].wnid == ROBIN
    with pytest.raises(DataError, match=r"unknown split .* 'vall'; did you mean val.*known: all, train, val"):
        open_dataset(f"imagenet:{tmp_path}?split=vall")


def test_wnid_folders_without_splits(tmp_path: Path) -> None:
    ilsvrc(tmp_path)
    dataset = open_dataset(f"imagenet:{tmp_path}/val")
    assert ids(dataset, ROBIN) == [f"{ROBIN}/ILSVRC2012_val_00000001.JPEG", f"{ROBIN}/same.JPEG"]
    assert ids(open_dataset(f"imagenet:{tmp_path}/val?split=val"), ROBIN) == ids(dataset, ROBIN)
    with pytest.raises(DataError, match="unknown split"):
        open_dataset(f"imagenet:{tmp_path}/val?split=train")
    (tmp_path / "val").rename(tmp_path / "some")
    with pytest.raises(DataError, match="known: all"):
        open_dataset(f"imagenet:{tmp_path}/some?split=val")


def flat_val(root: Path) -> Path:
    folder = root / "ILSVRC" / "Data" / "CLS-LOC" / "val"
    touch(*(folder / f"ILSVRC2012_val_{number:08d}.JPEG" for number in (1, 2, 3)))
    return folder


def test_flat_validation_folder_with_the_solution_of_kaggle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    flat_val(tmp_path)
    write(
        tmp_path / "LOC_val_solution.csv",
        "ImageId,PredictionString",
        f"ILSVRC2012_val_00000002,{ROBIN} 1 2 3 4 {ROBIN} 5 6 7 8",
        f"ILSVRC2012_val_00000001,{TENCH} 1 2 3 4",
    )
    write(tmp_path / "LOC_synset_mapping.txt", f"{TENCH} tench, Tinca tinca", f"{ROBIN} robin, American robin")
    with caplog.at_level(logging.WARNING):
        dataset = open_dataset(f"imagenet:{tmp_path}?split=val")
    assert "1 images have no label and are left out" in caplog.text
    assert [(info.class_id, info.class_name) for info in dataset.classes] == [(TENCH, "tench"), (ROBIN, "robin")]
    assert ids(dataset, ROBIN) == ["ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000002.JPEG"]
    assert dataset.read(dataset.images(ROBIN)[0]) == b"x"


def test_flat_validation_folder_with_the_ground_truth_of_the_development_kit(tmp_path: Path) -> None:
    flat_val(tmp_path)
    write(tmp_path / "devkit" / "data" / "ILSVRC2012_validation_ground_truth.txt", "2", "1", "2")
    write(tmp_path / "devkit" / "data" / "map_clsloc.txt", f"{TENCH} 1 tench", f"{ROBIN} 2 robin")
    dataset = open_dataset(f"imagenet:{tmp_path}")
    assert [Path(each).stem[-1] for each in ids(dataset, ROBIN)] == ["1", "3"]
    assert [Path(each).stem[-1] for each in ids(dataset, TENCH)] == ["2"]


def test_flat_validation_folder_without_labels_is_refused(tmp_path: Path) -> None:
    flat_val(tmp_path)
    with pytest.raises(DataError, match=r"3 validation images lie flat .* expected LOC_val_solution.csv"):
        open_dataset(f"imagenet:{tmp_path}")


NAMES = {
    "LOC_synset_mapping.txt": f"{TENCH} tench, Tinca tinca\n{ROBIN} robin, American robin, Turdus migratorius\n",
    "imagenet_wnids.txt": f"0 {TENCH} tench\n15 {ROBIN} robin\n",
    "imagenet_class_index.json": json.dumps({"0": [TENCH, "tench"], "15": [ROBIN, "robin"]}),
    "words.txt": f"{TENCH}\ttench, Tinca tinca\n{ROBIN}\trobin, American robin\n",
}


@pytest.mark.parametrize("place", ["root", "option"])
@pytest.mark.parametrize("file", NAMES)
def test_class_names_come_from_a_file(tmp_path: Path, file: str, place: str) -> None:
    ilsvrc(tmp_path / "data")
    query = "" if place == "root" else f"?names={tmp_path}/{file}"
    write((tmp_path / "data" if place == "root" else tmp_path) / file, NAMES[file])
    dataset = open_dataset(f"imagenet:{tmp_path}/data{query}")
    assert [info.class_name for info in dataset.classes] == ["tench", "robin"]


def test_underscores_in_class_names_are_spaces_and_unnamed_classes_keep_their_id(tmp_path: Path) -> None:
    ilsvrc(tmp_path)
    write(tmp_path / "imagenet_wnids.txt", f"2 {ROBIN} great_white_shark")
    assert [info.class_name for info in open_dataset(f"imagenet:{tmp_path}").classes] == [TENCH, "great white shark"]


@pytest.mark.parametrize(
    ("text", "words"), [(None, "does not exist"), ("nothing here", "no class names"), ("[1, 2]", "expected JSON like")]
)
def test_bad_file_of_names_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    ilsvrc(tmp_path)
    if text is not None:
        write(tmp_path / "names.json" if text.startswith("[") else tmp_path / "names.txt", text)
    file = "names.json" if text and text.startswith("[") else "names.txt"
    with pytest.raises(DataError, match=words):
        open_dataset(f"imagenet:{tmp_path}?names={tmp_path}/{file}")


def test_class_names_come_from_timm_where_no_file_has_them(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    ilsvrc(tmp_path)
    touch(tmp_path / "train" / "n99999999" / "1.JPEG")
    names = [info.class_name for info in open_dataset(f"imagenet:{tmp_path}").classes]
    assert names == ["tench", "robin", "n99999999"]


# -- cub -------------------------------------------------------------------------------------------------------------


def small_cub(root: Path) -> Path:
    """Two of three classes; image 5 is listed but absent, image 6 is there but not listed."""
    folder = root / "CUB_200_2011"
    names = {1: "001.Sooty_Bird/a.jpg", 2: "001.Sooty_Bird/b.jpg", 3: "003.Red_Bird/c.jpg", 4: "003.Red_Bird/d.jpg"}
    touch(*(folder / "images" / name for name in [*names.values(), "003.Red_Bird/unlisted.jpg"]))
    listed = {**names, 5: "002.Grey_Bird/e.jpg", 6: "001.Sooty_Bird/f.jpg"}
    write(folder / "images.txt", *(f"{number} {name}" for number, name in listed.items()))
    write(folder / "classes.txt", "1 001.Sooty_Bird", "2 002.Grey_Bird", "3 003.Red_Bird")
    write(folder / "image_class_labels.txt", *(f"{number} {int(name[:3])}" for number, name in listed.items()))
    write(folder / "train_test_split.txt", "1 1", "2 0", "3 1", "4 1", "5 0", "6 0")
    write(folder / "bounding_boxes.txt", *(f"{number} {number}.0 2.0 30.5 4.0" for number in listed))
    write(folder / "parts" / "parts.txt", "1 back", "2 left eye")
    write(
        folder / "parts" / "part_locs.txt",
        *(f"{number} {part} 9.5 8.0 {part % 2}" for number in listed for part in (1, 2)),
    )
    return folder


@pytest.mark.parametrize("below", ["", "CUB_200_2011"])
def test_cub_leaves_out_what_is_not_on_the_disk(tmp_path: Path, below: str) -> None:
    folder = small_cub(tmp_path)
    dataset = open_dataset(f"cub:{tmp_path / below}")
    assert dataset.name == f"cub:{folder}"
    assert dataset.classes == (ClassInfo("001.Sooty_Bird", 0, "Sooty Bird"), ClassInfo("003.Red_Bird", 1, "Red Bird"))
    assert ids(dataset, "001.Sooty_Bird") == ["001.Sooty_Bird/a.jpg", "001.Sooty_Bird/b.jpg"]
    assert ids(dataset, "003.Red_Bird") == ["003.Red_Bird/c.jpg", "003.Red_Bird/d.jpg"]


def test_official_split_of_cub(tmp_path: Path) -> None:
    small_cub(tmp_path)
    train, test = open_dataset(f"cub:{tmp_path}?split=train"), open_dataset(f"cub:{tmp_path}?split=test")
    assert {key: ids(train, key) for key in class_ids(train)} == {
        "001.Sooty_Bird": ["001.Sooty_Bird/a.jpg"],
        "003.Red_Bird": ["003.Red_Bird/c.jpg", "003.Red_Bird/d.jpg"],
    }
    assert {key: ids(test, key) for key in class_ids(test)} == {"001.Sooty_Bird": ["001.Sooty_Bird/b.jpg"]}
    assert {part.image_id for part in test.parts("001.Sooty_Bird")} == {"001.Sooty_Bird/b.jpg"}


def test_parts_and_boxes_of_cub(tmp_path: Path) -> None:
    small_cub(tmp_path)
    dataset = open_dataset(f"cub:{tmp_path}")
    parts = dataset.parts("003.Red_Bird")
    assert [(part.image_id[-5], part.part, part.visible) for part in parts] == [
        ("c", "back", True),
        ("c", "left eye", False),
        ("d", "back", True),
        ("d", "left eye", False),
    ]
    assert (parts[0].x, parts[0].y, parts[0].w, parts[0].h, parts[0].decisive) == (9.5, 8.0, 0.0, 0.0, False)
    box = dataset.boxes("003.Red_Bird")[1]
    assert (box.image_id, box.x, box.y, box.w, box.h) == ("003.Red_Bird/d.jpg", 4.0, 2.0, 30.5, 4.0)
    with pytest.raises(DataError, match=r"did you mean 003\.Red_Bird"):
        dataset.parts("3.Red_Bird")


def test_cub_without_annotations_has_no_parts_and_no_boxes(tmp_path: Path) -> None:
    folder = small_cub(tmp_path)
    (folder / "bounding_boxes.txt").unlink()
    (folder / "parts").rename(folder / "elsewhere")
    dataset = open_dataset(f"cub:{tmp_path}")
    assert dataset.parts("003.Red_Bird") == dataset.boxes("003.Red_Bird") == ()


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("images.txt", "x", "images.txt, line 1: 'x' cannot be understood"),
        ("image_class_labels.txt", "1 7", "no class for 001.Sooty_Bird/"),
        ("parts/part_locs.txt", "1 1 a b 1", "part_locs.txt, line 1"),
        ("parts/part_locs.txt", "1 99 1.0 1.0 1", "part_locs.txt: part '99'"),
        ("bounding_boxes.txt", "1 2 3", "bounding_boxes.txt, line 1"),
    ],
)
def test_damaged_files_of_cub_are_named(tmp_path: Path, file: str, line: str, words: str) -> None:
    write(small_cub(tmp_path) / file, line)

    def use() -> None:
        dataset = open_dataset(f"cub:{tmp_path}")
        dataset.parts("001.Sooty_Bird")
        dataset.boxes("001.Sooty_Bird")

    with pytest.raises(DataError, match=words):
        use()


def test_cub_without_images_is_refused(tmp_path: Path) -> None:
    folder = small_cub(tmp_path)
    (folder / "images").rename(folder / "elsewhere")
    with pytest.raises(DataError, match="images"):
        open_dataset(f"cub:{tmp_path}")


# -- real data -------------------------------------------------------------------------------------------------------


def test_real_imagenet(test_data: Path) -> None:
    folder = test_data / "imagenet-mini"
    counts = {"n01558993": 31, "n01537544": 32, "n01531178": 37, "n01580077": 32, "n01494475": 42, "n01443537": 39}
    dataset = open_dataset(f"imagenet:{folder}?names={test_data}/weights/imagenet_wnids.txt")
    assert {key: len(dataset.images(key)) for key in class_ids(dataset)} == counts
    assert {info.class_name for info in dataset.classes} >= {"robin", "jay", "indigo bunting"}
    train, val = (open_dataset(f"imagenet:{folder}?split={split}") for split in ("train", "val"))
    for key in counts:
        assert sorted(ids(train, key) + ids(val, key)) == ids(dataset, key)


def test_real_cub(test_data: Path) -> None:
    every, train, test = (open_dataset(f"cub:{test_data}/cub?split={split}") for split in ("all", "train", "test"))
    assert {info.class_id: len(every.images(info.class_id)) for info in every.classes} == {
        "009.Brewer_Blackbird": 59,
        "012.Yellow_headed_Blackbird": 56,
        "014.Indigo_Bunting": 60,
    }
    assert every.classes[2].class_name == "Indigo Bunting"
    for key in class_ids(every):
        assert sorted(ids(train, key) + ids(test, key)) == ids(every, key)
        assert not set(ids(train, key)) & set(ids(test, key))


def test_parts_and_boxes_of_real_cub_lie_inside_their_image(test_data: Path) -> None:
    dataset = open_dataset(f"cub:{test_data}/cub")
    records = dataset.images("014.Indigo_Bunting")
    size = {record.image_id: decode(dataset.read(record)).size for record in records}
    parts = dataset.parts("014.Indigo_Bunting")
    assert len(parts) == 15 * 60
    assert len({part.part for part in parts}) == 15
    seen = [part for part in parts if part.visible]
    assert len(seen) > 600
    assert all(0 <= p.x <= size[p.image_id][0] and 0 <= p.y <= size[p.image_id][1] for p in seen)
    boxes = dataset.boxes("014.Indigo_Bunting")
    assert [box.image_id for box in boxes] == [record.image_id for record in records]
    assert all(b.x + b.w <= size[b.image_id][0] + 1 and b.y + b.h <= size[b.image_id][1] + 1 for b in boxes)


def test_real_image_folder(test_data: Path) -> None:
    dataset = open_dataset(f"imagefolder:{test_data}/caltech101-12")
    assert len(dataset.classes) == 12
    records = [record for key in class_ids(dataset) for record in dataset.images(key)]
    assert len(records) == len({record.image_id for record in records}) == 787
    first = decode(dataset.read(records[0]))
    with Image.open(records[0].path) as image:
        assert first.size == image.size
