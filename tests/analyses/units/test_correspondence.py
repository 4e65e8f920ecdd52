"""Correspondence: Δ counted by hand, copies that agree, parts that mean something and parts that do not."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from xvcore.analyses.questions.correspondence import Correspondence, disagreements, hidden_pixels
from xvcore.errors import XvError

IDS = ["a", "b", "c"]
READINGS = ["mismatch_mean", "flip_mean", "flip_share", "mismatch_sum", "flip_sum"]


def boxes(rows):
    frame = pd.DataFrame(rows, columns=["image_id", "part", "x", "y", "w", "h"])
    return frame.assign(visible=True)


PARTS = boxes([(image_id, part, *place) for image_id, shift in zip(IDS, (0, 3, 6), strict=True) for part, place in (
    ("head", (2 + shift, 3, 6, 5)), ("tail", (20, 12 + shift, 7, 4)))])  # fmt: skip


def test_disagreement_is_counted_dimension_by_dimension():
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(-1, 2, (5, 301), generator=generator).to(torch.int8)
    found = disagreements(signs)
    for i in range(5):
        for j in range(5):
            pairs = list(zip(signs[i].tolist(), signs[j].tolist(), strict=True))
            assert found.mismatch[i, j] == sum(a != b for a, b in pairs)
            assert found.flip[i, j] == sum(a * b == -1 for a, b in pairs)
            assert found.both_changed[i, j] == sum(a * b != 0 for a, b in pairs)


def test_all_readings_follow_the_formula(small, images):
    """Hide, run, subtract, take signs and sum over all ordered pairs."""
    settings = Correspondence(n_images=None, layers=("2", "6"), n_random=1, zero_below=0.0)
    frame = settings(small, images, IDS, PARTS, batch_size=2)
    assert list(frame["reading"].unique()) == READINGS
    mean = torch.tensor(small.preprocessing.mean, dtype=torch.float64)[:, None, None]
    for part in ("head", "tail"):
        hidden = images.clone()
        for index, (_, row) in enumerate(PARTS[PARTS["part"] == part].iterrows()):
            hidden[index, :, row.y : row.y + row.h, row.x : row.x + row.w] = mean
        both = small.preprocessing.normalise(torch.cat([images, hidden]))
        for layer in ("2", "6"):
            features = small.network[: int(layer) + 1](both).flatten(1)
            signs = (features[:3] - features[3:]).sign()
            total, shares = {"mismatch_sum": 0, "flip_sum": 0}, []
            for i, j in permutations(range(3), 2):
                total["mismatch_sum"] += int((signs[i] != signs[j]).sum())
                total["flip_sum"] += int((signs[i] * signs[j] == -1).sum())
                shares.append((signs[i] * signs[j] == -1).sum().item() / (signs[i] * signs[j] != 0).sum().item())
            rows = frame[(frame["part"] == part) & (frame["layer"] == layer)].set_index("reading")
            for kind in ("mismatch", "flip"):
                assert rows.loc[f"{kind}_sum", "delta"] == total[f"{kind}_sum"]
                expected = total[f"{kind}_sum"] / 6 / features.shape[1]
                assert rows.loc[f"{kind}_mean", "delta"] == pytest.approx(expected, abs=1e-12)
            assert rows.loc["flip_share", "delta"] == pytest.approx(np.mean(shares))
            assert rows["changed_share"].iloc[0] == pytest.approx((signs != 0).double().mean().item())
            assert (rows["n_dimensions"] == features.shape[1]).all()
            assert (rows["n_pairs"] == 3).all()
    assert (frame["delta"] > 0).any()


def test_copies_of_one_image_with_one_box_agree_in_all_readings(small, images):
    copies = images[:1].expand(5, -1, -1, -1).contiguous()
    same = boxes([(str(index), "head", 4, 4, 8, 8) for index in range(5)])
    frame = Correspondence(region="image")(small, copies, [str(index) for index in range(5)], same)
    part = frame[frame["part"] == "head"]
    assert set(part["reading"]) == set(READINGS)
    assert (part["delta"] == 0).all()
    assert (frame.loc[frame["part"] == "random", "delta"] > 0).any()


def signed(classify):
    """A network whose features are the mean colours of the image's left and right half."""
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten(), nn.Linear(6, 4)).double()
    network[0].weight.data.copy_(torch.eye(3)[:, :, None, None])
    network[0].bias.data.zero_()
    return classify(network, (24, 32))


