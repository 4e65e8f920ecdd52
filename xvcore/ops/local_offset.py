"""Local offset matching: a match is trusted as far as it agrees with the matches of overlapping regions.

On a CPU compiled loops do the work, on other devices tensor operations on many pairs at once; both give the same.
"""

import inspect
import math

import numba
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor


def local_offset_confidence(
    appearance: Float[Tensor, "pairs n m"],
    neighbours: Bool[Tensor, "n n"],
    centre_a: Float[Tensor, "n 2"],
    area_a: Float[Tensor, " n"],
    centre_b: Float[Tensor, "pairs m 2"],
    area_b: Float[Tensor, "pairs m"],
    rows: Bool[Tensor, " n"],
    columns: Bool[Tensor, "pairs m"],
    *,
    distance_weight: float,
    scale_weight: float,
    is_sequential: bool,
) -> Float[Tensor, "pairs n m"]:
    """Return the confidence of each match in the wanted rows and columns; elsewhere 0.

    With C the appearance, b*(a) = argmax_b C(a, b), offsets o(a, b) = (centre_a - centre_b, area_a / area_b):

        o*(a)  = median of o(a', b*(a')) over the regions a' that overlap a, each coordinate for itself
        sup(a) = sum of max_b C(a', b) over those a' / the same sum over all a'
        z(a, b) = C(a, b) * exp(-distance_weight |o_xy(a, b) - o*_xy(a)| - scale_weight |o_s(a, b) - o*_s(a)|) * sup(a)

    The authors' code finds o* by 20 re-weighted iterations that approach the same median; here it is exact.

    Parameters
    ----------
    appearance : of image A with several others, at least 0
    neighbours : which regions of A overlap, themselves included
    centre_a, area_a, centre_b, area_b : of the regions, in pixels and square pixels
    rows, columns : matches in any of these rows **or** any of these columns are finished
    distance_weight, scale_weight : decay
    is_sequential : each row is replaced before the next is computed, as in the authors' loop; then all rows are
        finished
    """
    arguments = (appearance, neighbours, centre_a, area_a, centre_b, area_b, rows, columns)
    if is_sequential or appearance.device.type == "cpu":
        with_cpu = [each.detach().cpu().contiguous().numpy() for each in arguments]
        result = np.zeros_like(with_cpu[0])
        lists, ends = _neighbour_lists(with_cpu[1])
        kernel = _sequential if is_sequential else _parallel
        for pair in range(len(result)):
            c, xy_a, s_a, xy_b, s_b = with_cpu[0][pair], with_cpu[2], with_cpu[3], with_cpu[4][pair], with_cpu[5][pair]
            kernel(
                c, lists, ends, xy_a, s_a, xy_b, s_b, with_cpu[6], with_cpu[7][pair],
                distance_weight, scale_weight, result[pair],
            )  # fmt: skip
        return torch.from_numpy(result).to(appearance)
    return _tensors(*arguments, distance_weight, scale_weight)


def _tensors(  # noqa: PLR0917  the arguments of the function above
    appearance: Tensor,
    neighbours: Tensor,
    centre_a: Tensor,
    area_a: Tensor,
    centre_b: Tensor,
    area_b: Tensor,
    rows: Tensor,
    columns: Tensor,
    distance_weight: float,
    scale_weight: float,
) -> Tensor:
    best, counterpart = appearance.max(dim=2)
    xy = centre_a - centre_b.gather(1, counterpart[..., None].expand(-1, -1, 2))
    ratio = area_a / area_b.gather(1, counterpart)
    offsets = torch.stack([xy[..., 0], xy[..., 1], ratio])
    local = torch.stack([_masked_median(each, neighbours) for each in offsets])
    support = best @ neighbours.to(best).T / best.sum(dim=1, keepdim=True).clamp(min=torch.finfo(best.dtype).tiny)
    dx = centre_a[:, 0, None] - centre_b[:, None, :, 0] - local[0][..., None]
    dy = centre_a[:, 1, None] - centre_b[:, None, :, 1] - local[1][..., None]
    ds = area_a[:, None] / area_b[:, None] - local[2][..., None]
    decay = (-distance_weight * torch.hypot(dx, dy) - scale_weight * ds.abs()).exp()
    wanted = rows[:, None] | columns[:, None]
    return appearance * decay * support[..., None] * wanted


