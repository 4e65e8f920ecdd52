import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xvcore.visual_summaries.method.dense_flow import DenseFlow, RegionMatch, consistent, filled, painted, warp

SIZE = (15, 18)


def random_match(seed, n=12, size=SIZE, target=SIZE):
    rng = np.random.default_rng(seed)

    def boxes(height, width):
        w, h = rng.integers(2, width // 2, n), rng.integers(2, height // 2, n)
        return np.stack([rng.integers(0, width - w), rng.integers(0, height - h), w, h], axis=1).astype(float)

    return RegionMatch(boxes(*size), boxes(*target), rng.integers(0, 4, n).astype(float))


def painted_pixel_by_pixel(match, size, target):
    flow, owner = np.zeros((*size, 2)), np.full(size, -1)
    for region in sorted(range(len(match.boxes)), key=lambda r: (-match.confidence[r], r)):
        if match.confidence[region] <= 0:
            continue
        x, y, w, h = match.boxes[region]
        u, v, p, q = match.counterparts[region]
        for row in range(int(y), int(y + h)):
            for column in range(int(x), int(x + w)):
                if owner[row, column] < 0:  # still empty
                    owner[row, column] = region
                    to_x = u + (column + 0.5 - x) / w * p - 0.5
                    to_y = v + (row + 0.5 - y) / h * q - 0.5
                    flow[row, column, 0] = min(max(np.rint(to_x), 0), target[1] - 1) - column
                    flow[row, column, 1] = min(max(np.rint(to_y), 0), target[0] - 1) - row
    return flow, owner


def consistent_pixel_by_pixel(flow, owner, confidence):
    best = {}
    for row, column in np.ndindex(owner.shape):
        if owner[row, column] >= 0:
            landing = (row + flow[row, column, 1], column + flow[row, column, 0])
            sure = confidence[owner[row, column]]
            if landing not in best or sure > best[landing][0]:
                best[landing] = (sure, row, column)
    valid = np.zeros(owner.shape, dtype=bool)
    for _, row, column in best.values():
        valid[row, column] = True
    return valid


def filtered_densely(flow, valid, image, mu=30.0, nu=15.0, smoothness=20.0):
    """Spec 4.4 with a dense matrix, the whole image."""
    height, width = valid.shape
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).astype(float).reshape(-1, 3)
    number = np.arange(height * width).reshape(height, width)
    edges = [(number[r, c], number[r, c + 1]) for r in range(height) for c in range(width - 1)]
    edges += [(number[r, c], number[r + 1, c]) for r in range(height - 1) for c in range(width)]

    def weights(values, scale):
        distances = np.array([np.linalg.norm(values[i] - values[j]) for i, j in edges])
        spread = distances.max() - distances.min()
        distances = (distances - distances.min()) / spread if spread else np.zeros(len(edges))
        return np.exp(-scale * distances) + 1e-5

    guide = weights(lab, mu)
    data = np.diag(valid.ravel().astype(float))
    result = []
    for component in range(2):
        f = flow[..., component].reshape(-1, 1)
        u = np.zeros_like(f)
        for _ in range(2):
            laplacian = np.zeros((height * width, height * width))
            for (i, j), weight in zip(edges, guide * weights(u, nu), strict=True):
                laplacian[i, i] += weight
                laplacian[j, j] += weight
                laplacian[i, j] -= weight
                laplacian[j, i] -= weight
            u = np.linalg.solve(data + smoothness * laplacian, data @ f)
        result.append(u.reshape(height, width))
    return np.stack(result, axis=-1)


def whole(size):
    return np.array([0.0, 0.0, size[1], size[0]])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(st.integers(8, 30), st.integers(8, 30)))
def test_painting_and_consistency_equal_the_pixel_by_pixel_versions(seed, target):
    match = random_match(seed, target=target)
    flow, owner = painted(match, SIZE, target)
    wanted_flow, wanted_owner = painted_pixel_by_pixel(match, SIZE, target)
    assert np.array_equal(owner, wanted_owner)
    assert np.array_equal(flow, wanted_flow)
    assert np.array_equal(
        consistent(flow, owner, match.confidence, target), consistent_pixel_by_pixel(flow, owner, match.confidence)
    )


