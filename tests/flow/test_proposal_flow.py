"""Laws of proposal flow, against a literal restatement of the formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xvcore.ops import local_offset
from xvcore.summaries.visual.proposal_flow import ProposalFlow, Proposals, match, match_all

SIZE = (96, 128)


def drawn(n: int, seed: int, dimensions: int = 12) -> Proposals:
    generator = torch.Generator().manual_seed(seed)
    wh = torch.rand(n, 2, generator=generator) * 40 + 8
    xy = torch.rand(n, 2, generator=generator) * (torch.tensor([128.0, 96.0]) - wh)
    return Proposals(torch.cat([xy, wh], dim=1).round(), torch.randn(n, dimensions, generator=generator))


def literal(a: Proposals, b: Proposals, kind: str, order: str = "free") -> np.ndarray:
    """The formulas, with loops, in float64."""
    da, db = a.descriptors.double().numpy(), b.descriptors.double().numpy()
    ba, bb = a.boxes.double().numpy(), b.boxes.double().numpy()
    c = np.zeros((len(ba), len(bb)))
    for i, j in np.ndindex(c.shape):
        ratio = (bb[j, 2] / bb[j, 3]) / (ba[i, 2] / ba[i, 3])
        c[i, j] = max(0.0, da[i] @ db[j]) * (0.5 < ratio < 2)
    if kind == "nam":
        return c
    if kind == "phm":
        return literal_hough(c, ba, bb)
    offset = lambda i, j: np.array(  # noqa: E731
        [
            ba[i, 0] + ba[i, 2] / 2 - bb[j, 0] - bb[j, 2] / 2,
            ba[i, 1] + ba[i, 3] / 2 - bb[j, 1] - bb[j, 3] / 2,
            ba[i, 2] * ba[i, 3] / (bb[j, 2] * bb[j, 3]),
        ]
    )
    start = c.copy()
    for i in range(len(ba)):
        source = c if order == "sequential" else start
        near = [
            k
            for k in range(len(ba))
            if min(ba[i, 0] + ba[i, 2], ba[k, 0] + ba[k, 2]) > max(ba[i, 0], ba[k, 0])
            and min(ba[i, 1] + ba[i, 3], ba[k, 1] + ba[k, 3]) > max(ba[i, 1], ba[k, 1])
        ]
        local = np.median([offset(k, source[k].argmax()) for k in near], axis=0)
        total = source.max(axis=1).sum()
        support = sum(source[k].max() for k in near) / total if total else 0.0
        row = [
            source[i, j]
            * np.exp(-0.05 * np.linalg.norm((offset(i, j) - local)[:2]) - 0.3 * abs((offset(i, j) - local)[2]))
            * support
            for j in range(len(bb))
        ]
        c = c.copy()
        c[i] = row
    return c


def literal_hough(c: np.ndarray, ba: np.ndarray, bb: np.ndarray) -> np.ndarray:
    height, width = SIZE
    cell = max((4 * width * height / 8000) ** 0.5, 5)
    grid = np.zeros((int(2 * height / cell) + 1, int(2 * width / cell) + 1, 20))
    bins = {}
    for i in range(len(ba)):
        best: dict[tuple[int, int, int], float] = {}
        for j in range(len(bb)):
            wa, ha, wb, hb = ba[i, 2] / 2, ba[i, 3] / 2, bb[j, 2] / 2, bb[j, 3] / 2
            x = bb[j, 0] + wb + wb * (width - ba[i, 0] - wa) / wa
            y = bb[j, 1] + hb + hb * (height - ba[i, 1] - ha) / ha
            s = np.log2(wb * hb / (wa * ha))
            if c[i, j] > 0 and 1 <= x <= 2 * width and 1 <= y <= 2 * height and abs(s) <= 4:
                place = int(y // cell), int(x // cell), min(int((s + 4) // 0.4), 19)
                bins[i, j] = place
                best[place] = max(best.get(place, 0), c[i, j])
        for place, value in best.items():
            grid[place] += value
    weights = np.exp(-0.5 * (np.arange(-2, 3) / (5 / 2 / 2.354)) ** 2)
    weights /= weights.sum()
    kernel = weights[:, None, None] * weights[:, None] * weights
    padded = np.pad(grid, 2)
    z = np.zeros_like(c)
    for (i, j), (y, x, s) in bins.items():
        z[i, j] = c[i, j] * (padded[y : y + 5, x : x + 5, s : s + 5] * kernel).sum()
    return z


@pytest.mark.parametrize(
    "flow",
    [ProposalFlow(kind="nam"), ProposalFlow(kind="phm"), ProposalFlow(), ProposalFlow(order="sequential")],
    ids=str,
)
def test_a_pair_matches_as_the_formulas_say(flow: ProposalFlow) -> None:
    a, b = drawn(23, 0), drawn(31, 1)
    found = match(a, b, SIZE, flow).numpy()
    np.testing.assert_allclose(found, literal(a, b, flow.kind, flow.order), rtol=2e-4, atol=1e-5)


def test_loops_and_tensors_give_the_same() -> None:
    a, others = drawn(40, 2), [drawn(35, 3), drawn(35, 4)]
    appearance = torch.stack([(a.descriptors @ each.descriptors.T).clamp(min=0) for each in others])
    xy = torch.stack([each.boxes[:, :2] + each.boxes[:, 2:] / 2 for each in others])
    area = torch.stack([each.boxes[:, 2] * each.boxes[:, 3] for each in others])
    neighbours = local_offset_neighbours(a)
    rows, columns = torch.arange(40) % 3 == 0, torch.arange(70).reshape(2, 35) % 4 == 0
    arguments = (
        appearance, neighbours, a.boxes[:, :2] + a.boxes[:, 2:] / 2, a.boxes[:, 2] * a.boxes[:, 3], xy, area, rows, columns,
    )  # fmt: skip
    by_loops = local_offset.local_offset_confidence(
        *arguments, distance_weight=0.05, scale_weight=0.3, is_sequential=False
    )
    by_tensors = local_offset._tensors(*arguments, 0.05, 0.3)
    torch.testing.assert_close(by_loops, by_tensors, rtol=1e-4, atol=1e-6)


def local_offset_neighbours(a: Proposals) -> torch.Tensor:
    from xvcore.ops.boxes import meets

    return meets(a.boxes)


def test_all_pairs_are_the_pairs() -> None:
    images = [drawn(20 + k, k) for k in range(4)]
    candidates = [torch.arange(20 + k) % (k + 2) == 0 for k in range(4)]
    candidates[2][:] = False
    for flow in (
        ProposalFlow(n_similar=7),
        ProposalFlow(kind="phm", n_similar=7),
        ProposalFlow(order="sequential", n_similar=7),
    ):
        found = match_all(images, candidates, SIZE, flow)
        rows: dict[int, list[torch.Tensor]] = {}
        for i, j in np.ndindex(4, 4):
            forward = match(images[min(i, j)], images[max(i, j)], SIZE, flow)
            whole = forward if i <= j else forward.T
            block = whole[candidates[i]][:, candidates[j]]
            torch.testing.assert_close(found.scores[found.image == i][:, found.image == j], block, rtol=1e-4, atol=1e-6)
            if i != j:
                rows.setdefault(i, []).append(whole[candidates[i]])
        for i, parts in rows.items():
            expected = torch.cat(parts, dim=1).topk(7, dim=1).values.mean(dim=1)
            torch.testing.assert_close(found.redundancy[found.image == i], expected, rtol=1e-4, atol=1e-6)
        assert found.box.tolist() == [k for each in candidates for k in each.nonzero()[:, 0].tolist()]


def test_an_image_matches_itself() -> None:
    a = drawn(60, 5, dimensions=200)
    share = (match(a, a, SIZE, ProposalFlow()).argmax(dim=1) == torch.arange(60)).float().mean()
    assert share >= 0.98


def test_hough_confidence_does_not_mind_a_common_translation() -> None:
    # Boxes of one size: the corner lies at x_b - x_a + 100, inside the range before and after the translation.
    a, b = (Proposals(squares(25, seed), drawn(25, seed).descriptors) for seed in (6, 7))
    moved = Proposals(b.boxes + torch.tensor([10.0, 5.0, 0.0, 0.0]), b.descriptors)  # whole cells of 5 px
    flow = ProposalFlow(kind="phm")
    one, other = match(a, b, (100, 100), flow), match(a, moved, (100, 100), flow)
    assert (one > 0).sum() > 100
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def squares(n: int, seed: int) -> torch.Tensor:
    corner = torch.rand(n, 2, generator=torch.Generator().manual_seed(seed)) * 60 + 10.3
    return torch.cat([corner, torch.full((n, 2), 20.0)], dim=1)


def test_appearance_is_symmetric() -> None:
    a, b = drawn(20, 8), drawn(30, 9)
    nam = ProposalFlow(kind="nam")
    torch.testing.assert_close(match(a, b, SIZE, nam), match(b, a, SIZE, nam).T)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40))
def test_the_compiled_median_is_the_median(values: list[float]) -> None:
    array = np.array(values, dtype=np.float64)
    assert local_offset._select(array.copy(), len(array)) == pytest.approx(np.median(array))


def test_no_candidates_give_no_matches() -> None:
    nothing = match_all([drawn(5, 0)], [torch.zeros(5, dtype=torch.bool)], SIZE, ProposalFlow())
    assert nothing.scores.shape == (0, 0)
    assert match_all([], [], SIZE, ProposalFlow()).scores.shape == (0, 0)
