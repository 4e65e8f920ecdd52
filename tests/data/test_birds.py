"""PartBirds: the truth about a picture is what the pixels show."""

import hashlib
import io
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from xvcore.data import Dataset, open_dataset
from xvcore.data.bird import N_CLASSES, NEUTRAL, PARTS, PATTERNS, Bird, Plumage, Pose, decisive_patterns, draw_lots
from xvcore.data.bird_drawing import draw, part_boxes
from xvcore.data.partbirds import PartBirds
from xvcore.errors import DataError, ParameterError

CONTRAST = ((10, 20, 30), (240, 230, 220))


def bird(class_number: int, seed: int, absent: float = 0.3) -> Bird:
    return draw_lots(np.random.default_rng(seed), decisive_patterns(class_number), absent)


def wearing(before: Bird, part: str, pattern: str) -> Bird:
    index = PARTS.index(part)
    worn = (*before.plumage[:index], Plumage(pattern, *CONTRAST), *before.plumage[index + 1 :])
    return replace(before, plumage=worn)


# -- the same picture everywhere -------------------------------------------------------------------------------------


def test_pictures_are_the_same_on_every_machine() -> None:
    digest = hashlib.sha256()
    for class_number in range(N_CLASSES):
        digest.update(draw(bird(class_number, class_number), 128).tobytes())
    assert digest.hexdigest() == "579bb16ff91cad96265c292128b540f85800d7fc73d8ddf658fb6d4ea4d9c4fe"


def test_a_picture_does_not_depend_on_how_many_there_are() -> None:
    few, many = open_dataset("partbirds?classes=2&images=3"), open_dataset("partbirds?classes=9&images=4")
    for class_id in (few.classes[0].class_id, few.classes[1].class_id, "plain"):
        for record in few.images(class_id):
            assert few.read(record) == many.read(record)


def test_splits_and_seeds_give_other_pictures() -> None:
    specs = ("partbirds", "partbirds?split=train", "partbirds?seed=1")
    seen = set()
    for dataset in map(open_dataset, specs):
        records = dataset.images(dataset.classes[0].class_id)[:3]
        seen |= {dataset.read(record) for record in records}
    assert len(seen) == 9


def test_reading_gives_a_png_of_the_picture() -> None:
    dataset = PartBirds(px=96)
    record = dataset.images("plain")[7]
    image = Image.open(io.BytesIO(dataset.read(record)))
    assert image.format == "PNG"
    assert np.array_equal(np.asarray(image), dataset.picture(record))


# -- boxes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("px", [96, 128])
def test_what_a_part_wears_changes_pixels_of_its_box_and_no_others(part: str, px: int) -> None:
    for seed in range(4):
        before = wearing(bird(seed, seed), part, "plain")
        x, y, w, h = part_boxes(before.pose, px)[part]
        plain = draw(before, px).astype(int)
        touched = np.zeros((px, px), bool)
        for pattern in PATTERNS:
            touched |= (draw(wearing(before, part, pattern), px) != plain).any(axis=2)
        rows, columns = np.nonzero(touched)
        assert rows.min() >= np.floor(y)
        assert rows.max() < np.ceil(y + h)
        assert columns.min() >= np.floor(x)
        assert columns.max() < np.ceil(x + w)
        # ... and the box is tight: patterns reach within a few pixels of each of its sides.
        assert rows.max() - rows.min() > h - px / 16
        assert columns.max() - columns.min() > w - px / 16


def test_all_parts_lie_inside_the_picture_and_are_large_enough_for_proposals() -> None:
    for seed in range(300):
        for x, y, w, h in part_boxes(bird(0, seed).pose, 128).values():
            assert min(x, y) > 0
            assert max(x + w, y + h) < 128
            assert min(w, h) >= 18


def test_boxes_follow_the_pose() -> None:
    upright = part_boxes(Pose(0, 0, 1, 0), 128)
    moved = part_boxes(Pose(2, -1, 1, 0), 128)
    larger = part_boxes(Pose(0, 0, 1, 0), 256)
    for part in PARTS:
        assert np.allclose(np.subtract(moved[part], upright[part]), (2, -1, 0, 0))
        assert np.allclose(larger[part], np.multiply(upright[part], 2))


