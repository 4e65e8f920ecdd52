"""Drawn textures: pictures with the statistics of natural ones (occluding shapes of all sizes), nobody's data."""

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def dead_leaves(
    n_pictures: int, side: int = 320, seed: int = 0, n_shapes: int = 1200
) -> Iterator[Float[Tensor, "3 side side"]]:
    """Yield pictures in [0, 1] of shapes that cover one another, their radii by a power law (density ~ r^-3).

    Such pictures have the edge and scale statistics of natural ones. Each shape has a colour, a shading and, one in
    three, a grating; a little noise with a 1/f spectrum lies over all.

    Source: Lee, Mumford, Huang, Occlusion models for natural images, IJCV 2001.
    """
    generator = np.random.default_rng(seed)
    for _ in range(n_pictures):
        canvas = np.full((side, side, 3), generator.uniform(0.2, 0.8, 3), dtype=np.float32)
        for _ in range(n_shapes):
            _cover(canvas, generator)
        canvas += 0.04 * _pink_noise(side, generator)[..., None]
        blurred = cv2.GaussianBlur(canvas, (0, 0), float(generator.uniform(0.4, 1.0)))
        yield torch.from_numpy(blurred.clip(0, 1)).movedim(-1, 0)


def _cover(canvas: np.ndarray, generator: np.random.Generator) -> None:
    side = len(canvas)
    smallest, largest = 3.0, side / 2.5
    share = generator.uniform()
    radius = (smallest**-2 + share * (largest**-2 - smallest**-2)) ** -0.5
    corners = _outline(radius, generator) + generator.uniform(-0.1 * side, 1.1 * side, 2)
    low = np.maximum(corners.min(axis=0).astype(int) - 1, 0)
    high = np.minimum(corners.max(axis=0).astype(int) + 2, side)
    if (high <= low).any():
        return
    width, height = high - low
    inside = np.zeros((height, width), np.uint8)
    cv2.fillPoly(inside, [((corners - low) * 16).round().astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    alpha = (inside / np.float32(255))[..., None]
    y, x = np.mgrid[:height, :width].astype(np.float32) / radius
    slope = generator.normal(0, 0.15, 2)
    shade = slope[0] * (x - x.mean()) + slope[1] * (y - y.mean())
    if generator.uniform() < 1 / 3:
        wave, phase = generator.normal(0, 4, 2), generator.uniform(0, 6.28)
        shade = shade + generator.uniform(0.05, 0.25) * np.sin(wave[0] * x + wave[1] * y + phase)
    colour = generator.beta(1.2, 1.2) + generator.normal(0, 0.12, 3)
    patch = canvas[low[1] : high[1], low[0] : high[0]]
    patch += alpha * ((colour + shade[..., None]).astype(np.float32) - patch)


def _outline(radius: float, generator: np.random.Generator) -> np.ndarray:
    kind = generator.integers(3)
    n_corners = (24, int(generator.integers(3, 7)), 4)[kind]
    angles = np.linspace(0, 2 * np.pi, n_corners, endpoint=False) + generator.uniform(0, 6.28)
    if kind == 1:
        angles = np.sort(generator.uniform(0, 2 * np.pi, n_corners))
    stretch = np.array([1.0, generator.uniform(0.15, 1.0)])
    points = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1) * stretch
    turn = generator.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(points @ rotation.T)


def _pink_noise(side: int, generator: np.random.Generator) -> np.ndarray:
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(generator.normal(size=(side, side))) / frequency
    noise = np.fft.irfft2(spectrum, s=(side, side))
    return np.asarray((noise / noise.std()).astype(np.float32))
