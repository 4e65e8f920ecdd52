"""Region proposals: Selective Search, made deterministic; they depend on the picture only, not on a network."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from xvcore.errors import XvError
from xvcore.parameters import check, parameter
from xvcore.types import Boxes

_COLOURS = ("hsv", "lab", "rgi", "hue", "grey")


@dataclass(frozen=True, slots=True)
class SelectiveSearch:
    """Boxes that hierarchical grouping of segments finds (OpenCV's implementation).

    Segments of five colour spaces and several scales are merged by four measures: colour, texture, size and fill;
    texture, size and fill; fill; size. Boxes that touch the picture's border are left out but for the whole picture, as
    in Proposal Flow.

    OpenCV orders boxes by a random number that cannot be seeded; the set of boxes is the same each time, the order is
    not. Here they are ordered by a hash of their coordinates, a fixed shuffle, and cut to ``n_boxes``: so a picture
    with more boxes keeps an even sample of all sizes (the original's order, hierarchy level times a random number, is
    not to be had from OpenCV). A picture with fewer boxes keeps what there is; the original left such pictures out.

    Source: Uijlings, van de Sande, Gevers, Smeulders, Selective search for object recognition, IJCV 2013; settings of
    Ham, Cho, Schmid, Ponce, Proposal Flow, CVPR 2016.
    """

    n_boxes: int = parameter(500, "Most boxes of a picture", ge=1)
    scales: tuple[int, ...] = parameter(
        (50, 100, 150, 300), "Scale k of the segmentation and least size of a segment, in pixels", ge=1
    )
    smoothing: float = parameter(0.8, "Sigma of the blur before the segmentation, in pixels", ge=0)
    min_side: float = parameter(
        0.05, "Least side of a box as a share of the picture's shorter side (paper: 20 px of about 300)", ge=0, le=1
    )
    border: float = parameter(0.01, "A box may not reach this near to the border, as a share of the side", ge=0, le=0.5)

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, picture: UInt8[np.ndarray, "height width 3"]) -> Boxes:
        """Return at most ``n_boxes`` boxes in whole pixels, in a fixed order; may run in several threads.

        Parameters
        ----------
        picture : RGB

        Raises
        ------
        XvError
            The picture is too small to be segmented.
        """
        height, width = picture.shape[:2]
        if min(height, width) < 16:
            raise XvError(f"a picture of {height} x {width} px is too small for proposals (least side 16)")
        search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(np.ascontiguousarray(picture[..., ::-1]))
        search.clearImages()
        search.clearGraphSegmentations()
        search.clearStrategies()
        for space in _COLOURS:
            search.addImage(_in_colours(picture, space))
        for scale in self.scales:
            search.addGraphSegmentation(
                cv2.ximgproc.segmentation.createGraphSegmentation(self.smoothing, float(scale), scale)
            )
        for strategy in _strategies():
            search.addStrategy(strategy)
        return torch.from_numpy(self._chosen(np.unique(search.process(), axis=0), height, width))

    def _chosen(self, boxes: np.ndarray, height: int, width: int) -> Float[np.ndarray, "boxes 4"]:
        x, y, w, h = boxes.astype(np.float64).T
        near_x, near_y = self.border * width, self.border * height
        is_free = (x > near_x) & (y > near_y) & (x + w < width - near_x) & (y + h < height - near_y)
        is_whole = (x <= near_x) & (y <= near_y) & (x + w >= width - near_x) & (y + h >= height - near_y)
        is_large = np.minimum(w, h) >= self.min_side * min(height, width)
        wanted = boxes[(is_free | is_whole) & is_large]
        order = np.argsort(_hash(wanted), kind="stable")[: self.n_boxes]
        return np.asarray(wanted[order], dtype=np.float32)


def _hash(boxes: np.ndarray) -> np.ndarray:
    """Return 64 well mixed bits of each box (the finaliser of SplitMix64)."""
    x, y, w, h = boxes.astype(np.uint64).T
    bits = x | y << np.uint64(16) | w << np.uint64(32) | h << np.uint64(48)
    bits = (bits ^ bits >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ bits >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ bits >> np.uint64(31))


def _in_colours(picture: np.ndarray, space: str) -> np.ndarray:
    if space == "hsv":
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV))
    if space == "lab":
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2LAB))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    if space == "grey":
        return np.repeat(grey[..., None], 3, axis=2)
    if space == "hue":
        return np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[..., :1], 3, axis=2)
    total = picture.sum(axis=2, dtype=np.float32).clip(1)
    share = 255 * picture[..., :2] / total[..., None]
    return np.dstack([share.astype(np.uint8), grey])


def _strategies() -> list[Any]:
    make = cv2.ximgproc.segmentation
    colour, texture, size, fill = (
        make.createSelectiveSearchSegmentationStrategyColor,
        make.createSelectiveSearchSegmentationStrategyTexture,
        make.createSelectiveSearchSegmentationStrategySize,
        make.createSelectiveSearchSegmentationStrategyFill,
    )
    many = make.createSelectiveSearchSegmentationStrategyMultiple
    return [many(colour(), texture(), size(), fill()), many(texture(), size(), fill()), fill(), size()]
