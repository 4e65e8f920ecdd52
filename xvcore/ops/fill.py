"""The one colour that hidden or missing pixels are filled with."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from xvcore.types import Images

Fill = Literal["training", "image", "value"]
"""``training``: the mean colour the network was trained with, 0 after its normalisation; ``image``: the image's own
mean colour; ``value``: a grey value."""
Colours = Float[Tensor, "batch 3 1 1"]
GREY = 127 / 255
"""The middle of 8 bits."""


def fill_colours(images: Images, fill: Fill, *, training_mean: tuple[float, float, float], value: float) -> Colours:
    """Return the fill colour of each image, RGB in [0, 1].

    Parameters
    ----------
    images : RGB in [0, 1]
    fill : which colour
    training_mean : colour for ``training``, in [0, 1]
    value : grey for ``value``, in [0, 1]
    """
    if fill == "image":
        return images.mean(dim=(2, 3), keepdim=True)
    colour = training_mean if fill == "training" else (value,) * 3
    return images.new_tensor(colour).view(1, 3, 1, 1).expand(len(images), 3, 1, 1)
