"""Background statistics: how the features of natural pictures vary together, by which descriptors are whitened."""

import functools
import io
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xvcore.errors import XvError
from xvcore.ops.hog import CHANNELS, hog
from xvcore.visual_summaries.method.textures import DeadLeaves

CELLS = 8
"""Cells along a side of a descriptor."""
_REACH = CELLS - 1
_SHIPPED = "background.npz"


@dataclass(frozen=True)
class BackgroundStatistics:
    """Mean and covariance of HOG cells, the covariance by the offset between two cells (stationary).

    Parameters
    ----------
    mean : 31 channels
    covariance : [7 + dy, 7 + dx, i, j] = covariance of channel i of a cell with channel j of the cell dy rows below
        and dx columns to the right
    provenance : which pictures they were computed from

    Source: Hariharan, Malik, Ramanan, Discriminative decorrelation for clustering and classification, ECCV 2012, as
    used by Ham, Cho, Schmid, Ponce, Proposal Flow, CVPR 2016.
    """

    mean: Float[np.ndarray, " 31"]
    covariance: Float[np.ndarray, "15 15 31 31"]
    provenance: str

    def whitening(self, ridge: float) -> Float[np.ndarray, "1984 1984"]:
        """Return W with ``W.T W = (Sigma + ridge I)^-1`` for a descriptor of 8 x 8 cells.

        ``ridge`` is raised in its own steps until the matrix is positive definite, as the original does.

        Raises
        ------
        XvError
            A hundred steps do not make it so: the statistics are broken.
        """
        sigma = self._assembled()
        for _ in range(100):
            sigma.flat[:: len(sigma) + 1] += ridge
            try:
                factor = np.linalg.cholesky(sigma)
            except np.linalg.LinAlgError:
                continue
            return np.asarray(np.linalg.inv(factor))
        raise XvError(f"covariance is not positive definite with a ridge of {100 * ridge} (from: {self.provenance})")

    def save(self, path: Path) -> None:
        """Write the statistics as a compressed npz file; only half of the covariance is kept, it mirrors the rest."""
        half = self.covariance.reshape(-1, CHANNELS, CHANNELS)[: self.covariance[..., 0, 0].size // 2 + 1]
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            mean=self.mean.astype(np.float32),
            covariance=half.astype(np.float32),
            provenance=np.array(self.provenance),
        )
        path.write_bytes(buffer.getvalue())

    def _assembled(self) -> np.ndarray:
        place = np.arange(CELLS)
        offset = place[None] - place[:, None] + _REACH
        by_cells = self.covariance[offset[:, None, :, None], offset[None, :, None, :]]
        # rows y1 x1, columns y2 x2, then channels: (y1 x1 i, y2 x2 j)
        return np.asarray(by_cells.transpose(0, 1, 4, 2, 3, 5).reshape(CELLS**2 * CHANNELS, -1), dtype=np.float64)


def load(path: Path | None = None) -> BackgroundStatistics:
    """Return statistics from a file, or those that come with the package.

    Raises
    ------
    XvError
        The file is not there or holds something else.
    """
    data = path.read_bytes() if path and path.is_file() else None
    if path is None:
        data = resources.files("xvcore.visual_summaries.method").joinpath(_SHIPPED).read_bytes()
    if data is None:
        raise XvError(f"no background statistics at {path}")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            half, mean, provenance = stored["covariance"], stored["mean"], str(stored["provenance"])
    except (ValueError, KeyError, OSError) as error:
        raise XvError(f"{path}: not background statistics: {error}") from error
    mirrored = half[-2::-1].transpose(0, 2, 1)
    covariance = np.concatenate([half, mirrored]).reshape(2 * _REACH + 1, 2 * _REACH + 1, CHANNELS, CHANNELS)
    return BackgroundStatistics(mean, covariance, provenance)


def drawn_background() -> BackgroundStatistics:
    """Return the statistics that come with the package, computed anew (about a minute on one core)."""
    n_pictures, seed = 60, 0
    provenance = f"{n_pictures} pictures of {DeadLeaves().side} px drawn by xvcore's DeadLeaves() with seed {seed}"
    return train_background(DeadLeaves()(n_pictures, seed), provenance)


def train_background(pictures: Iterable[Float[Tensor, "3 height width"]], provenance: str) -> BackgroundStatistics:
    """Return the statistics of pictures in [0, 1], each also mirrored and in steps of sqrt(1/2) down to 10 cells.

    Raises
    ------
    XvError
        No picture is at least 80 pixels wide and high.
    """
    maps = [level for picture in pictures for level in _pyramid(picture)]
    if not maps:
        raise XvError("background statistics need at least one picture of 80 x 80 pixels or more")
    mean = torch.cat([each.reshape(-1, CHANNELS) for each in maps]).mean(dim=0)
    centred = [each - mean for each in maps]
    size = 2 * _REACH + 1
    covariance = torch.zeros(size, size, CHANNELS, CHANNELS, dtype=torch.float64)
    for dy in range(_REACH + 1):
        for dx in range(-_REACH, _REACH + 1):
            between = _covariance(centred, dy, dx)
            covariance[_REACH + dy, _REACH + dx] = between
            covariance[_REACH - dy, _REACH - dx] = between.T
    return BackgroundStatistics(mean.numpy(), covariance.numpy(), provenance)


@functools.lru_cache(maxsize=4)
def whitening(path: str | None, ridge: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean (31) and whitening matrix (1984 x 1984) of a file of statistics as float32; kept for the next call.

    Parameters
    ----------
    path : of the file; None: the statistics that come with the package
    ridge : see :meth:`BackgroundStatistics.whitening`
    device : where to put them
    """
    statistics = load(Path(path) if path else None)
    matrix = torch.from_numpy(statistics.whitening(ridge)).float()
    return torch.from_numpy(statistics.mean).float().to(device), matrix.to(device)


def _pyramid(picture: Float[Tensor, "3 height width"]) -> list[Tensor]:
    levels: list[Tensor] = []
    image = picture[None].double()
    while min(image.shape[2:]) >= (CELLS + 2) * 8:
        both = torch.cat([image, image.flip(-1)])
        levels.extend(hog(both * 255))
        size = [round(side * 0.5**0.5) for side in image.shape[2:]]
        image = F.interpolate(image, size, mode="bilinear", antialias=True)
    return levels


def _covariance(maps: list[Tensor], dy: int, dx: int) -> Tensor:
    total, count = torch.zeros(CHANNELS, CHANNELS, dtype=torch.float64), 0
    for each in maps:
        rows, columns = each.shape[:2]
        if rows <= dy or columns <= abs(dx):
            continue
        first = each[: rows - dy, max(0, -dx) : columns - max(0, dx)].reshape(-1, CHANNELS)
        second = each[dy:, max(0, dx) : columns + min(0, dx)].reshape(-1, CHANNELS)
        total += first.T @ second
        count += len(first)
    return total / max(count, 1)
