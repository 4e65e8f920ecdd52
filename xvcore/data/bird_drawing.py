"""The picture of a bird and the boxes of its parts: drawn with integers, so the same pixels on every machine."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from xvcore.data.bird import PARTS, Bird, Colour, Plumage, Pose

UNITS = 128
"""Side of the picture in the units of the canonical bird."""
FINENESS = 4
"""A pixel is the mean of 4 × 4 finer ones."""
FRACTION_BITS = 4
"""OpenCV takes the corners of polygons in 1/16 of a (fine) pixel."""

Points = Float[np.ndarray, "points 2"]
Canvas = UInt8[np.ndarray, "height width 3"]
Labels = UInt8[np.ndarray, "height width"]
Offsets = Float[np.ndarray, "height width"]


def draw(bird: Bird, px: int) -> Canvas:
    """Return the RGB picture of a bird, ``px`` × ``px`` pixels."""
    canvas = _scene(bird.scene, px)
    view = _View(bird.pose, px * FINENESS)
    for part in ("legs", "tail"):
        view.paint(canvas, part, bird.plumage[PARTS.index(part)])
    for outline in (_BODY, _HEAD, _RUMP):
        view.fill(canvas, outline, bird.coat)
    for part in ("crest", "bill", "breast", "wing"):
        view.paint(canvas, part, bird.plumage[PARTS.index(part)])
    view.fill(canvas, _ellipse(-26, -14, 3.4, 3.4), (245, 245, 245))
    view.fill(canvas, _ellipse(-26.5, -14, 2, 2), (10, 10, 10))
    for _ in range(FINENESS.bit_length() - 1):
        canvas = cv2.resize(canvas, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return canvas


def part_boxes(pose: Pose, px: int) -> dict[str, tuple[float, float, float, float]]:
    """Return x, y, w, h of each part in pixels of a picture of ``px`` × ``px``, clipped to it.

    Whatever a part wears, it changes no pixel that does not touch its box.
    """
    view = _View(pose, px)
    boxes = {}
    for part in PARTS:
        corners = view.points(_OUTLINES[part])
        (left, top), (right, bottom) = corners.min(axis=0).clip(0, px), corners.max(axis=0).clip(0, px)
        boxes[part] = (float(left), float(top), float(right - left), float(bottom - top))
    return boxes


def part_masks(pose: Pose, px: int) -> dict[str, Bool[np.ndarray, "height width"]]:
    """Return where each part is seen in a picture of ``px`` × ``px``: what lies over it hides it."""
    labels = np.zeros((px, px), np.uint8)
    view = _View(pose, px)

    def fill(part: str) -> None:
        view.fill(labels, _OUTLINES[part], (PARTS.index(part) + 1, 0, 0))

    for part in ("legs", "tail"):
        fill(part)
    for outline in (_BODY, _HEAD, _RUMP):
        view.fill(labels, outline, (0, 0, 0))
    for part in ("crest", "bill", "breast", "wing"):
        fill(part)
    view.fill(labels, _ellipse(-26, -14, 3.4, 3.4), (0, 0, 0))
    return {part: labels == number for number, part in enumerate(PARTS, 1)}


@dataclass(frozen=True, slots=True)
class _View:
    """Maps the canonical bird to a canvas of ``px`` × ``px``."""

    pose: Pose
    px: int

    def points(self, points: Points) -> Points:
        return np.asarray(points @ self._matrix().T + self._origin())

    def fill(self, canvas: Canvas | Labels, outline: Points, colour: Colour) -> None:
        cv2.fillPoly(canvas, [_fixed(self.points(outline))], colour, shift=FRACTION_BITS)

    def paint(self, canvas: Canvas, part: str, plumage: Plumage) -> None:
        """Paint a part with its pattern, which turns and grows with the bird."""
        corners = self.points(_OUTLINES[part])
        left, top = np.floor(corners.min(axis=0)).astype(int).clip(0, self.px - 1)
        right, bottom = np.ceil(corners.max(axis=0)).astype(int).clip(0, self.px - 1) + 1
        stencil = np.zeros((bottom - top, right - left), np.uint8)
        cv2.fillPoly(stencil, [_fixed(corners - (left, top))], 1, shift=FRACTION_BITS)
        y, x = np.mgrid[top:bottom, left:right] + 0.5
        inverse = np.linalg.inv(self._matrix())
        dx, dy = x - self._origin()[0], y - self._origin()[1]
        centre = (_OUTLINES[part].min(axis=0) + _OUTLINES[part].max(axis=0)) / 2
        u = inverse[0, 0] * dx + inverse[0, 1] * dy - centre[0]
        v = inverse[1, 0] * dx + inverse[1, 1] * dy - centre[1]
        colours = np.array([plumage.dark, plumage.light], np.uint8)
        pixels = colours[_WEAR[plumage.pattern](u, v).astype(np.uint8)]
        region = canvas[top:bottom, left:right]
        np.copyto(region, pixels, where=stencil.astype(bool)[:, :, None])

    def _matrix(self) -> Float[np.ndarray, "2 2"]:
        angle, scale = math.radians(self.pose.angle), self.pose.scale * self.px / UNITS
        return np.asarray(scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]))

    def _origin(self) -> Float[np.ndarray, "2"]:
        return np.array([self.pose.x + UNITS / 2, self.pose.y + UNITS / 2]) * (self.px / UNITS)


def _scene(seed: int, px: int) -> Canvas:
    """Return a background of ``px * FINENESS`` fine pixels a side: soft clouds, leaves and twigs."""
    generator = np.random.default_rng(seed)
    base = generator.integers(80, 175) + generator.integers(-25, 25, size=3, endpoint=True)
    clouds = np.zeros((px, px, 3), np.int16) + base.astype(np.int16)
    for cells, strength in ((5, 20), (17, 10), (48, 7)):
        coarse = generator.integers(0, 2 * strength, size=(cells, cells, 3), endpoint=True).astype(np.uint8)
        clouds += cv2.resize(coarse, (px, px), interpolation=cv2.INTER_LINEAR_EXACT).astype(np.int16) - strength
    fine = (px * FINENESS, px * FINENESS)
    picture = cv2.resize(clouds.clip(0, 255).astype(np.uint8), fine, interpolation=cv2.INTER_NEAREST)
    view = _View(Pose(0.0, 0.0, 1.0, 0.0), px * FINENESS)
    for _ in range(generator.integers(3, 8)):
        x, y = generator.uniform(-64, 64, size=2)
        leaf = _ellipse(x, y, *generator.uniform(3, 12, size=2), angle=generator.uniform(0, 180))
        view.fill(picture, leaf, tuple(generator.integers(40, 200, size=3).tolist()))
    for _ in range(generator.integers(1, 4)):
        x, y = generator.uniform(-64, 64, size=2)
        twig = _ellipse(x, y, 60.0, generator.uniform(0.8, 2.0), angle=generator.uniform(0, 180))
        view.fill(picture, twig, tuple(generator.integers(20, 110, size=3).tolist()))
    return picture


def _fixed(points: Points) -> np.ndarray:
    return np.asarray(np.rint(points * 2**FRACTION_BITS - 2 ** (FRACTION_BITS - 1)), np.int32)


def _ellipse(x: float, y: float, half_width: float, half_height: float, *, angle: float = 0.0) -> Points:
    turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    a, b = half_width * np.cos(turns), half_height * np.sin(turns)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return np.stack([x + a * cos - b * sin, y + a * sin + b * cos], axis=1)


_BODY, _HEAD = _ellipse(4, 13, 31, 20), _ellipse(-25, -12, 14, 15)
_RUMP = np.array([(18, 4), (33, 10), (41, -10), (31, -10)], np.float64)
_OUTLINES: dict[str, Points] = {
    part: np.array(outline, np.float64)
    for part, outline in {
        "crest": [
            (-32, -23),
            (-43, -41),
            (-37, -52),
            (-31, -46),
            (-25, -53),
            (-19, -46),
            (-12, -51),
            (-9, -39),
            (-17, -22),
        ],
        "bill": [(-34, -24), (-44, -25), (-53, -18), (-57, -7), (-55, 5), (-48, 0), (-36, 3), (-32, -10)],
        "breast": _ellipse(-18, 19, 14, 15),
        "wing": [(0, 6), (8, 0), (20, -1), (30, 5), (36, 16), (27, 25), (14, 28), (3, 23), (-1, 15)],
        "tail": [(28, -11), (21, -22), (22, -38), (31, -48), (43, -49), (53, -40), (53, -24), (46, -12), (37, -8)],
        "legs": [(-4, 32), (-8, 51), (-2, 51), (3, 36), (10, 36), (12, 51), (18, 51), (16, 32)],
    }.items()
}
"""Outline of each part; boxes and pattern follow from it."""


def _stripes(offset: Offsets, width: float) -> Bool[np.ndarray, "height width"]:
    return (np.floor(offset / width + 0.5).astype(np.int64) & 1).astype(bool)


def _wave(offset: Offsets, length: float) -> Offsets:
    """Return a triangular wave of slope 1."""
    return np.abs(offset - length * np.floor(offset / length + 0.5))


def _rays(u: Offsets, v: Offsets) -> Bool[np.ndarray, "height width"]:
    """Return every other one of twelve sectors; by comparisons, which are exact everywhere."""
    steep, flat = np.abs(v) > math.sqrt(3) * np.abs(u), math.sqrt(3) * np.abs(v) < np.abs(u)
    return np.asarray((u > 0) ^ (v > 0) ^ ~(steep | flat))


def _spots(u: Offsets, v: Offsets, pitch: float, radius: float) -> Bool[np.ndarray, "height width"]:
    du, dv = u - pitch * np.floor(u / pitch + 0.5), v - pitch * np.floor(v / pitch + 0.5)
    return du * du + dv * dv < radius * radius


_WEAR: dict[str, Callable[[Offsets, Offsets], Bool[np.ndarray, "height width"]]] = {
    "zigzag": lambda u, v: _stripes(v + _wave(u, 18.0), 6.0),
    "ringed": lambda u, v: _stripes(np.sqrt(u * u + v * v), 5.5),
    "spotted": lambda u, v: _spots(u, v, 12.0, 4.0),
    "chevroned": lambda u, v: _stripes(u + _wave(v, 18.0), 6.0),
    "rayed": _rays,
    "diamond": lambda u, v: _stripes(np.abs(u) + np.abs(v), 6.5),
    "plain": lambda u, _: np.zeros(u.shape, bool),
    "freckled": lambda u, v: _spots(u, v, 6.0, 1.1),
    "tipped": lambda _, v: v > 0,
}
"""Where each pattern is light, as a function of the offset from the part's centre."""