def test_delta_of_features_that_are_known(classify):
    """A bright part darkens when hidden, a dark one brightens: signs +1 or −1 in its own half, 0 in the other."""
    images = torch.full((4, 3, 24, 32), 0.5, dtype=torch.float64)
    places = {"bright": (2, 2, 6, 6), "mixed": (20, 10, 6, 6)}
    images[:, :, 2:8, 2:8] = 1.0
    for index in range(4):
        images[index, :, 10:16, 20:26] = 1.0 if index % 2 else 0.0
    ids = list("abcd")
    parts = boxes([(image_id, part, *place) for image_id in ids for part, place in places.items()])
    settings = Correspondence(fill="value", grey=0.5, n_images=None, layers=("2",), parts=("bright", "mixed"))
    frame = settings(signed(classify), images, ids, parts).set_index(["part", "reading"])
    assert (frame.loc["bright", "delta"] == 0).all()
    # of 6 pairs 4 are of unlike images, which differ in 3 of 6 dimensions
    assert frame.loc[("mixed", "mismatch_mean"), "delta"] == pytest.approx(4 / 6 * 3 / 6)
    assert frame.loc[("mixed", "flip_mean"), "delta"] == pytest.approx(4 / 6 * 3 / 6)
    assert frame.loc[("mixed", "flip_sum"), "delta"] == 2 * 4 * 3
    assert frame.loc[("mixed", "flip_share"), "delta"] == pytest.approx(4 / 6)
    assert frame.loc[("mixed", "flip_share"), "changed_share"] == pytest.approx(3 / 6)
    assert frame.loc[("mixed", "mismatch_mean"), "std"] == pytest.approx(np.std([0, 0, 0.5, 0.5, 0.5, 0.5], ddof=1))


def test_the_permutation_test_finds_a_consistent_part_and_no_arbitrary_one(classify):
    """Noise images; the part is always bright, the other is noise like all random regions."""
    generator = torch.Generator().manual_seed(2)
    ids = [f"{index:02d}" for index in range(10)]
    images = torch.rand((10, 3, 24, 32), generator=generator, dtype=torch.float64)
    images[:, :, 2:8, 2:8] = 1.0
    places = np.random.default_rng(4).integers((0, 9), (26, 18), size=(10, 2))
    bright = [(image_id, "bright", 2, 2, 6, 6) for image_id in ids]
    parts = boxes(bright + [(image_id, "noise", x, y, 6, 6) for image_id, (x, y) in zip(ids, places, strict=True)])
    settings = Correspondence(fill="value", grey=0.5, n_images=None, layers=("2",), region="image", n_random=20)
    frame = settings(signed(classify), images, ids, parts).set_index(["reading", "part"])
    shown = frame.loc["mismatch_mean"]
    assert shown.loc["bright", "delta"] < shown.loc["noise", "delta"]
    assert shown.loc["bright", "p_value"] < 0.01
    assert shown.loc["noise", "p_value"] > 0.05
    assert np.isnan(shown.loc["random", "p_value"])


def test_a_permutation_among_equals_is_rarely_significant(classify):
    images = torch.rand((6, 3, 24, 32), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ids = list("abcdef")
    found = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        drawn = [(each, "any", *generator.integers(0, (26, 18)), 6, 6) for each in ids]
        settings = Correspondence(layers=("2",), region="image", n_images=None, seed=seed, n_permutations=199)
        frame = settings(signed(classify), images, ids, boxes(drawn))
        found.append(frame["p_value"].iloc[0])
    assert 0.25 < np.mean(found) < 0.75


def test_alternatives_and_invisible_parts(small, images):
    parts = boxes([("a", "left eye", 4, 4, 0, 0), ("b", "left eye", 5, 5, 0, 0), ("b", "right eye", 9, 9, 0, 0),
                   ("c", "right eye", 7, 7, 0, 0), ("c", "left eye", 1, 1, 0, 0)])  # fmt: skip
    parts.loc[4, "visible"] = False
    settings = Correspondence(parts=("eye=left eye|right eye",), window=4, n_images=None)
    found = settings._boxes(parts, IDS).set_index("image_id")
    assert found.loc[IDS, ["x", "y", "w", "h"]].to_numpy().tolist() == [[2, 2, 4, 4], [3, 3, 4, 4], [5, 5, 4, 4]]
    assert set(settings(small, images, IDS, parts)["part"]) == {"eye", "random"}
    with pytest.raises(XvError, match="1 images show all parts"):
        Correspondence(parts=("left eye", "right eye"))(small, images, IDS, parts)


def test_a_box_hides_the_pixels_it_touches_within_the_image():
    hidden = hidden_pixels(np.array([[1.5, -2.0, 2.0, 3.5], [30.0, 22.0, 9.0, 9.0]]), torch.zeros(3, 24, 32))
    expected = torch.zeros(2, 1, 24, 32, dtype=torch.bool)
    expected[0, 0, :2, 1:4] = True
    expected[1, 0, 22:, 30:] = True
    assert torch.equal(hidden, expected)


def test_batch_size_and_order_of_images_do_not_decide_the_numbers(small, images):
    settings = Correspondence(n_images=2, layers=("2",))
    one = settings(small, images, IDS, PARTS, batch_size=1)
    other = settings(small, images.flip(0), IDS[::-1], PARTS.iloc[::-1].sort_values("part", kind="stable"))
    pd.testing.assert_frame_equal(one, other)