def test_annotations_say_where_the_decisive_patterns_are_worn() -> None:
    dataset = PartBirds(n_images=20)
    for info in dataset.classes:
        boxes = dataset.parts(info.class_id)
        assert len(boxes) == 20 * len(PARTS)
        for record in dataset.images(info.class_id):
            worn = {part for part in PARTS if dataset.bird(record).wears(part) in PATTERNS}
            assert worn == {box.part for box in boxes if box.image_id == record.image_id and box.decisive}
            assert worn <= set(dataset.decisive_parts(info.class_id))
            assert bool(worn) == (info.class_id != "plain")


# -- what tells the classes apart ------------------------------------------------------------------------------------


def test_no_two_classes_share_a_part_with_its_pattern() -> None:
    worn = [pair for number in range(N_CLASSES) for pair in decisive_patterns(number).items()]
    assert len(set(worn)) == len(worn)
    for number in range(N_CLASSES):
        patterns = decisive_patterns(number)
        assert len(set(patterns.values())) == len(patterns) == (3 if number < 6 else 2)
    with pytest.raises(IndexError):
        decisive_patterns(N_CLASSES)


def test_classes_differ_in_their_decisive_parts_only() -> None:
    for seed in range(20):
        birds = {number: bird(number, seed) for number in range(N_CLASSES)}
        plain = draw_lots(np.random.default_rng(seed), {}, 0.3)
        for number, each in birds.items():
            decisive = decisive_patterns(number)
            assert (each.pose, each.coat, each.scene) == (plain.pose, plain.coat, plain.scene)
            differing = {part for part in PARTS if each.plumage[PARTS.index(part)] != plain.plumage[PARTS.index(part)]}
            assert differing == {part for part in decisive if each.wears(part) == decisive[part]}
            assert differing


def test_every_decisive_part_is_absent_at_times_and_sometimes_all_but_one() -> None:
    n = 2000
    decisive = decisive_patterns(0)
    generator = np.random.default_rng(0)
    birds = [draw_lots(generator, decisive, 0.3) for _ in range(n)]
    worn = Counter(frozenset(part for part in PARTS if each.wears(part) in PATTERNS) for each in birds)
    # One part, drawn by lot, stays; each other one does with probability 0.7.
    for part in decisive:
        assert worn[frozenset({part})] / n == pytest.approx(0.3**2 / 3, abs=0.015)
        present = sum(count for shown, count in worn.items() if part in shown)
        assert present / n == pytest.approx(1 / 3 + 2 / 3 * 0.7, abs=0.03)
    assert worn[frozenset()] == 0
    assert worn[frozenset(decisive)] / n == pytest.approx(0.7**2, abs=0.04)


def test_parts_are_independent_of_each_other() -> None:
    generator = np.random.default_rng(0)
    birds = [draw_lots(generator, {}, 0.3) for _ in range(3000)]
    worn = np.array([[NEUTRAL.index(each.wears(part)) for part in PARTS] for each in birds])
    for one in range(len(PARTS)):
        for other in range(one):
            table = np.zeros((3, 3))
            np.add.at(table, (worn[:, one], worn[:, other]), 1)
            assert np.abs(table / len(birds) - 1 / 9).max() < 0.02


# -- the short string ------------------------------------------------------------------------------------------------


def test_the_spec_names_the_dataset_but_for_its_split() -> None:
    dataset = open_dataset("partbirds?classes=3&images=5&px=64&seed=2&split=train")
    assert isinstance(dataset, Dataset)
    assert (dataset.name, dataset.split) == ("partbirds?classes=3&images=5&px=64&seed=2", "train")
    assert [info.class_idx for info in dataset.classes] == [0, 1, 2, 3]
    assert dataset.classes[-1].class_id == "plain"
    records = dataset.images(dataset.classes[0].class_id)
    assert [record.image_id for record in records] == sorted(record.image_id for record in records)
    assert len(records) == 5


def test_the_option_name_replaces_the_name() -> None:
    assert open_dataset("partbirds?name=birds").name == "birds"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("partbirds:/tmp", "no path"),
        ("partbirds?classes=13", "13"),
        ("partbirds?images=0", "0"),
        ("partbirds?px=big", "whole number"),
        ("partbirds?split=test", "train"),
        ("partbirds?image=3", "images"),
    ],
)
def test_wrong_specs_are_refused(spec: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(spec)


def test_wrong_settings_and_unknown_classes_are_refused() -> None:
    with pytest.raises(ParameterError):
        PartBirds(px=8)
    for ask in (PartBirds().images, PartBirds().parts, PartBirds().decisive_parts):
        with pytest.raises(DataError):
            ask("robin")
