"""HOG with 31 channels and the resized crops, against pixel-by-pixel restatements in double precision."""

import math

import numpy as np
import pytest
import torch

from xvcore.ops.hog import crops, hog


def literal_hog(picture):
    """Spec 4.2: loops over pixels and cells; picture is (height, width, 3) in 0..255."""
    height, width, _ = picture.shape
    rows, columns = height // 8, width // 8
    votes = np.zeros((rows, columns, 18))
    for y in range(1, rows * 8 - 1):
        for x in range(1, columns * 8 - 1):
            strongest = (-1.0, 0.0, 0.0)
            for channel in range(3):
                dx = picture[y, x + 1, channel] - picture[y, x - 1, channel]
                dy = picture[y + 1, x, channel] - picture[y - 1, x, channel]
                if dx * dx + dy * dy > strongest[0]:
                    strongest = (dx * dx + dy * dy, dx, dy)
            energy, dx, dy = strongest
            best, direction = -1.0, 0
            for o in range(9):
                # A level edge is as near to direction 4 as to 5: rounded, as in the original's table.
                dot = round(math.cos(o * math.pi / 9), 12) * dx + round(math.sin(o * math.pi / 9), 12) * dy
                for each, sign in ((o, 1), (o + 9, -1)):
                    if sign * dot > best:
                        best, direction = sign * dot, each
            xp, yp = (x + 0.5) / 8 - 0.5, (y + 0.5) / 8 - 0.5
            for row in (math.floor(yp), math.floor(yp) + 1):
                for column in (math.floor(xp), math.floor(xp) + 1):
                    if 0 <= row < rows and 0 <= column < columns:
                        share = (1 - abs(yp - row)) * (1 - abs(xp - column))
                        votes[row, column, direction] += share * math.sqrt(energy)
    energy = ((votes[..., :9] + votes[..., 9:]) ** 2).sum(axis=-1)
    out = np.zeros((rows - 2, columns - 2, 31))
    for row in range(1, rows - 1):
        for column in range(1, columns - 1):
            blocks = [energy[top : top + 2, left : left + 2] for top in (row - 1, row) for left in (column - 1, column)]
            norms = [1 / math.sqrt(block.sum() + 1e-4) for block in blocks]
            cell = votes[row, column]
            feature = out[row - 1, column - 1]
            for o in range(18):
                feature[o] = 0.5 * sum(min(cell[o] * n, 0.2) for n in norms)
            for o in range(9):
                feature[18 + o] = 0.5 * sum(min((cell[o] + cell[o + 9]) * n, 0.2) for n in norms)
            for k, n in enumerate(norms):
                feature[27 + k] = 0.2357 * sum(min(cell[o] * n, 0.2) for o in range(18))
    return out


def literal_crop(picture, box, side):
    """Each pixel of the result: a triangle over the picture, whose border pixels go on for ever."""
    height, width, _ = picture.shape
    x, y, w, h = box
    out = np.zeros((side, side, 3))

    def weights(start, length, index, size):
        scale = length / side
        centre, reach = start + (index + 0.5) * scale, max(scale, 1)
        found = {}
        for pixel in range(math.floor(centre - reach) - 1, math.ceil(centre + reach) + 2):
            weight = max(0.0, 1 - abs(pixel + 0.5 - centre) / reach)
            at = min(max(pixel, 0), size - 1)
            found[at] = found.get(at, 0) + weight
        total = sum(found.values())
        return {at: weight / total for at, weight in found.items()}

    for row in range(side):
        for column in range(side):
            for at_y, by_y in weights(y, h, row, height).items():
                for at_x, by_x in weights(x, w, column, width).items():
                    out[row, column] += by_y * by_x * picture[at_y, at_x]
    return out


def pictures(seed, height=40, width=56):
    return np.random.default_rng(seed).random((height, width, 3)) * 255


def as_tensor(picture, dtype=torch.float64):
    return torch.from_numpy(picture).to(dtype).movedim(-1, 0)


@pytest.mark.parametrize("size", [(40, 56), (24, 24), (43, 61)])
@pytest.mark.parametrize("is_whole", [False, True])
def test_features_are_the_papers(size, is_whole):
    picture = pictures(0, *size)
    picture = picture.round() if is_whole else picture
    found = hog(as_tensor(picture)[None])[0].numpy()
    np.testing.assert_allclose(found, literal_hog(picture), rtol=1e-9, atol=1e-12)


def test_single_precision_is_enough():
    picture = pictures(1)
    found = hog(as_tensor(picture, torch.float32)[None])[0].numpy()
    assert np.abs(found - literal_hog(picture)).mean() < 1e-4


def test_a_plain_picture_has_no_features():
    assert (hog(torch.full((1, 3, 40, 40), 128.0)) == 0).all()


def test_mirroring_turns_directions_round():
    picture = as_tensor(pictures(2, 48, 48))
    plain, mirrored = hog(picture[None])[0], hog(picture.flip(-1)[None])[0].flip(1)
    turned = [(9 - o) % 18 for o in range(18)]
    texture = [28, 27, 30, 29]
    torch.testing.assert_close(mirrored[..., :18], plain[..., turned])
    torch.testing.assert_close(mirrored[..., 27:], plain[..., texture])


def test_crops_are_antialiased_with_replicated_borders():
    picture = pictures(3, 30, 44)
    boxes = [[4, 5, 20, 11], [-4, -3, 30, 25], [20, 10, 30, 26], [0, 0, 44, 30], [10.5, 7.25, 5, 4], [41, 27, 6, 5]]
    found = crops(as_tensor(picture), torch.tensor(boxes, dtype=torch.float64), 12)
    for box, each in zip(boxes, found, strict=True):
        np.testing.assert_allclose(each.movedim(0, -1).numpy(), literal_crop(picture, box, 12), rtol=1e-9, atol=1e-9)


def test_a_crop_does_not_depend_on_the_other_boxes():
    picture = as_tensor(pictures(4), torch.float32)
    boxes = torch.tensor([[4.0, 5, 20, 11], [-9, -9, 60, 50], [0, 0, 3, 3]])
    together = crops(picture, boxes, 16)
    for box, each in zip(boxes, together, strict=True):
        torch.testing.assert_close(crops(picture, box[None], 16)[0], each, rtol=1e-4, atol=1e-3)


def test_the_whole_picture_at_its_size_is_itself():
    picture = as_tensor(pictures(5, 24, 24))
    torch.testing.assert_close(crops(picture, torch.tensor([[0.0, 0, 24, 24]]).double(), 24)[0], picture)
