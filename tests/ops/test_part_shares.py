"""Purity, recall and their random counterparts, against answers known beforehand."""

import math

import numpy as np
import pandas as pd
import pytest

from xvcore.ops.parts import PartShares, contains, part_recall, random_boxes, share_on_parts

SIZE = (100, 200)


def regions(*rows: tuple[int, str, float, float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["cluster_id", "image_id", "x", "y", "w", "h"])


def parts(*rows: tuple[str, str, float, float, float, float, bool]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["image_id", "part", "x", "y", "w", "h", "visible"])


def found(*boxes: tuple[float, float, float, float], part: tuple[float, float, float, float]) -> list[bool]:
    return contains(np.array(boxes, float), np.array([part], float), overlap=0.5)[:, 0].tolist()


def test_a_region_contains_a_part_when_half_of_either_is_shared() -> None:
    part = (10.0, 10.0, 20.0, 20.0)
    assert found(
        (10, 10, 20, 20),  # the same
        (0, 0, 100, 100),  # all of the part
        (12, 12, 4, 4),  # inside the part
        (20, 10, 20, 20),  # exactly half of both
        (21, 10, 20, 20),  # a little less
        (30, 10, 20, 20),  # touches
        (60, 60, 5, 5),  # elsewhere
        part=part,
    ) == [True, True, True, True, False, False, False]


def test_a_region_contains_a_point_that_lies_in_it() -> None:
    boxes = ((0, 0, 10, 10), (5, 5, 10, 10), (6, 0, 10, 10), (0, 6, 10, 10))
    assert found(*boxes, part=(5, 5, 0, 0)) == [True, True, False, False]


def test_purity_is_the_share_of_the_majority_part() -> None:
    seen = regions(
        (4, "a", 0, 0, 10, 10),
        (4, "b", 0, 0, 10, 10),
        (4, "c", 50, 50, 10, 10),
        (4, "d", 0, 0, 10, 10),
        (7, "a", 90, 80, 5, 5),
    )
    truth = parts(
        *[(image, "wing", 0.0, 0.0, 10.0, 10.0, True) for image in "abc"],
        *[(image, "tail", 50.0, 50.0, 10.0, 10.0, True) for image in "abcd"],
        ("d", "wing", 0.0, 0.0, 10.0, 10.0, False),
    )
    shares = PartShares()(seen, truth, SIZE).set_index("cluster_id")
    assert shares.loc[4, "part"] == "wing"
    assert shares.loc[4, "share"] == 0.5  # in d the wing cannot be seen
    assert shares.loc[4, "n_regions"] == 4
    assert pd.isna(shares.loc[7, "part"])
    assert shares.loc[7, "share"] == 0


def test_a_tie_goes_to_the_first_name() -> None:
    truth = parts(("a", "wing", 0, 0, 10, 10, True), ("a", "beak", 2, 2, 0, 0, True))
    assert PartShares()(regions((0, "a", 0, 0, 10, 10)), truth, SIZE)["part"].tolist() == ["beak"]


def test_images_without_annotations_do_not_count() -> None:
    truth = parts(("a", "wing", 0, 0, 10, 10, True))
    shares = PartShares()(regions((0, "a", 0, 0, 9, 9), (0, "b", 0, 0, 9, 9), (1, "b", 0, 0, 9, 9)), truth, SIZE)
    assert shares["n_regions"].tolist() == [1, 0]
    assert shares["share"][0] == 1
    assert math.isnan(shares["share"][1])


def test_no_regions_give_an_empty_table() -> None:
    shares = PartShares()(regions(), parts(("a", "wing", 0, 0, 10, 10, True)), SIZE)
    assert shares.empty
    assert list(shares) == ["cluster_id", "part", "share", "random_share", "random_purity", "n_regions"]


def test_random_regions_meet_a_point_as_often_as_geometry_says() -> None:
    # A 50 x 50 box in 200 x 100 px contains the middle when its corner is in a 50 x 50 square of 150 x 50 places.
    middle = parts(*[(image, "eye", 100.0, 50.0, 0.0, 0.0, True) for image in "abcd"])
    seen = regions(*[(0, image, 80, 30, 50, 50) for image in "abcd"])
    shares = PartShares(n_draws=2000)(seen, middle, SIZE)
    assert shares["share"][0] == 1
    assert shares["random_share"][0] == pytest.approx(1 / 3, abs=0.02)


def test_random_purity_is_the_higher_bar() -> None:
    generator = np.random.default_rng(0)
    truth = parts(*[(image, name, *generator.uniform(10, 90, 2), 0, 0, True) for image in "abcd" for name in "xyz"])
    shares = PartShares()(regions(*[(0, image, 20, 20, 40, 40) for image in "abcd"]), truth, SIZE)
    assert shares["random_purity"][0] > shares["random_share"][0]


def test_order_of_rows_does_not_matter_and_seeds_do() -> None:
    generator = np.random.default_rng(1)
    truth = parts(*[(image, name, *generator.uniform(10, 90, 2), 5, 5, True) for image in "abcde" for name in "xyz"])
    seen = regions(*[(cluster, image, *generator.uniform(0, 50, 4)) for cluster in (0, 1) for image in "abcde"])
    first = PartShares()(seen, truth, SIZE)
    mixed = PartShares()(seen.sample(frac=1, random_state=3), truth.sample(frac=1, random_state=4), SIZE)
    pd.testing.assert_frame_equal(first, mixed)
    assert not first.equals(PartShares(seed=1)(seen, truth, SIZE))


def test_random_boxes_lie_inside_the_picture() -> None:
    boxes = random_boxes(np.array([30.0, 60.0]), SIZE, 500, np.random.default_rng(0))
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 0] + 30 <= 200).all()
    assert (boxes[:, 1] + 60 <= 100).all()
    assert np.ptp(boxes[:, 0]) > 150
    assert (random_boxes(np.array([300.0, 60.0]), SIZE, 5, np.random.default_rng(0))[:, 0] == 0).all()


def test_recall_counts_the_decisive_parts_that_a_pure_summary_covers() -> None:
    shares = pd.DataFrame({"part": ["wing", "tail", "wing", "legs", None], "share": [0.9, 0.4, 1.0, 1.0, 0.0]})
    assert part_recall(shares, {"wing", "tail", "crest", "bill"}) == 0.25
    assert part_recall(shares, {"wing", "tail"}, least_share=0.3) == 1
    assert part_recall(shares.iloc[:0], {"wing"}) == 0
    assert math.isnan(part_recall(shares, ()))


def test_boxes_on_parts_are_counted_and_random_ones_are_as_often_there_as_their_area_says() -> None:
    parts = pd.DataFrame({"image_id": ["a", "b"], "x": 10, "y": 10, "w": 20, "h": 20})
    boxes = pd.DataFrame(
        {"image_id": ["a", "a", "b", "c"], "x": [10, 70, 15, 0], "y": [10, 70, 15, 0], "w": 20, "h": 20}
    )
    share, random_share = share_on_parts(boxes, parts, (100, 100), n_draws=4000)
    assert share == pytest.approx(2 / 3)  # the image without a part does not count
    offsets = np.linspace(0, 80, 801)
    common = np.clip(20 - np.abs(offsets - 10), 0, None)
    expected = ((common[:, None] * common[None]) >= 0.5 * 400).mean()
    assert random_share == pytest.approx(expected, abs=0.01)
    assert all(math.isnan(each) for each in share_on_parts(boxes[3:], parts, (100, 100)))
