"""The mean colour of an image."""

from dataclasses import dataclass

from torch import Tensor

from xvcore.methods import methods
from xvcore.models.classifier import Classifier
from xvcore.parameters import check, parameter
from xvcore.types import Images, Targets


@methods.register("mean_colour")
@dataclass(frozen=True, slots=True)
class MeanColour:
    """Mean red, green and blue, in [0, 1]."""

    gain: float = parameter(1.0, "What the colours are multiplied by", ge=0, le=1)

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, classifier: Classifier, images: Images, targets: Targets) -> Tensor:
        """Return the colour of each image, (batch, 3)."""
        return self.gain * images.mean(dim=(2, 3))
