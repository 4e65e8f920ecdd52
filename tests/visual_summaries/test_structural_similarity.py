import numpy as np
import pytest
from skimage.metrics import structural_similarity

from xvcore.visual_summaries.method.structural_similarity import grey, pairwise_ssim


def literal_ssim(a, b):
    """Weighted moments of each pixel's 11 x 11 window, borders replicated, averaged over all pixels."""
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    a, b = (np.pad(each.astype(float), 5, mode="edge") for each in (a, b))
    values = []
    for row in range(a.shape[0] - 10):
        for column in range(a.shape[1] - 10):
            p, q = (each[row : row + 11, column : column + 11] for each in (a, b))
            m_p, m_q = (weights * p).sum(), (weights * q).sum()
            v_p, v_q = (weights * (p - m_p) ** 2).sum(), (weights * (q - m_q) ** 2).sum()
            c = (weights * (p - m_p) * (q - m_q)).sum()
            c1, c2 = 2.55**2, 7.65**2
            values.append((2 * m_p * m_q + c1) * (2 * c + c2) / ((m_p**2 + m_q**2 + c1) * (v_p + v_q + c2)))
    return np.mean(values)


@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (10, 10), (24, 31)])
def test_equals_the_literal_formula_for_crops_of_any_size(shape):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(3)]
    images[1] = (images[0] * 0.7 + 0.3 * images[1]).astype(np.uint8)
    found = pairwise_ssim(images)
    for i in range(3):
        for j in range(3):
            assert found[i, j] == pytest.approx(literal_ssim(images[i], images[j]), abs=1e-9)


def test_equals_scikit_image_away_from_the_border():
    rng = np.random.default_rng(1)
    a = rng.integers(0, 256, (60, 50), dtype=np.uint8)
    b = (0.8 * a + 20 * rng.random((60, 50))).astype(np.uint8)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    _, theirs = structural_similarity(a, b, full=True, **options)
    inner = structural_similarity(a, b, **options)
    padded = [np.pad(each, 5, mode="symmetric") for each in (a, b)]
    _, whole = structural_similarity(*padded, full=True, **options)
    assert inner == pytest.approx(theirs[5:-5, 5:-5].mean())
    assert pairwise_ssim([a, b])[0, 1] == pytest.approx(whole[5:-5, 5:-5].mean(), abs=0.01)


def test_equal_pictures_are_1_and_inverted_ones_negative():
    picture = np.random.default_rng(2).integers(0, 256, (30, 30), dtype=np.uint8)
    found = pairwise_ssim([picture, picture, 255 - picture])
    assert found[0, 1] == pytest.approx(1)
    assert found[0, 2] < 0
    assert np.array_equal(found, found.T)


def test_grey_is_luma():
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], dtype=np.uint8)
    assert grey(colours).tolist() == [[76, 150, 29, 255]]
