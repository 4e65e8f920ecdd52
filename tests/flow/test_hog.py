"""Laws of HOG and of cropping, against loops that restate the formulas."""

import math

import numpy as np
import pytest
import torch

from xvcore.ops.hog import crops, hog


def literal_hog(picture: np.ndarray) -> np.ndarray:
    """Felzenszwalb's features, pixel by pixel; picture: (height, width, 3) in [0, 255]."""
    rows, columns = picture.shape[0] // 8, picture.shape[1] // 8
    histogram = np.zeros((rows, columns, 18))
    directions = [(math.cos(k * math.pi / 9), math.sin(k * math.pi / 9)) for k in range(9)]
    for y in range(1, rows * 8 - 1):
        for x in range(1, columns * 8 - 1):
            gradients = [
                (picture[y, x + 1, c] - picture[y, x - 1, c], picture[y + 1, x, c] - picture[y - 1, x, c])
                for c in range(3)
            ]
            dx, dy = max(gradients, key=lambda each: each[0] ** 2 + each[1] ** 2)
            best, orientation = 0.0, 0
            for k, (u, v) in enumerate(directions):
                along = u * dx + v * dy
                if along > best:
                    best, orientation = along, k
                elif -along > best:
                    best, orientation = -along, k + 9
            xp, yp = (x + 0.5) / 8 - 0.5, (y + 0.5) / 8 - 0.5
            for iy in (math.floor(yp), math.floor(yp) + 1):
                for ix in (math.floor(xp), math.floor(xp) + 1):
                    if 0 <= iy < rows and 0 <= ix < columns:
                        weight = (1 - abs(yp - iy)) * (1 - abs(xp - ix))
                        histogram[iy, ix, orientation] += weight * math.hypot(dx, dy)
    energy = ((histogram[..., :9] + histogram[..., 9:]) ** 2).sum(-1)
    result = np.zeros((rows - 2, columns - 2, 31))
    for y in range(1, rows - 1):
        for x in range(1, columns - 1):
            norms = [
                1 / math.sqrt(energy[i : i + 2, j : j + 2].sum() + 1e-4)
                for i, j in ((y - 1, x - 1), (y - 1, x), (y, x - 1), (y, x))
            ]
            votes = histogram[y, x]
            both = votes[:9] + votes[9:]
            result[y - 1, x - 1, :18] = [0.5 * sum(min(v * n, 0.2) for n in norms) for v in votes]
            result[y - 1, x - 1, 18:27] = [0.5 * sum(min(v * n, 0.2) for n in norms) for v in both]
            result[y - 1, x - 1, 27:] = [0.2357 * sum(min(v * n, 0.2) for v in votes) for n in norms]
    return result


@pytest.mark.parametrize("size", [(32, 40), (37, 31)])
def test_hog_equals_the_literal_definition(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).uniform(0, 255, (*size, 3))
    found = hog(torch.from_numpy(picture).movedim(-1, 0)[None])[0].numpy()
    np.testing.assert_allclose(found, literal_hog(picture), atol=1e-9)


def test_hog_of_a_batch_is_that_of_each_picture() -> None:
    pictures = torch.rand(3, 3, 40, 40, dtype=torch.float64) * 255
    assert torch.allclose(hog(pictures), torch.cat([hog(each[None]) for each in pictures]))


def literal_crop(line: np.ndarray, start: float, length: float, side: int) -> np.ndarray:
    """Antialiased bilinear resampling of one line with replicated borders."""
    scale = length / side
    support = max(scale, 1)
    result = np.zeros(side)
    for o in range(side):
        centre = start + (o + 0.5) * scale
        weights = {j: max(0.0, 1 - abs(j + 0.5 - centre) / support) for j in range(-200, len(line) + 200)}
        total = sum(weights.values())
        result[o] = sum(w * line[min(max(j, 0), len(line) - 1)] for j, w in weights.items()) / total
    return result


@pytest.mark.parametrize("box", [(2.0, 3.0, 10.0, 12.0), (-6.5, -3.0, 40.0, 50.0), (20.0, 25.0, 25.0, 20.0)])
def test_a_crop_equals_the_literal_resampling(box: tuple[float, float, float, float]) -> None:
    picture = np.random.default_rng(1).uniform(size=(3, 36, 30))
    x, y, w, h = box
    by_rows = np.stack([[literal_crop(picture[c, :, j], y, h, 16) for j in range(30)] for c in range(3)])
    expected = np.stack([[literal_crop(by_rows[c, :, i], x, w, 16) for i in range(16)] for c in range(3)])
    found = crops(torch.from_numpy(picture), torch.tensor([box], dtype=torch.float64), 16)[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)
