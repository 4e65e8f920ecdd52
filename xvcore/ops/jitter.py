"""Small random shifts of a picture from step to step."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xvcore.types import Images


@dataclass(frozen=True, slots=True)
class Jitter:
    """Windows of the picture's size in a picture ``px`` pixels larger; offsets are uniform on 0 … px − 1.

    A step's offset depends on the seed and the step alone, so all images of all batches move alike.
    """

    px: int
    seed: int = 0

    def enlarged(self, images: Images) -> Float[Tensor, "batch 3 height_enlarged width_enlarged"]:
        """Return the pictures resized to what the windows move in."""
        size = [length + self.px for length in images.shape[2:]]
        return F.interpolate(images, size, mode="bilinear", align_corners=False) if self.px else images

    def offset(self, step: int) -> tuple[int, int]:
        """Return the window's top and left in a step, in pixels."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        top, left = torch.randint(max(self.px, 1), (2,), generator=generator).tolist()
        return top, left
