"""A drawn bird: which parts it has, which patterns they can wear, and how one is drawn by lot.

Coordinates are those of a canonical bird that looks to the left: origin in the middle of the picture, x to the right,
y down, in units of 1/128 of the picture's side.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

PARTS = ("crest", "bill", "breast", "wing", "tail", "legs")
"""All parts with a box; their patterns are drawn independently of each other."""
HEAD_PARTS, BODY_PARTS = ("crest", "bill"), ("wing", "breast")
PATTERNS = ("zigzag", "ringed", "spotted", "chevroned", "rayed", "diamond")
"""What a decisive part can wear; never seen on a part that is not decisive."""
NEUTRAL = ("plain", "freckled", "tipped")
"""What any other part wears, in every class alike."""

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Plumage:
    """What a part looks like.

    Parameters
    ----------
    pattern : one of ``PATTERNS`` and ``NEUTRAL``
    dark, light : RGB, 0 … 255
    """

    pattern: str
    dark: Colour
    light: Colour


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the bird stands: canonical x, y are scaled, rotated about the origin and moved.

    Parameters
    ----------
    x, y : shift in units of 1/128 of the side
    scale : 1 is the canonical size
    angle : clockwise, in degrees
    """

    x: float
    y: float
    scale: float
    angle: float


@dataclass(frozen=True, slots=True)
class Bird:
    """Everything that decides the pixels of a picture.

    Parameters
    ----------
    pose : where the bird stands
    coat : RGB of head and body
    plumage : of each part, in the order of ``PARTS``
    scene : seed of the background
    """

    pose: Pose
    coat: Colour
    plumage: tuple[Plumage, ...]
    scene: int

    def wears(self, part: str) -> str:
        """Return the pattern of a part."""
        return self.plumage[PARTS.index(part)].pattern


def decisive_patterns(class_number: int) -> dict[str, str]:
    """Return the decisive parts of a class and the pattern of each.

    No two classes share a part with its pattern, so that each decisive part alone tells the class; within a class all
    patterns differ. Classes 0 … 5 have three decisive parts, 6 … 11 two; the parts of one class are not neighbours.

    Raises
    ------
    IndexError
        No such class: ``class_number`` is not in 0 … 11.
    """
    if not 0 <= class_number < N_CLASSES:
        raise IndexError(class_number)
    n = len(PATTERNS)
    turn, number = divmod(class_number, n)
    head, body = HEAD_PARTS[(number + turn) % 2], BODY_PARTS[(number // 2 + turn) % 2]
    chosen = {head: PATTERNS[number], body: PATTERNS[(number + 1) % n]}
    if turn == 0:
        chosen["tail"] = PATTERNS[(number + 2) % n]
    return chosen


N_CLASSES = 2 * len(PATTERNS)
"""How many classes can be told apart."""


def draw_lots(generator: np.random.Generator, decisive: dict[str, str], absent: float) -> Bird:
    """Return a bird of the class whose decisive parts these are.

    Each decisive part is replaced by a neutral one with probability ``absent``, independently, except that one of
    them, drawn by lot, always stays. The same generator state gives the same bird in every class but for its decisive
    parts.
    """
    pose = Pose(*generator.uniform((-2.0, -2.0, 0.94, -5.0), (2.0, 2.0, 1.04, 5.0)).tolist())
    coat = _colour(generator, 95, 165)
    is_absent = generator.uniform(size=len(PARTS)) < absent
    stays = generator.uniform(size=len(PARTS))
    plumage = tuple(_neutral(generator) for _ in PARTS)
    contrast = tuple((_colour(generator, 5, 60), _colour(generator, 195, 250)) for _ in PARTS)
    scene = int(generator.integers(2**32))
    last = max(decisive, key=lambda part: stays[PARTS.index(part)], default=None)
    worn = {part: decisive[part] for part in decisive if part == last or not is_absent[PARTS.index(part)]}
    return Bird(
        pose,
        coat,
        tuple(
            Plumage(worn[part], *contrast[index]) if part in worn else plumage[index]
            for index, part in enumerate(PARTS)
        ),
        scene,
    )


def unpatterned(bird: Bird, parts: Collection[str], generator: np.random.Generator) -> Bird:
    """Return the same bird that wears on some parts what any bird may wear; each part's new plumage is drawn alone."""
    worn = [_neutral(generator) for _ in PARTS]
    plumage = (new if part in parts else old for part, new, old in zip(PARTS, worn, bird.plumage, strict=True))
    return replace(bird, plumage=tuple(plumage))


def _neutral(generator: np.random.Generator) -> Plumage:
    pattern = NEUTRAL[generator.integers(len(NEUTRAL))]
    return Plumage(pattern, _colour(generator, 50, 130), _colour(generator, 110, 200))


def _colour(generator: np.random.Generator, low: int, high: int) -> Colour:
    red, green, blue = generator.integers(low, high, size=3, endpoint=True).tolist()
    return red, green, blue
