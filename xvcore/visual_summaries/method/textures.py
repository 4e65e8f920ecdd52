"""Drawn textures: pictures with statistics like those of natural ones, but nobody's data."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float

from xvcore.parameters import check, parameter

Generator = np.random.Generator


@dataclass(frozen=True, slots=True)
class DeadLeaves:
    """Draws pictures of shapes that cover one another, their radii by a power law (density ~ r^-3) [1]_.

    Such pictures have the edges and the scales of natural ones. What the plain model lacks, and what decides how far
    gradients correlate, is drawn too: some pictures are bare and some crowded; shapes are plain, shaded or filled with
    a texture that has one direction; many sides are upright or level.

    References
    ----------
    .. [1] A. Lee, D. Mumford, J. Huang, Occlusion Models for Natural Images, IJCV 41, 2001.
    """

    side: int = parameter(320, "Side of a picture, in pixels", ge=80)
    shapes: tuple[int, ...] = parameter((100, 1000), "Fewest and most shapes of a picture, log-uniform between", ge=1)
    smallest_px: float = parameter(4.0, "Least radius of a shape", ge=1)
    upright: float = parameter(0.25, "Share of shapes and textures that are level, give or take 4 degrees", ge=0, le=1)
    textured: float = parameter(0.5, "Share of shapes with a texture", ge=0, le=1)

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, n_pictures: int, seed: int = 0) -> Iterator[Float[torch.Tensor, "3 side side"]]:
        """Yield pictures, RGB in [0, 1] in steps of 1 / 255.

        Parameters
        ----------
        n_pictures : how many
        seed : the same seed draws the same pictures
        """
        generator = np.random.default_rng(seed)
        for _ in range(n_pictures):
            picture = torch.from_numpy(self._picture(generator)).movedim(-1, 0)
            yield (picture * 255).round().clamp(0, 255) / 255

    def _picture(self, generator: Generator) -> np.ndarray:
        textures = [self._texture(generator) for _ in range(5)]
        canvas = np.zeros((self.side, self.side, 3), dtype=np.float32)
        corners = self.side * np.array([[-1, -1], [2, -1], [2, 2], [-1, 2]])
        self._cover(canvas, corners, textures, generator)
        fewest, most = self.shapes[0], self.shapes[-1]
        for _ in range(int(np.exp(generator.uniform(np.log(fewest), np.log(most))))):
            self._cover(canvas, self._outline(generator), textures, generator)
        return np.asarray(cv2.GaussianBlur(canvas, (0, 0), float(generator.uniform(0.4, 1.2))))

    def _cover(self, canvas: np.ndarray, corners: np.ndarray, textures: list[np.ndarray], generator: Generator) -> None:
        """Paint one shape over the picture."""
        low = np.clip(corners.min(axis=0).astype(int) - 1, 0, self.side)
        high = np.clip(corners.max(axis=0).astype(int) + 2, 0, self.side)
        if (high <= low).any():
            return
        window = slice(low[1], high[1]), slice(low[0], high[0])
        cover = np.zeros(tuple(high - low)[::-1], np.uint8)
        cv2.fillPoly(cover, [((corners - low) * 16).round().astype(np.int32)], 255, cv2.LINE_AA, shift=4)
        y, x = np.mgrid[window].astype(np.float32) / self.side
        slope = generator.normal(0, 0.4, 2) * (generator.random() < 0.7)
        shade = slope[0] * (x - x.mean()) + slope[1] * (y - y.mean())
        if generator.random() < self.textured:
            strength = 0.02 * 10 ** generator.random()
            shade = shade + strength * textures[generator.integers(len(textures))][window]
        colour = generator.beta(0.9, 0.9) + generator.normal(0, 0.1, 3)
        paint = (colour + shade[..., None]).astype(np.float32)
        canvas[window] += (cover / np.float32(255))[..., None] * (paint - canvas[window])

    def _outline(self, generator: Generator) -> np.ndarray:
        """Return the corners of an ellipse, a rectangle or a triangle, level or turned anyhow, somewhere."""
        near, far = self.smallest_px**-2, (self.side / 2) ** -2
        radius = (near + generator.random() * (far - near)) ** -0.5
        n_corners = int(generator.choice([24, 4, 4, 3]))
        angles = 2 * np.pi * (np.arange(n_corners) + 0.5) / n_corners
        stretch = np.array([1.0, generator.uniform(0.1, 1.0)])
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * stretch * radius
        turn = self._turn(generator)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        return np.asarray(points @ rotation.T + generator.uniform(-0.1, 1.1, 2) * self.side)

    def _texture(self, generator: Generator) -> np.ndarray:
        """Return noise of unit variance with a 1 / f spectrum, stretched along one direction."""
        across, down = np.fft.rfftfreq(self.side)[None], np.fft.fftfreq(self.side)[:, None]
        turn, stretch = self._turn(generator), 10 ** generator.random()
        along = np.cos(turn) * across + np.sin(turn) * down
        beside = np.cos(turn) * down - np.sin(turn) * across
        frequency = np.hypot(along * stretch, beside / stretch)
        frequency[0, 0] = np.inf
        spectrum = np.fft.rfft2(generator.normal(size=(self.side, self.side)))
        noise = np.fft.irfft2(spectrum / frequency ** generator.uniform(0.8, 1.6), s=(self.side, self.side))
        return np.asarray((noise / noise.std()).astype(np.float32))

    def _turn(self, generator: Generator) -> float:
        if generator.random() < self.upright:
            return float(generator.integers(4) * np.pi / 2 + generator.normal(0, 0.07))
        return float(generator.uniform(0, 2 * np.pi))
