"""FunnyBirds: classes, splits, parts as their maps show them, and pictures of the same scene with something away."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_datasets import class_ids, ids

from xvcore.data import Dataset, PartBox, decode, open_dataset
from xvcore.data.funnybirds import COLOURS
from xvcore.errors import DataError

PARTS = ("beak", "eye", "foot", "tail", "wing")
MODELS = {
    0: dict(zip(PARTS, (0, 0, 0, 0, 0), strict=True)),
    1: dict(zip(PARTS, (1, 0, 0, 0, 0), strict=True)),
    2: dict(zip(PARTS, (1, 1, 0, 0, 1), strict=True)),
}
PLACES = {
    "beak": (2, 3, 4, 2),
    "eye": (10, 3, 2, 2),
    "foot": (3, 20, 5, 4),
    "tail": (20, 9, 3, 3),
    "wing": (9, 9, 6, 8),
}
"""x, y, w, h of each part in every picture."""


def save(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    alpha = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    Image.fromarray(np.concatenate([pixels, alpha], axis=2), "RGBA").save(file)


def drawn(kept: tuple[str, ...], shade: int) -> np.ndarray:
    pixels = np.full((32, 32, 3), shade, np.uint8)
    for part in kept:
        x, y, w, h = PLACES[part]
        pixels[y : y + h, x : x + w] = COLOURS[part][0]
    return pixels


def mapped(kept: tuple[str, ...]) -> np.ndarray:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[28:, :] = 170
    pixels[0, :5], pixels[0, 5:7] = (204, 204, 204), (204, 204, 206)
    pixels[1, 0] = (255, 255, 128)  # an edge between two things belongs to neither
    for part in kept:
        x, y, w, h = PLACES[part]
        pixels[y : y + h, x : x + w // 2] = COLOURS[part][0]
        pixels[y : y + h, x + w // 2 : x + w] = COLOURS[part][-1]
    return pixels


def flock(root: Path) -> Path:
    """Three classes of two test images and one training image without a tail; interventions of each test image."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "classes.json").write_text(
        json.dumps([{"class_idx": key, "parts": parts} for key, parts in MODELS.items()])
    )
    models = {part: [{"model": f"{part}0{n}.glb", "color": "yellow"} for n in (1, 2)] for part in PARTS}
    models["wing"] = [{"model": "wing01.glb", "color": colour} for colour in ("red", "green")]
    (root / "parts.json").write_text(json.dumps(models))
    scenes: dict[str, list] = {"train": [], "test": []}
    for split, n_images, kept in (("test", 2, PARTS), ("train", 1, ("beak", "eye", "foot", "wing"))):
        for class_idx in MODELS:
            for _ in range(n_images):
                number = len(scenes[split])
                models_of = {f"{part}_model": f"{part}01.glb" if part in kept else "placeholder" for part in PARTS}
                scenes[split].append({"class_idx": class_idx, "camera_distance": number, **models_of})
                name = f"{class_idx}/{number:06d}"
                save(root / split / f"{name}.png", drawn(kept, number))
                save(root / f"{split}_part_map" / f"{name}.png", mapped(kept))
                if split == "test":
                    for gone in (*((part,) for part in PARTS), PARTS):
                        left = tuple(part for part in PARTS if part not in gone)
                        save(root / "test_interventions" / name / f"body_{'_'.join(left)}.png", drawn(left, number))
                    for number_of_object in (0, 2, 10):
                        away = (
                            root / "test_interventions" / name / "background_interventions" / f"{number_of_object}.png"
                        )
                        save(away, drawn(PARTS, 200))
        (root / f"dataset_{split}.json").write_text(json.dumps(scenes[split]))
    return root


def test_classes_and_splits(tmp_path: Path) -> None:
    flock(tmp_path)
    every, train, test = (
        open_dataset(f"funnybirds:{tmp_path}{query}") for query in ("", "?split=train", "?split=test")
    )
    assert isinstance(every, Dataset)
    assert [each.split for each in (every, train, test)] == ["all", "train", "test"]
    assert class_ids(every) == ["0", "1", "2"]
    assert every.classes[2].class_name == "beak02 eye02 foot01 tail01 wing01-green"
    assert ids(test, "1") == ["test/1/000002.png", "test/1/000003.png"]
    assert ids(train, "1") == ["train/1/000001.png"]
    assert ids(every, "1") == sorted(ids(train, "1") + ids(test, "1"))
    assert every.name == f"funnybirds:{tmp_path}"


