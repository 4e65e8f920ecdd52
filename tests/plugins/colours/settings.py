"""Every parameter; a digest of them is part of the run id."""

from dataclasses import dataclass
from typing import ClassVar

from colours.method.mean_colour import MeanColour
from xvcore.parameters import parameter
from xvcore.runs.settings import ImageSettings


@dataclass(frozen=True)
class Colours(ImageSettings):
    """The mean colour of every image of a class."""

    method: ClassVar[str] = "colours"
    version: ClassVar[int] = 1

    colour: MeanColour = parameter(MeanColour(), "What a colour is")
