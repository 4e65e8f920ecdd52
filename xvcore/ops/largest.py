"""The largest values of each row of a stream."""

import torch
from jaxtyping import Float
from torch import Tensor


class Largest:
    """Keeps the largest values of each row while values of some rows come in.

    Parameters
    ----------
    n_rows : rows
    n_kept : values kept of each row
    device : where values come in
    """

    def __init__(self, n_rows: int, n_kept: int, device: torch.device) -> None:
        self._kept = torch.full((n_rows, n_kept), -torch.inf, device=device)

    def add(self, rows: slice, values: Float[Tensor, "rows columns"]) -> None:
        """Take more values of some rows.

        Parameters
        ----------
        rows : which rows
        values : any number of them for each of these rows
        """
        n_kept = self._kept.shape[1]
        best = values.topk(min(n_kept, values.shape[1]), dim=1, sorted=False).values
        self._kept[rows] = torch.cat([self._kept[rows], best], dim=1).topk(n_kept, dim=1).values

    def mean(self) -> Float[Tensor, " rows"]:
        """Return the mean of what was kept in each row; 0 where nothing came in."""
        is_there = self._kept.isfinite()
        return self._kept.where(is_there, 0).sum(dim=1) / is_there.sum(dim=1).clamp(min=1)