def test_parts_are_the_boxes_of_what_the_map_shows(tmp_path: Path) -> None:
    dataset = open_dataset(f"funnybirds:{flock(tmp_path)}?split=test")
    parts = dataset.parts("2")
    assert [(each.image_id, each.part) for each in parts] == [
        (image, part) for image in ids(dataset, "2") for part in PARTS
    ]
    assert [(each.x, each.y, each.w, each.h) for each in parts[:5]] == [PLACES[part] for part in PARTS]
    assert all(each.visible for each in parts)


def test_a_part_that_is_away_is_not_visible(tmp_path: Path) -> None:
    dataset = open_dataset(f"funnybirds:{flock(tmp_path)}?split=train")
    (record,) = dataset.images("0")
    tail = PartBox(record.image_id, "tail", 0.0, 0.0, 0.0, 0.0, visible=False)
    assert dataset.parts("0")[3] == tail
    assert dataset.present_parts(record) == ("beak", "eye", "foot", "wing")
    assert not dataset.part_masks(record)["tail"].any()


def test_decisive_is_what_alone_tells_a_class_from_another(tmp_path: Path) -> None:
    dataset = open_dataset(f"funnybirds:{flock(tmp_path)}?split=test")
    decisive = {each: {part.part for part in dataset.parts(each) if part.decisive} for each in class_ids(dataset)}
    assert decisive == {"0": {"beak"}, "1": {"beak"}, "2": set()}
    assert dataset.differing_parts("0", "2") == dataset.differing_parts("2", "0") == ("beak", "eye", "wing")
    assert dataset.differing_parts("1", "1") == ()


def test_masks_are_of_exact_colours_and_do_not_overlap(tmp_path: Path) -> None:
    dataset = open_dataset(f"funnybirds:{flock(tmp_path)}?split=test")
    record = dataset.images("0")[0]
    masks = dataset.part_masks(record)
    assert {part: mask.sum() for part, mask in masks.items()} == {
        **{part: w * h for part, (_, _, w, h) in PLACES.items()},
        "body": 4 * 32,
    }
    objects = dataset.background_masks(record)
    assert {number: mask.sum() for number, mask in objects.items()} == {0: 5, 2: 2}
    assert np.sum([*masks.values(), *objects.values()], axis=0).max() == 1
    assert dataset.part_map(record)[1, 0].tolist() == [255, 255, 128]


def test_pictures_without_parts_are_of_the_same_scene(tmp_path: Path) -> None:
    dataset = open_dataset(f"funnybirds:{flock(tmp_path)}?split=test")
    record = dataset.images("1")[1]
    there = dataset.interventions(record)
    assert [each.removed for each in there] == [*((part,) for part in PARTS), PARTS, (), (), ()]
    assert [each.background for each in there] == [None] * 6 + [0, 2, 10]
    whole = np.asarray(decode(dataset.read(record)))
    for part in PARTS:
        away = np.asarray(decode(dataset.read(dataset.without(record, [part]))))
        assert np.array_equal((away != whole).any(axis=2), dataset.part_masks(record)[part])
    bare = np.asarray(decode(dataset.read(dataset.without(record, PARTS))))
    assert (bare == 3).all()
    assert dataset.scene(record)["camera_distance"] == 3


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (["beek"], "unknown part of a bird 'beek'; did you mean beak"),
        (["beak", "eye"], r"without beak and eye \(there are: beak; eye"),
    ],
)
def test_a_picture_that_there_is_not_is_refused(tmp_path: Path, parts: list[str], words: str) -> None:
    dataset = open_dataset(f"funnybirds:{flock(tmp_path)}?split=test")
    with pytest.raises(DataError, match=words):
        dataset.without(dataset.images("0")[0], parts)


