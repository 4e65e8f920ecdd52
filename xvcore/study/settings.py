"""Every parameter of a study; a digest of them, and of what is judged, is part of its id."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from xvcore.errors import ParameterError, unknown_name
from xvcore.parameters import check, parameter
from xvcore.study.method.compose import Composer
from xvcore.study.method.machine_score import MachineScore
from xvcore.study.method.question import TASKS


@dataclass(frozen=True, slots=True)
class Study:
    """What people are asked about what runs of a store found."""

    method: ClassVar[str] = "study"
    version: ClassVar[int] = 1

    tasks: tuple[str, ...] = parameter(
        ("name", "intruder", "two_afc"), f"What is asked, of {', '.join(TASKS)}; distinction computes explanations"
    )
    trials: int = parameter(60, "Questions that count and catch trials, all tasks together", ge=1, le=2000)
    per_run: int = parameter(
        200, "Most subjects of a run, spread over its layers or classes; units of a network are thousands", ge=1
    )
    picture_px: int = parameter(112, "Longest side of a picture in the file", ge=16, le=512)
    context: float = parameter(
        1.0,
        "Side of what is shown over the longer side of a region, where the images can be had; 1: the region itself; "
        "above 1 it is outlined",
        ge=1,
        le=8,
    )
    n_explanations: int = parameter(4, "Explanations of a distinction question (HIVE: 4)", ge=2, le=9)
    least_seconds: float = parameter(
        1.0, "An answer in less time was given without looking; ours (published: totals only)", ge=0
    )
    most_hasty: float = parameter(
        0.1, "Share of such answers above which all of a person's are set apart; ours", ge=0, le=1
    )
    least_caught: float = parameter(
        0.7, "Share of catch trials that must be right, else all of a person's are set apart; ours", ge=0, le=1
    )
    seed: int = parameter(0, "Seed of every random choice", ge=0)
    questions: Composer = parameter(Composer(), "How questions are made")

    def __post_init__(self) -> None:
        check(self)
        for task in self.tasks:
            if task not in TASKS:
                raise unknown_name("task", task, TASKS)
        if len(set(self.tasks)) < len(self.tasks) or not self.tasks:
            raise ParameterError(f"tasks = {', '.join(self.tasks)}: expected each once, of {', '.join(TASKS)}")


@dataclass(frozen=True, slots=True)
class Judge:
    """A machine that judges the subjects of a study by how alike their pictures look to it."""

    trunk: str = parameter("", "Address of the network that judges; LPIPS has heads for squeezenet1_1, alexnet, vgg16")
    similarity: Literal["lpips", "layers"] = parameter(
        "lpips", "lpips: the learned distance; layers: the same of any network, all channels alike"
    )
    side_px: int = parameter(64, "Side of the squares that it is shown; LPIPS was fitted on 64", ge=32, le=512)
    most_members: int = parameter(20, "Pictures of either side that tasks draw from, the most telling first", ge=2)
    score: MachineScore = parameter(MachineScore(), "The tasks")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class Specialise:
    """How classifiers of the regions of summaries are made and added to their network's scores."""

    layer: str = parameter("", "Layer of maps that regions are averaged over; empty: the last one before the logits")
    held_out: str = parameter(
        "", "Dataset of the images that judge, with the same classes; empty: the run's own, those it has not looked at"
    )
    most_held_out: int = parameter(200, "Images of a class that judge, the first in order", ge=1)
    n_folds: int = parameter(5, "Parts of the training images, to fit the weight to images not learned from", ge=2)
    shrinkage: float = parameter(
        0.3, "Share of the features' covariance that is replaced by its mean variance; ours", ge=0, le=1
    )
    n_background: int = parameter(4, "Boxes at random places of each training image, for its class and others", ge=0)
    seed: int = parameter(0, "Seed of folds, boxes and intervals", ge=0)

    def __post_init__(self) -> None:
        check(self)
