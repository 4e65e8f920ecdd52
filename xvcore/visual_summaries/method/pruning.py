"""Pruning: which proposals of an image become regions (salient to the network, not twice the same)."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xvcore.parameters import check, parameter
from xvcore.types import Boxes

SalientMask: TypeAlias = Bool[Tensor, "height width"] | Bool[np.ndarray, "height width"]


@dataclass(frozen=True, slots=True)
class Pruning:
    """Keeps proposals that the crisp mask removes almost entirely, and of near-equal ones the best matched.

    Source: Godi, Carletti, Aghaei, Giuliari, Cristani, Understanding Deep Architectures by Visual Summaries, BMVC 2018.
    """

    coverage: float = parameter(0.75, "A candidate has a larger share of salient pixels than this", ge=0, le=1)
    overlap: float = parameter(
        0.5, "Boxes can be redundant from this share of the smaller one on (intersection / smaller area)", ge=0, le=1
    )
    scale: float = parameter(2.0, "Boxes are redundant only below this ratio of the larger to the smaller area", ge=1)

    def __post_init__(self) -> None:
        check(self)

    def covered(self, salient: SalientMask, boxes: Boxes) -> tuple[Float[Tensor, " boxes"], Bool[Tensor, " boxes"]]:
        """Return the share of each box that is salient, in [0, 1], and which boxes exceed ``coverage``.

        Parameters
        ----------
        salient : (height, width), true where the crisp mask **removes** the pixel (mask < 0.5)
        boxes : in pixels of the mask; what lies outside of the picture does not count
        """
        mask = torch.as_tensor(salient, device=boxes.device)
        height, width = mask.shape
        integral = torch.zeros(height + 1, width + 1, dtype=torch.long, device=boxes.device)
        integral[1:, 1:] = mask.long().cumsum(0).cumsum(1)
        left, top, right, bottom = _edges(boxes, height, width)
        inside = integral[bottom, right] - integral[top, right] - integral[bottom, left] + integral[top, left]
        area = (right - left) * (bottom - top)
        share = inside.to(torch.float32) / area.clamp(min=1)
        return share, share > self.coverage

    def distinct(self, boxes: Boxes, redundancy: Float[Tensor, " boxes"]) -> Bool[Tensor, " boxes"]:
        """Return which boxes of **one** image stay when those redundant with a better one go.

        Visits the boxes from the highest ``redundancy`` score down (ties: the first box first) and keeps a box unless
        it is redundant with one already kept. The published loop re-orders its list while an index advances, so that a
        few boxes never suppress others; this is its clean equivalent.

        Parameters
        ----------
        boxes : candidates of one image
        redundancy : how well each matches regions of the other images, higher is better (:class:`ClassMatches`)
        """
        redundant = self._redundant(boxes.cpu().numpy().astype(np.float64))
        order = np.argsort(-redundancy.cpu().numpy(), kind="stable")
        stays = np.zeros(len(boxes), dtype=bool)
        for box in order:
            stays[box] = not (redundant[box] & stays).any()
        return torch.from_numpy(stays).to(boxes.device)

    def _redundant(self, boxes: np.ndarray) -> np.ndarray:
        start, size = boxes[:, :2], boxes[:, 2:]
        end = start + size
        sides = np.minimum(end[:, None], end[None]) - np.maximum(start[:, None], start[None])
        intersection = sides.clip(min=0).prod(axis=-1)
        area = size.prod(axis=1)
        smaller, larger = np.minimum(area[:, None], area[None]), np.maximum(area[:, None], area[None])
        return np.asarray((intersection >= self.overlap * smaller) & (larger < self.scale * smaller))


def _edges(boxes: Boxes, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, y, w, h = boxes.unbind(dim=1)
    horizontal = [edge.round().long().clamp(0, width) for edge in (x, x + w)]
    vertical = [edge.round().long().clamp(0, height) for edge in (y, y + h)]
    return horizontal[0], vertical[0], horizontal[1], vertical[1]
