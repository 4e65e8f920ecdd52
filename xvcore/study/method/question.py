"""What a study is made of: pictures, subjects, questions."""

from dataclasses import dataclass, field
from typing import Literal

Task = Literal["name", "intruder", "two_afc", "distinction"]
TASKS: tuple[Task, ...] = ("name", "intruder", "two_afc", "distinction")
Group = Literal["found", "random_cluster", "raw_region"]
GROUPS: tuple[Group, ...] = ("found", "random_cluster", "raw_region")
"""What a family found, and its controls: patches of it drawn at random; boxes of its sizes at random places."""
Role = Literal["main", "practice", "catch"]
NONE = "none"
"""The answer that pictures have no part in common."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A patch of an image.

    Parameters
    ----------
    data : encoded, JPEG or PNG
    image_id, class_id : where it is from
    box : x, y, w, h in pixels of the network's input; ``None``: all of the image
    parts : annotated parts that it contains, the one it has most of first
    projection : what of it a unit responds to, encoded
    """

    data: bytes = field(repr=False)
    image_id: str
    class_id: str
    box: tuple[int, int, int, int] | None = None
    parts: tuple[str, ...] = ()
    projection: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Subject:
    """What questions are about: patches that a family holds to belong together, or a control of them.

    Parameters
    ----------
    subject_id : unique in a study
    run_id, model, method : of the run that found it
    scope : what it shares with those it is told from: the class, the layer, the run
    class_id : of its images; empty where they are of several
    label : in words
    group : found, or which control
    members : its patches, the most telling first
    others : patches of other subjects of the same scope, the other side of a choice
    control_of : the subject that a control was made after
    """

    subject_id: str
    run_id: str
    model: str
    method: str
    scope: str
    class_id: str
    label: str
    group: Group
    members: tuple[Picture, ...] = field(repr=False)
    others: tuple[Picture, ...] = field(default=(), repr=False)
    control_of: str = ""


@dataclass(frozen=True, slots=True)
class Placed:
    """A picture in a question; ``side``: what it is there for, ``max``, ``min``, ``query``, ``item`` or ``photo``."""

    side: str
    picture: Picture


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a study.

    Parameters
    ----------
    question_id : unique in a study
    task : what is asked
    role : counted, for practice with feedback, or one that whoever looks gets right
    subject : whom it is about; ``None`` of practice
    group : of the subject
    prediction : whether the network's prediction was right, where that is known: ``correct``, ``wrong``; else empty
    options : the answers to choose from
    truth : those that are right; empty where no annotation tells
    pictures : in the order in which they are shown
    block : the task that it is asked among; practice and catch trials may be of another task
    """

    question_id: str
    task: Task
    role: Role
    subject: Subject | None
    group: Group | None
    prediction: str
    options: tuple[str, ...]
    truth: tuple[str, ...]
    pictures: tuple[Placed, ...] = field(repr=False)
    block: Task | Literal[""] = ""

    @property
    def chance(self) -> float | None:
        """Share of right answers at random, in (0, 1]; ``None`` where no truth is known."""
        return len(self.truth) / len(self.options) if self.truth and self.options else None
