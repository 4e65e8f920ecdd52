"""Evolution: top images sorted by hand, jumps where the image changed, distances of units that are known."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from xvcore.analyses.questions.evolution import Evolution, decorrelation, movement
from xvcore.errors import XvError

IDS = [f"i{index}" for index in range(7)]


@pytest.fixture
def pictures():
    return torch.rand((7, 3, 24, 32), generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def in_batches(pictures, size):
    def batches():
        for start in range(0, len(pictures), size):
            yield IDS[start : start + size], pictures[start : start + size]

    return batches


@pytest.fixture
def training(small, classify):
    """Three checkpoints: drawn weights, moved ones, and these with a unit turned round and one killed."""
    later, last = copy.deepcopy(small.network), copy.deepcopy(small.network)
    generator = torch.Generator().manual_seed(1)
    for parameter in later.parameters():
        parameter.data += (
            0.4 * parameter.data.std() * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        )
    last.load_state_dict(later.state_dict())
    last[0].weight.data[1] *= -1
    last[0].weight.data[2] = 0
    last[0].bias.data[2] = -1
    return [(1, small), (5, classify(later, (24, 32))), (20, classify(last, (24, 32)))]


def test_the_top_image_is_that_of_a_full_sort(training, pictures):
    frame = Evolution(layers=("1", "2", "6"))(training, in_batches(pictures, 3))
    assert len(frame) == 3 * (6 + 6 + 8)
    for checkpoint, classifier in training:
        for layer in ("1", "2", "6"):
            network = copy.deepcopy(classifier.network[: int(layer) + 1])
            maps = network(classifier.preprocessing.normalise(pictures))
            maps = maps if maps.ndim == 4 else maps[:, :, None, None]
            rows = frame[(frame["checkpoint"] == checkpoint) & (frame["layer"] == layer)].set_index("unit")
            for unit in range(maps.shape[1]):
                best = max(
                    ((float(maps[index, unit, y, x]), -index, -y, -x) for index in range(7)
                     for y in range(maps.shape[2]) for x in range(maps.shape[3])),
                )  # fmt: skip
                row = rows.loc[unit]
                assert row["activation"] == pytest.approx(best[0])
                assert row["is_dead"] == (best[0] <= 0)
                if best[0] > 0:
                    assert row["image_id"] == IDS[-best[1]]
                    assert (row["map_y"], row["map_x"]) == (-best[2], -best[3])
                else:
                    assert pd.isna(row["image_id"])


def test_jumps_and_distances_between_checkpoints(training, pictures):
    frame = Evolution(layers=("1",))(training, in_batches(pictures, 7)).set_index(["checkpoint", "unit"])
    assert not frame.loc[1, "jumped"].any()
    assert frame.loc[1, "distance_previous"].isna().all()
    np.testing.assert_allclose(frame.loc[20, "distance_final"].drop(2), 0, atol=1e-12)
    np.testing.assert_array_equal(frame.loc[5, "distance_final"], frame.loc[20, "distance_previous"])
    untouched = frame.loc[20].loc[[0, 3, 4, 5]]
    np.testing.assert_allclose(untouched["distance_previous"], 0, atol=1e-12)
    assert not untouched["jumped"].any()
    assert frame.loc[(20, 1), "distance_previous"] > 0.1
    assert frame.loc[(20, 2), "is_dead"]
    assert np.isnan(frame.loc[(20, 2), "distance_previous"])
    for checkpoint, before in ((5, 1), (20, 5)):
        both = frame.loc[checkpoint].join(frame.loc[before].add_suffix("_before"))
        changed = (both["image_id"] != both["image_id_before"]) & ~both["is_dead"]
        assert changed.tolist() == both["jumped"].tolist()


def test_batches_and_the_order_of_checkpoints_do_not_decide_the_numbers(training, pictures):
    whole = Evolution()(training, in_batches(pictures, 7))
    other = Evolution()(training[::-1], in_batches(pictures, 2))
    pd.testing.assert_frame_equal(whole, other, rtol=1e-9)
    assert set(whole["layer"]) == {"2", "6"}


def test_equal_images_give_the_first(small, pictures):
    same = pictures[:1].expand(7, -1, -1, -1)
    frame = Evolution(layers=("1",))([(0, small)], in_batches(same, 2))
    assert set(frame.loc[~frame["is_dead"], "image_id"]) == {"i0"}
    black = torch.zeros_like(same)
    frame = Evolution(layers=("0",))([(0, small)], in_batches(black, 2))
    inside = frame[~frame["is_dead"]]
    maps = small.network[0](small.preprocessing.normalise(black[:1]))[0]
    for row in inside.itertuples():
        first = int((maps[row.unit].flatten() == maps[row.unit].max()).int().argmax())
        assert (row.map_y, row.map_x) == divmod(first, maps.shape[2])


def test_the_distance_is_one_minus_the_correlation():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 50, 4))
    expected = [1 - np.corrcoef(first[:, unit], second[:, unit])[0, 1] for unit in range(4)]
    np.testing.assert_allclose(decorrelation(first, second), expected)
    np.testing.assert_allclose(decorrelation(first, -3 * first + 2), 2)
    assert np.isnan(decorrelation(first, np.ones_like(first))).all()


def test_movement_is_the_mean_over_units(training, pictures):
    units = Evolution(layers=("1",))(training, in_batches(pictures, 4))
    table = movement(units).set_index("checkpoint")
    assert table["n_dead"].tolist() == units.groupby("checkpoint")["is_dead"].sum().tolist()
    last = units[(units["checkpoint"] == 20) & ~units["is_dead"]]
    assert table.loc[20, "jumped_share"] == last["jumped"].mean()
    assert table.loc[20, "distance_previous"] == pytest.approx(last["distance_previous"].mean())


def test_what_cannot_be_followed_is_refused(small, pictures):
    with pytest.raises(XvError, match="no checkpoints"):
        Evolution()([], in_batches(pictures, 2))
    with pytest.raises(XvError, match="given twice"):
        Evolution()([(1, small), (1, small)], in_batches(pictures, 2))
    with pytest.raises(XvError, match="no images"):
        Evolution()([(1, small)], lambda: iter(()))
    growing = iter([in_batches(pictures, 7), in_batches(pictures[:5], 5)])

    def changing():
        return next(growing)()

    with pytest.raises(XvError, match="other images"):
        Evolution()([(1, small), (2, small)], changing)
