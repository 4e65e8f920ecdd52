"""From a decoded picture to the network's input, and where its pixels went."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Num
from PIL import Image
from torch import Tensor

from xvcore.errors import ParameterError, unknown_name
from xvcore.types import Images

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Pillow's filters by name; all but ``nearest`` are antialiased."""
CHANNELS = ("rgb", "bgr")
"""Orders in which networks take the colours."""


def _whole(sides: Iterable[Any]) -> bool:
    """Return whether all sides are whole numbers of pixels, at least one."""
    return all(isinstance(side, int | np.integer) and side >= 1 for side in sides)


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a pixel of the original picture lies in the network's input: ``x' = x * scale_x + offset_x``.

    Coordinates are continuous: pixel i covers [i, i + 1), its centre is i + 0.5. What the crop cut off gets
    coordinates outside the input.

    Parameters
    ----------
    scale_x, scale_y : pixels of the input a pixel of the picture
    offset_x, offset_y : where the picture's corner lies, in pixels of the input; negative where the crop cut it off

    Examples
    --------
    >>> from xvcore.models import Geometry
    >>> Geometry(scale_x=0.5, scale_y=0.5, offset_x=-16.0, offset_y=0.0).offset_x
    -16.0
    """

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float

    def points(self, points: Num[np.ndarray, "points 2"]) -> Float[np.ndarray, "points 2"]:
        """Return x, y in pixels of the model input for x, y in pixels of the original."""
        scale, offset = np.array([self.scale_x, self.scale_y]), np.array([self.offset_x, self.offset_y])
        moved: np.ndarray = points * scale + offset
        return moved

    def boxes(self, boxes: Num[np.ndarray, "boxes 4"]) -> Float[np.ndarray, "boxes 4"]:
        """Return x, y, w, h in pixels of the model input for boxes in pixels of the original; nothing is clipped."""
        scale = np.array([self.scale_x, self.scale_y] * 2)
        moved: np.ndarray = boxes * scale + np.array([self.offset_x, self.offset_y, 0.0, 0.0])
        return moved


MAX_RESIZED_PX = 2**26
"""Largest picture made on the way to the crop; at 3 bytes a pixel, 200 MB."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize, centre crop, normalise: what a network's weights were trained to expect.

    Parameters
    ----------
    input_px : height and width of the network's input
    resize_px : length of the shorter side before the centre crop, aspect kept; a pair is height and width before the
        crop, aspect lost; None resizes to ``input_px`` without a crop, aspect lost
    mean, std : of red, green and blue in [0, 1], whatever the order of channels; the defaults are those of ImageNet
    interpolation : Pillow's filter: nearest, bilinear, bicubic or lanczos
    channels : order in which the network takes the colours, ``"rgb"`` or ``"bgr"``; pictures are RGB all the same

    Notes
    -----
    Sizes are rounded as torchvision's ``Resize`` and ``CenterCrop`` do, so that ``normalise(pixels(image)[None])``
    equals the official transform of the published weights. A picture smaller than the crop is padded with black. Of a
    strip that would take gigabytes once resized (60 000 × 1 pixels, say) only what the crop keeps is resampled, which
    moves values at the crop's edges a little.

    Examples
    --------
    >>> from PIL import Image
    >>> from xvcore.models import Preprocessing
    >>> Preprocessing((224, 224), 256).pixels(Image.new("RGB", (640, 480))).shape
    torch.Size([3, 224, 224])
    """

    input_px: tuple[int, int] = (224, 224)
    resize_px: int | tuple[int, int] | None = 256
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    channels: str = "rgb"

    def __post_init__(self) -> None:
        if len(self.input_px) != 2 or not _whole(self.input_px):
            raise ParameterError(f"input_px = {self.input_px!r}: expected height and width, whole, at least 1 pixel")
        if self.resize_px is not None and not _whole(np.atleast_1d(self.resize_px)):
            raise ParameterError(f"resize_px = {self.resize_px!r}: expected whole pixels, at least 1, or None")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ParameterError(f"mean = {self.mean!r}, std = {self.std!r}: expected three numbers each, std above 0")
        if not np.isfinite((*self.mean, *self.std)).all():
            raise ParameterError(f"mean = {self.mean!r}, std = {self.std!r}: expected finite numbers")
        if self.interpolation not in RESAMPLING:
            raise unknown_name("interpolation", self.interpolation, RESAMPLING)
        if self.channels not in CHANNELS:
            raise unknown_name("order of channels", self.channels, CHANNELS)

    def pixels(self, image: Image.Image) -> Float[Tensor, "3 height width"]:
        """Return the picture resized and cropped, RGB in [0, 1]: the input before normalisation."""
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        by = RESAMPLING[self.interpolation]
        size = self._resized(rgb.width, rgb.height)
        left, top = self._corner(*size)
        height, width = self.input_px
        window = (left, top, left + width, top + height)
        if size[0] * size[1] <= MAX_RESIZED_PX or left < 0 or top < 0:
            cropped = rgb.resize(size, by).crop(window)
        else:
            scale_x, scale_y = rgb.width / size[0], rgb.height / size[1]
            box = (window[0] * scale_x, window[1] * scale_y, window[2] * scale_x, window[3] * scale_y)
            cropped = rgb.resize((width, height), by, box=box)
        return torch.from_numpy(np.array(cropped)).permute(2, 0, 1).contiguous().float() / 255

    def normalise(self, images: Images) -> Images:
        """Return ``(images - mean) / std`` of each channel, in the order in which the network takes them."""
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return self.in_order((images - mean) / std)

    def in_order(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        """Return red, green and blue in the network's order, and the network's channels as red, green and blue."""
        return images.flip(1) if self.channels == "bgr" else images

    def geometry(self, width: int, height: int) -> Geometry:
        """Return where the pixels of a picture of ``width`` × ``height`` go."""
        resized_width, resized_height = self._resized(width, height)
        left, top = self._corner(resized_width, resized_height)
        return Geometry(resized_width / width, resized_height / height, -float(left), -float(top))

    def key(self) -> dict[str, Any]:
        """Return what decides :meth:`pixels`, for the keys of caches that networks share."""
        resize = list(self.resize_px) if isinstance(self.resize_px, tuple) else self.resize_px
        return {"input_px": list(self.input_px), "resize_px": resize, "interpolation": self.interpolation}

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        if not isinstance(self.resize_px, int):
            exact_height, exact_width = self.resize_px or self.input_px
            return exact_width, exact_height
        if width <= height:
            return self.resize_px, int(self.resize_px * height / width)
        return int(self.resize_px * width / height), self.resize_px

    def _corner(self, width: int, height: int) -> tuple[int, int]:
        return _margin(width, self.input_px[1]), _margin(height, self.input_px[0])


def _margin(size: int, crop: int) -> int:
    """Return where the centre crop starts; negative where the picture is smaller, which Pillow fills with black."""
    return round((size - crop) / 2) if size >= crop else -((crop - size) // 2)
