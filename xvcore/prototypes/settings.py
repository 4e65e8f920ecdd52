"""Every parameter; a digest of them is part of the run id."""

from dataclasses import dataclass
from typing import ClassVar

from xvcore.errors import ParameterError
from xvcore.parameters import check, parameter
from xvcore.prototypes.method.fit import Recipe
from xvcore.prototypes.method.head import HeadOptions
from xvcore.prototypes.method.preserving import Purity
from xvcore.runs.settings import ClassSettings, ImageSettings

MOST_KEPT = 0.9
"""Share of the images of a class that a training may be kept from."""


@dataclass(frozen=True)
class Disentangle(ImageSettings):
    """Heads of prototypes for the classes of a dataset, on the frozen features of a network (InfoDisent, 2024).

    The features are computed once; beside each head a linear probe is trained on the same.
    """

    method: ClassVar[str] = "disentangle"
    version: ClassVar[int] = 2

    n_trainings: int = parameter(1, "Trainings, with the seeds seed, seed + 1, …; each splits the images anew", ge=1)
    held_out: float = parameter(
        0.1, "Share of the images of a class by which a training is stopped; dataset without split", ge=0, le=0.9
    )
    tested: float = parameter(0.3, "Share of the images of a class that no training sees", ge=0, le=0.9)
    head: HeadOptions = parameter(HeadOptions(), "What the head is made of")
    recipe: Recipe = parameter(Recipe(), "How head and probe are trained")
    purity: Purity = parameter(Purity(), "How the rotation is trained where predictions are preserved")

    def __post_init__(self) -> None:
        check(self)
        if self.held_out + self.tested > MOST_KEPT:
            raise ParameterError(
                f"held_out = {self.held_out} and tested = {self.tested} leave too few images to train on: expected "
                f"{MOST_KEPT} at most together"
            )


@dataclass(frozen=True)
class Prototypes(ClassSettings):
    """The prototypes of a network over whole classes, and every decision taken apart (InfoDisent, 2024).

    For networks that ``xv disentangle`` made.
    """

    method: ClassVar[str] = "prototypes"
    version: ClassVar[int] = 2

    n_patches: int = parameter(5, "Strongest patches kept of a prototype to each side; EPIC shows 5", ge=1)
    n_shown: int = parameter(10, "Strongest contributions of a decision, and weights of a class, that get rows", ge=1)
    threshold: float = parameter(
        0.2, "A contribution of so much, in units of the logit, makes a prototype active, as SIDE counts", ge=0
    )
    prediction_too: bool = parameter(
        default=True, description="Take apart the predicted class's logit too, where it is another"
    )
    n_measured: int = parameter(64, "Images of all classes that purity, correlation and removal are measured on", ge=1)

    def __post_init__(self) -> None:
        check(self)
