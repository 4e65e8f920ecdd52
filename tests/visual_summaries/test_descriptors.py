"""Laws of background statistics and whitened descriptors."""

import numpy as np
import pytest
import torch

from xvcore.errors import XvError
from xvcore.ops.hog import hog
from xvcore.visual_summaries.method import background
from xvcore.visual_summaries.method.background import BackgroundStatistics, drawn_background, load, train_background
from xvcore.visual_summaries.method.descriptors import WhitenedHog
from xvcore.visual_summaries.method.textures import DeadLeaves


@pytest.fixture(scope="module")
def drawn():
    return list(DeadLeaves(side=96, shapes=(30, 60))(3))


def literal_covariance(pictures, dy, dx):
    """Over all pairs of cells that far apart, in the pictures and their mirrored ones (no smaller scale fits)."""
    maps = [hog(each[None].double() * 255)[0].numpy() for one in pictures for each in (one, one.flip(-1))]
    mean = np.concatenate([each.reshape(-1, 31) for each in maps]).mean(axis=0)
    products = []
    for each in maps:
        rows, columns, _ = each.shape
        cells = [(y, x) for y in range(rows) for x in range(columns) if 0 <= y + dy < rows and 0 <= x + dx < columns]
        products.extend(np.outer(each[y, x] - mean, each[y + dy, x + dx] - mean) for y, x in cells)
    return mean, np.mean(products, axis=0)


@pytest.mark.parametrize("offset", [(0, 0), (2, -3), (-1, 0), (7, 7)])
def test_covariance_is_the_mean_over_pairs_of_cells(drawn, offset):
    statistics = train_background(drawn, "test")
    mean, covariance = literal_covariance(drawn, *offset)
    np.testing.assert_allclose(statistics.mean, mean, rtol=1e-9)
    found = statistics.covariance[7 + offset[0], 7 + offset[1]]
    np.testing.assert_allclose(found, covariance, rtol=1e-7, atol=1e-12)


def test_whitening_inverts_the_covariance_of_all_cells():
    statistics = load()
    matrix = statistics.whitening(0.01)
    sigma = np.zeros((1984, 1984))
    for y1, x1, y2, x2 in np.random.default_rng(0).integers(0, 8, (200, 4)):
        block = statistics.covariance[7 + y2 - y1, 7 + x2 - x1]
        p, q = 31 * (8 * y1 + x1), 31 * (8 * y2 + x2)
        sigma[p : p + 31, q : q + 31] = block
    inverse = np.linalg.inv(matrix)
    full = inverse @ inverse.T - 0.01 * np.eye(1984)
    known = sigma != 0
    assert known.sum() > 100_000
    np.testing.assert_allclose(full[known], sigma[known], atol=1e-8)


def test_files_give_back_what_was_saved(drawn, tmp_path):
    statistics = train_background(drawn, "three pictures")
    statistics.save(tmp_path / "own.npz")
    found = load(tmp_path / "own.npz")
    np.testing.assert_allclose(found.covariance, statistics.covariance, rtol=1e-6)
    np.testing.assert_allclose(found.mean, statistics.mean, rtol=1e-6)
    assert found.provenance == "three pictures"


def test_shipped_statistics_name_their_source_and_need_no_more_than_the_papers_ridge():
    statistics = load()
    assert "DeadLeaves" in statistics.provenance
    factor = np.linalg.inv(statistics.whitening(0.01))
    np.testing.assert_allclose((factor[0] ** 2).sum(), statistics.covariance[7, 7, 0, 0] + 0.01)


@pytest.mark.slow
def test_shipped_statistics_can_be_drawn_again():
    shipped, again = load(), drawn_background()
    assert shipped.provenance == again.provenance
    np.testing.assert_allclose(shipped.mean, again.mean, atol=1e-4)
    np.testing.assert_allclose(shipped.covariance, again.covariance, atol=1e-4)


def test_the_ridge_rises_until_the_matrix_is_positive_definite():
    covariance = np.zeros((15, 15, 31, 31))
    covariance[7, 7] = -0.025 * np.eye(31)
    statistics = BackgroundStatistics(np.zeros(31), covariance, "impossible")
    np.testing.assert_allclose(statistics.whitening(0.01), np.eye(1984) / np.sqrt(0.005), rtol=1e-6)
    with pytest.raises(XvError, match="impossible"):
        BackgroundStatistics(np.zeros(31), 1000 * covariance, "impossible").whitening(0.01)


def test_the_same_seed_draws_the_same_pictures():
    leaves = DeadLeaves(side=80, shapes=(5, 10))
    first, again, other = (torch.stack(list(leaves(2, seed))) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (2, 3, 80, 80)
    assert (first >= 0).all()
    assert (first <= 1).all()


def test_dot_products_are_those_of_the_inverse_covariance(drawn):
    boxes = torch.tensor([[10.0, 12, 40, 30], [0, 0, 96, 96], [50, 40, 20, 44]])
    plain = WhitenedHog()(drawn[0], boxes)
    assert plain.shape == (3, 1984)
    statistics = load()
    matrix = statistics.whitening(0.01)
    features = plain.double().numpy() @ np.linalg.inv(matrix).T
    inverse = matrix.T @ matrix
    np.testing.assert_allclose((plain @ plain.T).numpy(), features @ inverse @ features.T, rtol=1e-3)


def test_a_larger_picture_of_the_same_region_has_nearly_the_same_descriptor(drawn):
    # A part drawn at twice the size: the crop of 80 px sees the same.
    small = drawn[1]
    large = torch.nn.functional.interpolate(small[None], scale_factor=2, mode="bilinear")[0].clamp(0, 1)
    box = torch.tensor([[20.0, 24, 40, 48], [2, 1, 90, 94]])
    a, b = WhitenedHog()(small, box), WhitenedHog()(large, 2 * box)
    other = WhitenedHog()(drawn[2], box)
    alike = torch.nn.functional.cosine_similarity(a, b)
    assert (alike > torch.nn.functional.cosine_similarity(a, other) + 0.2).all()


def test_a_descriptor_does_not_depend_on_the_other_boxes(drawn):
    boxes = torch.tensor([[10.0, 12, 40, 30], [0, 0, 96, 96], [50, 40, 20, 44]]).repeat(40, 1)
    boxes[:, 0] = torch.arange(120) % 40
    together = WhitenedHog()(drawn[0], boxes)
    for index in (0, 63, 64, 119):
        alone = WhitenedHog()(drawn[0], boxes[index : index + 1])[0]
        assert torch.nn.functional.cosine_similarity(alone, together[index], dim=0) > 0.999


def test_no_boxes_no_descriptors(drawn):
    assert WhitenedHog()(drawn[0], torch.zeros(0, 4)).shape == (0, 1984)


def test_the_users_statistics_take_the_place_of_ours(drawn, tmp_path):
    train_background(drawn, "mine").save(tmp_path / "mine.npz")
    box = torch.tensor([[10.0, 12, 40, 30]])
    mine = WhitenedHog(background=str(tmp_path / "mine.npz"))(drawn[0], box)
    assert not torch.allclose(mine, WhitenedHog()(drawn[0], box))


def test_files_that_are_no_statistics_are_refused(tmp_path):
    (tmp_path / "text.npz").write_text("no statistics")
    np.savez(tmp_path / "other.npz", mean=np.zeros(31))
    for name, message in (("text.npz", "not background"), ("other.npz", "not background"), ("absent.npz", "no back")):
        with pytest.raises(XvError, match=message):
            load(tmp_path / name)
    with pytest.raises(XvError, match="80 x 80"):
        background.train_background([torch.rand(3, 79, 200)], "too small")
