"""PartBirds: drawn birds whose classes differ in named parts only, so that it is known what a good network must use.

Each class has two or three *decisive* parts, each of which wears a pattern that this part wears in no other class. In
each picture one of them, drawn by lot, is there; each other one is absent (wears what other birds wear there) with
probability 0.3. So every decisive part alone has to suffice, and taking the class away means to remove all of them. All
else (pose, colours, background, the other parts) is drawn by lot without regard to the class. The last class,
``plain``, has no decisive part at all.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from xvcore.data.bird import N_CLASSES, PARTS, Bird, decisive_patterns, draw_lots, unpatterned
from xvcore.data.bird_drawing import draw, part_boxes, part_masks
from xvcore.data.dataset import ClassInfo, ImageRecord, PartBox, datasets, find_class
from xvcore.errors import DataError, ParameterError, unknown_name
from xvcore.parameters import check, parameter, replaced

PLAIN = "plain"
"""The class without decisive parts: birds as all others are but for their decisive parts."""
ABSENT = 0.3
"""Probability that a decisive part is absent from a picture, but for the one that stays."""
SPLITS = ("train", "val")


@dataclass(frozen=True)
class PartBirds:
    """A dataset that draws its pictures when they are read; equal settings give equal bytes.

    A picture depends on seed, split, class and its own number, not on the number of images or classes.
    """

    n_patterned: int = parameter(6, "Classes with decisive parts; the class plain comes on top", ge=1, le=N_CLASSES)
    n_images: int = parameter(100, "Images of each class", ge=1, le=99_999)
    px: int = parameter(128, "Side of the square pictures in pixels", ge=32, le=1024)
    seed: int = parameter(0, "Seed of all pictures", ge=0)
    split: Literal["train", "val"] = parameter("val", "Independent draws")
    name: str = parameter("", "Identity for run ids and tables; empty: the settings")

    def __post_init__(self) -> None:
        check(self)
        if not self.name:
            name = f"partbirds?classes={self.n_patterned}&images={self.n_images}&px={self.px}&seed={self.seed}"
            object.__setattr__(self, "name", name)

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """Patterned classes, named after their decisive parts, then ``plain``."""
        worn = [
            [f"{pattern}-{part}" for part, pattern in decisive_patterns(number).items()]
            for number in range(self.n_patterned)
        ]
        patterned = [
            ClassInfo(f"b{number:02d}_{'_'.join(parts)}", number, " ".join(parts)) for number, parts in enumerate(worn)
        ]
        return (*patterned, ClassInfo(PLAIN, self.n_patterned, PLAIN))

    def decisive_parts(self, class_id: str) -> tuple[str, ...]:
        """Return the parts that tell the class from all others; none for ``plain``.

        Raises
        ------
        DataError
            No such class.
        """
        return tuple(self._patterns(class_id))

    def images(self, class_id: str) -> tuple[ImageRecord, ...]:
        """Return the images of a class; DataError when there is no such class."""
        find_class(self.name, self.classes, class_id)
        prefix = class_id.partition("_")[0]
        return tuple(
            ImageRecord(f"{prefix}-{self.split}-{number:05d}", "", class_id) for number in range(self.n_images)
        )

    def read(self, record: ImageRecord) -> bytes:
        """Return the PNG file of an image."""
        picture = self.picture(record)
        _, data = cv2.imencode(".png", np.ascontiguousarray(picture[:, :, ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 1])
        return bytes(data)

    def picture(self, record: ImageRecord) -> UInt8[np.ndarray, "px px 3"]:
        """Return the RGB pixels of an image."""
        return draw(self.bird(record), self.px)

    def without(self, record: ImageRecord, parts: Collection[str]) -> ImageRecord:
        """Return the picture of the same scene whose bird wears on some parts what any bird may wear.

        Raises
        ------
        DataError
            A part that there is not.
        """
        for part in parts:
            if part not in PARTS:
                raise DataError(str(unknown_name("part of a bird", part, PARTS)))
        image_id = "~".join([record.image_id.partition("~")[0], *sorted(set(parts))])
        return ImageRecord(image_id, "", record.class_id)

    def bird(self, record: ImageRecord) -> Bird:
        """Return what is drawn in an image."""
        image_id, *removed = record.image_id.split("~")
        number = int(image_id.rpartition("-")[2])
        class_key = (
            N_CLASSES if record.class_id == PLAIN else find_class(self.name, self.classes, record.class_id).class_idx
        )
        generator = np.random.default_rng([self.seed, SPLITS.index(self.split), class_key, number])
        bird = draw_lots(generator, self._patterns(record.class_id), ABSENT)
        return unpatterned(bird, removed, generator)

    def part_masks(self, record: ImageRecord) -> dict[str, Bool[np.ndarray, "px px"]]:
        """Return where each part is seen in an image."""
        return part_masks(self.bird(record).pose, self.px)

    def parts(self, class_id: str) -> tuple[PartBox, ...]:
        """Return the boxes of all parts; decisive are those that wear the pattern of the class in that image."""
        patterns = self._patterns(class_id)
        found = []
        for record in self.images(class_id):
            bird = self.bird(record)
            boxes = part_boxes(bird.pose, self.px)
            for part in PARTS:
                is_decisive = part in patterns and bird.wears(part) == patterns[part]
                found.append(PartBox(record.image_id, part, *boxes[part], visible=True, decisive=is_decisive))
        return tuple(found)

    def _patterns(self, class_id: str) -> dict[str, str]:
        info = find_class(self.name, self.classes, class_id)
        return {} if class_id == PLAIN else decisive_patterns(info.class_idx)


@datasets.register("partbirds")
def partbirds(  # noqa: PLR0913 -- one parameter per option of the spec
    path: str | None,
    *,
    classes: str = "6",
    images: str = "100",
    px: str = "128",
    seed: str = "0",
    split: str = "val",
) -> PartBirds:
    """Open ``partbirds?classes=6&images=100&px=128&seed=0&split=val``.

    Parameters
    ----------
    path : there is none: the pictures are drawn
    classes : number of patterned classes, 1 … 12
    images : number of images of each class
    px : side of the pictures in pixels
    seed : of all pictures
    split : ``train`` or ``val``

    Raises
    ------
    DataError
        A path, or a value that is not allowed.
    """
    if path is not None:
        raise DataError(f"partbirds:{path}: PartBirds are drawn, they have no path")
    given = {"n_patterned": classes, "n_images": images, "px": px, "seed": seed, "split": split, "name": ""}
    try:
        return replaced(PartBirds(), given)
    except (ParameterError, KeyError) as error:
        asked = f"partbirds?classes={classes}&images={images}&px={px}&seed={seed}&split={split}"
        raise DataError(f"dataset {asked}: {error}") from error
