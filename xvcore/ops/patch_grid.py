"""Which patch of the input each element of a network's last map sees, where that is less than the image."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xvcore.errors import ParameterError


@dataclass(frozen=True, slots=True)
class PatchGrid:
    """Square patches on a regular grid: element i, j sees the rows from ``stride i - padding``, ``patch`` of them.

    Columns likewise. Where the padding is not 0, patches of the border reach beyond the image, of which they see zeros.

    Parameters
    ----------
    patch_px : side of a patch in pixels
    stride_px : distance of neighbouring patches in pixels
    padding_px : how far the first patch starts before the image, in pixels
    """

    patch_px: int
    stride_px: int
    padding_px: int = 0

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of the grid over an image.

        Raises
        ------
        ParameterError
            The image is smaller than a patch.
        """
        rows, columns = ((side + 2 * self.padding_px - self.patch_px) // self.stride_px + 1 for side in (height, width))
        if rows < 1 or columns < 1:
            raise ParameterError(f"an image of {height} × {width} px: expected at least {self.patch_px} px a side")
        return rows, columns

    def boxes(self, height: int, width: int) -> Float[Tensor, "rows columns 4"]:
        """Return x, y, w, h in pixels of the patch of each element; what is beyond the image is not cut off."""
        rows, columns = self.size(height, width)
        boxes = torch.full((rows, columns, 4), float(self.patch_px))
        boxes[..., 0] = torch.arange(columns) * self.stride_px - self.padding_px
        boxes[..., 1] = (torch.arange(rows) * self.stride_px - self.padding_px)[:, None]
        return boxes

    @property
    def dense(self) -> "PatchGrid":
        """The grid of patches of this size centred at every pixel."""
        return PatchGrid(self.patch_px, 1, (self.patch_px - 1) // 2)