def test_a_subset_without_maps_and_interventions_works(tmp_path: Path) -> None:
    flock(tmp_path / "all")
    for name in ("test_part_map", "test_interventions", "test/1", "dataset_test.json"):
        (tmp_path / "all" / name).rename(tmp_path / name.replace("/", "-"))
    dataset = open_dataset(f"funnybirds:{tmp_path}/all?split=test")
    assert class_ids(dataset) == ["0", "2"]
    record = dataset.images("0")[0]
    assert dataset.parts("0") == dataset.interventions(record) == ()
    with pytest.raises(DataError, match="there is no map of the parts"):
        dataset.part_map(record)
    with pytest.raises(DataError, match=r"dataset_test\.json does not exist"):
        dataset.scene(record)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("classes.json", "[1]", "expected a list of objects"),
        ("classes.json", "{", "cannot be read as JSON"),
        ("classes.json", '[{"class_idx": 0, "parts": {"horn": 1}}]', "is no class; expected class_idx and parts"),
        ("parts.json", '{"beak": []}', "0 models of beak, but a class wants 0"),
        ("parts.json", "[]", "expected an object"),
        ("test_part_map/0/000000.png", "x", "000000.png cannot be read: not an image"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, file: str, text: str, words: str) -> None:
    (flock(tmp_path) / file).write_text(text)
    with pytest.raises(DataError, match=words):
        open_dataset(f"funnybirds:{tmp_path}?split=test").parts("0")


def test_wrong_splits_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"classes\.json does not exist"):
        open_dataset(f"funnybirds:{tmp_path}")
    flock(tmp_path)
    with pytest.raises(DataError, match="unknown split of funnybirds: 'val'"):
        open_dataset(f"funnybirds:{tmp_path}?split=val")


# -- real data -------------------------------------------------------------------------------------------------------


@pytest.fixture
def real(test_data: Path) -> Dataset:
    if not (test_data / "funnybirds-10").is_dir():
        pytest.skip("needs the ten classes of FunnyBirds")
    return open_dataset(f"funnybirds:{test_data}/funnybirds-10?split=test")


def test_real_twins_differ_in_their_decisive_part(real) -> None:
    assert class_ids(real) == [str(number) for number in range(10)]
    twins = {"beak": ("0", "1"), "eye": ("2", "3"), "foot": ("4", "5"), "tail": ("6", "7"), "wing": ("8", "9")}
    for part, (one, other) in twins.items():
        assert real.differing_parts(one, other) == (part,)
        assert len(real.differing_parts(one, "0" if part != "beak" else "9")) >= 2
    assert real.classes[0].class_name == "beak01 eye03 foot03 tail03-red wing02-red"
    assert {each.part for each in real.parts("9") if each.decisive} == {"wing"}
    assert {each.decisive == each.visible for each in real.parts("6") if each.part == "tail"} == {True}


def test_real_removals_change_the_pixels_of_the_part(real) -> None:
    for record in real.images("5")[:3]:
        whole = np.asarray(decode(real.read(record))).astype(int)
        masks = real.part_masks(record)
        assert [each.removed for each in real.interventions(record)] == [*((part,) for part in PARTS), PARTS]
        for part in PARTS:
            away = np.asarray(decode(real.read(real.without(record, [part])))).astype(int)
            changed = (away != whole).any(axis=2)
            if masks[part].sum() > 20:
                assert changed[masks[part]].mean() > 0.5
            if masks[part].any():
                box = next(each for each in real.parts("5") if (each.image_id, each.part) == (record.image_id, part))
                rows, columns = np.nonzero(masks[part])
                assert (box.x, box.y) == (columns.min(), rows.min())
                assert (box.x + box.w, box.y + box.h) == (columns.max() + 1, rows.max() + 1)


def test_real_training_maps_show_no_part_that_the_scene_lacks(test_data: Path, real) -> None:
    train = open_dataset(f"funnybirds:{test_data}/funnybirds-10?split=train")
    records = train.images("3")[:12]
    assert len(train.images("3")) == 80
    for record in records:
        masks = train.part_masks(record)
        assert {part for part in PARTS if masks[part].any()} <= set(train.present_parts(record))
        assert train.scene(record)["class_idx"] == 3