@pytest.mark.parametrize("size", [SIZE, SIZE[::-1]])
@pytest.mark.parametrize("seed", range(3))
def test_the_filter_equals_a_dense_solution(seed, size):
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    match = random_match(seed, size=size, target=size)
    flow, owner = painted(match, size, size)
    valid = consistent(flow, owner, match.confidence, size)
    found = DenseFlow(margin_px=None)(match, image, whole(size), size)
    assert np.allclose(found, filtered_densely(flow, valid, image), atol=1e-3)


def test_regions_that_all_moved_alike_move_every_pixel_alike():
    match = random_match(0, n=30)
    moved = RegionMatch(match.boxes, match.boxes + np.array([2, 3, 0, 0]), np.ones(30))
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    for dense in (DenseFlow(), DenseFlow(sd_filter=False), DenseFlow(margin_px=0)):
        flow = dense(moved, image, np.array([4.0, 3.0, 6.0, 5.0]), (40, 40))
        assert flow.shape == (5, 6, 2)
        assert np.allclose(flow, [2, 3], atol=1e-6)


def test_a_margin_moves_the_flow_little():
    size = (96, 96)
    rng = np.random.default_rng(3)
    image = cv2.GaussianBlur(rng.integers(0, 256, (*size, 3), dtype=np.uint8), (9, 9), 3)
    match = random_match(3, n=80, size=size, target=size)
    near = RegionMatch(match.boxes, match.boxes + rng.normal(0, 3, match.boxes.shape).round(), rng.random(80) + 0.1)
    box = np.array([30.0, 35.0, 30.0, 25.0])
    exact = DenseFlow(margin_px=None)(near, image, box, size)
    apart = np.abs(DenseFlow()(near, image, box, size) - exact)
    assert np.quantile(apart, 0.95) < 0.5


def test_no_confidence_is_no_displacement():
    match = random_match(1)
    silent = RegionMatch(match.boxes, match.counterparts, np.zeros(len(match.boxes)))
    image = np.zeros((*SIZE, 3), dtype=np.uint8)
    assert not DenseFlow()(silent, image, whole(SIZE), SIZE).any()


def test_a_window_of_holes_only_takes_the_nearest_flow():
    match = RegionMatch(np.array([[0.0, 0.0, 3.0, 3.0]]), np.array([[1.0, 0.0, 3.0, 3.0]]), np.ones(1))
    image = np.zeros((30, 30, 3), dtype=np.uint8)
    flow = DenseFlow(margin_px=2)(match, image, np.array([20.0, 20.0, 5.0, 5.0]), (30, 30))
    assert np.allclose(flow, [1, 0])


def test_holes_take_the_nearest_value():
    flow = np.arange(5.0)[None, :, None].repeat(2, axis=2)
    valid = np.array([[True, False, False, False, True]])
    assert filled(flow, valid)[0, :, 0].tolist()[:2] == [0, 0]
    assert filled(flow, valid)[0, -2:, 0].tolist() == [4, 4]


def test_the_warp_shows_the_second_image_where_the_flow_points():
    picture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    flow = np.broadcast_to([3.0, -2.0], (4, 5, 2))
    assert np.array_equal(warp(picture, np.array([6.0, 8.0, 5.0, 4.0]), flow), picture[6:10, 9:14])


@pytest.mark.parametrize("size", [(1, 7), (7, 1), (1, 1), (2, 2)])
def test_boxes_as_thin_as_a_pixel_have_a_flow(size):
    match = RegionMatch(np.array([[0.0, 0.0, *size[::-1]]]), np.array([[3.0, 4.0, *size[::-1]]]), np.ones(1))
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for dense in (DenseFlow(), DenseFlow(sd_filter=False)):
        assert np.allclose(dense(match, image, whole(size), (20, 20)), [3, 4])