def _masked_median(values: Float[Tensor, "pairs n"], neighbours: Bool[Tensor, "n n"]) -> Float[Tensor, "pairs n"]:
    spread = values[:, None].where(neighbours, torch.inf).sort(dim=2).values
    count = neighbours.sum(dim=1)
    low = spread.gather(2, ((count - 1) // 2)[None, :, None].expand(len(values), -1, 1))
    high = spread.gather(2, (count // 2)[None, :, None].expand(len(values), -1, 1))
    return (low + high)[..., 0] / 2


def _neighbour_lists(neighbours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    row, column = np.nonzero(neighbours)
    return column.astype(np.int32), np.searchsorted(row, np.arange(len(neighbours) + 1)).astype(np.int64)


# The loops below are compiled; annotations would be checked at each call, so they have none.


def _median_in_place(values, count):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return the median of the first ``count`` values, reordering them (quickselect)."""
    middle = count // 2
    low, high = 0, count - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            break
    result = values[middle]
    if count % 2 == 0:
        below = values[0]
        for k in range(1, middle):
            below = max(below, values[k])
        result = (result + below) / 2
    return result


_select = numba.njit(nogil=True)(inspect.unwrap(_median_in_place))


def _row(c, a, best, counterpart, total, lists, ends, xy_a, s_a, xy_b, s_b, is_row, columns, by_px, by_scale, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0913, PLR0914, PLR0917
    """Write one row of confidences."""
    start, count = ends[a], ends[a + 1] - ends[a]
    values = np.empty(count, c.dtype)
    local = np.empty(3, c.dtype)
    for axis in range(3):
        for k in range(count):
            other = lists[start + k]
            match = counterpart[other]
            if axis < 2:
                values[k] = xy_a[other, axis] - xy_b[match, axis]
            else:
                values[k] = s_a[other] / s_b[match]
        local[axis] = _select(values, count)
    support = c.dtype.type(0)
    for k in range(count):
        support += best[lists[start + k]]
    support = support / total if total > 0 else c.dtype.type(0)
    for b in range(c.shape[1]):
        if c[a, b] > 0 and (is_row or columns[b]):
            dx = xy_a[a, 0] - xy_b[b, 0] - local[0]
            dy = xy_a[a, 1] - xy_b[b, 1] - local[1]
            ds = s_a[a] / s_b[b] - local[2]
            decay = math.exp(-by_px * math.sqrt(dx * dx + dy * dy) - by_scale * abs(ds))
            out[b] = c[a, b] * decay * support
        else:
            out[b] = 0


_finish_row = numba.njit(nogil=True)(inspect.unwrap(_row))


def _best_of_row(c, a, best, counterpart):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    place = 0
    for b in range(1, c.shape[1]):
        if c[a, b] > c[a, place]:
            place = b
    best[a] = c[a, place]
    counterpart[a] = place


_find_best = numba.njit(nogil=True)(inspect.unwrap(_best_of_row))


def _all_rows(c, lists, ends, xy_a, s_a, xy_b, s_b, rows, columns, by_px, by_scale, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0913, PLR0917
    n = c.shape[0]
    best, counterpart = np.empty(n, c.dtype), np.empty(n, np.int64)
    for a in numba.prange(n):
        _find_best(c, a, best, counterpart)
    total = best.sum()
    is_any = columns.any()
    for a in numba.prange(n):
        if rows[a] or is_any:
            _finish_row(
                c, a, best, counterpart, total, lists, ends, xy_a, s_a, xy_b, s_b, rows[a], columns,
                by_px, by_scale, out[a],
            )  # fmt: skip


_parallel = numba.njit(nogil=True, parallel=True)(inspect.unwrap(_all_rows))


def _rows_in_turn(c, lists, ends, xy_a, s_a, xy_b, s_b, rows, columns, by_px, by_scale, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0913, PLR0917
    n = c.shape[0]
    out[:] = c
    best, counterpart = np.empty(n, c.dtype), np.empty(n, np.int64)
    for a in range(n):
        _find_best(c, a, best, counterpart)
    buffer = np.empty(c.shape[1], c.dtype)
    for a in range(n):
        _finish_row(
            out, a, best, counterpart, best.sum(), lists, ends, xy_a, s_a, xy_b, s_b, True, columns,
            by_px, by_scale, buffer,
        )  # fmt: skip
        out[a] = buffer
        _find_best(out, a, best, counterpart)


_sequential = numba.njit(nogil=True)(inspect.unwrap(_rows_in_turn))
