"""A class in the eyes of a network, as a store has it: found by names, and handed to the views of the families."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xvcore.errors import unknown_name
from xvcore.notebook.figure import GROUND, Figure, Outline, Over
from xvcore.registry import Registry
from xvcore.report.chapters import Chapter, Entry, Section
from xvcore.report.originals import PictureOf
from xvcore.report.plan import read_plan
from xvcore.runs.originals import Originals
from xvcore.store import Store


@dataclass(frozen=True)
class Seen:
    """A class as a run of one family has it.

    Parameters
    ----------
    store : the tables
    chapter, section, entry : the data set, the family on it, the class and the network
    picture_of : gives a picture as the network saw it
    first : images, patches or units that are shown of each kind
    """

    store: Store
    chapter: Chapter
    section: Section
    entry: Entry
    picture_of: PictureOf | None
    first: int
    _pictures: dict[str, np.ndarray | None] = field(default_factory=dict, compare=False)

    def picture(self, image_id: str, class_id: str | None = None) -> np.ndarray | None:
        """Return the pixels of an image, (h, w, 3), 0 … 255; None where the data set has it no more."""
        if image_id not in self._pictures:
            run, owner = self.entry.network.run, class_id or self.entry.class_id
            self._pictures[image_id] = self.picture_of(run, image_id, owner) if self.picture_of else None
        return self._pictures[image_id]

    def ground(self, image_id: str, size: tuple[int, int]) -> np.ndarray:
        """Return the pixels of an image at a height and width, grey where the data set has it no more."""
        pixels = self.picture(image_id)
        if pixels is None:
            return np.full((*size, 3), GROUND, np.uint8)
        if pixels.shape[:2] != tuple(size):
            return np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.LANCZOS))
        return pixels


@dataclass(frozen=True, slots=True)
class Layer:
    """What lies over one image, and what is said of it.

    Parameters
    ----------
    words : numbers with their units
    over, outlines : see :class:`~xvcore.notebook.figure.Panel`
    is_on_grey : whether the picture beneath is made grey, so that red and blue can be told
    """

    words: str
    over: tuple[Over, ...] = ()
    outlines: tuple[Outline, ...] = ()
    is_on_grey: bool = False


Layers = Mapping[str, Callable[[], Layer]]
"""What lies over each image, by its id; made when it is asked for."""


@dataclass(frozen=True, slots=True)
class ClassView:
    """How a family shows a class.

    Parameters
    ----------
    figure : returns what a cell shows of it; None where the run has nothing of the class
    layers : returns by name what lies over its images; None where the family lays nothing over images
    """

    figure: Callable[[Seen], Figure | None]
    layers: Callable[[Seen], Mapping[str, Layers]] | None = None


class_views: Registry[ClassView] = Registry("view of a class", "xvcore.*.views")
"""The view of each family and analysis, by the method that its settings name."""


def store_at(store: Store | str | Path) -> Store:
    """Return a store, given itself or where it is."""
    return store if isinstance(store, Store) else Store(store)


def seen_of(  # noqa: PLR0913  one for each choice
    store: Store,
    class_id: str,
    *,
    network: str | None = None,
    run: str | None = None,
    picture_of: PictureOf | None = None,
    first: int,
) -> list[Seen]:
    """Return a class as all runs of a store have it, families in their order.

    Parameters
    ----------
    store, class_id : where from, and of which class
    network : name of a network, as the column ``model`` has it; None: all
    run : id of a run; None: all
    picture_of : gives the pictures; None: the data set of the run, where it still lies
    first : images that are shown of each kind

    Raises
    ------
    StoreError
        Nothing was ever written to the store, or a run that it does not have.
    UnknownNameError
        A class or a network that the runs do not have; the message names those that they have.
    """
    chapters = read_plan(store, None if run is None else [run])
    networks = {each.model for chapter in chapters for each in chapter.networks}
    if network is not None and network not in networks:
        raise unknown_name(f"network in {store.url}:", network, networks)
    found, classes = [], set()
    for chapter in chapters:
        for section in chapter.sections:
            for entry in (each for topic in section.topics for each in topic.entries):
                if network in (None, entry.network.model):
                    classes.add(entry.class_id)
                    if entry.class_id == class_id:
                        found.append(Seen(store, chapter, section, entry, picture_of or Originals(), first))
    if not found:
        of = f" of {network}" if network else ""
        raise unknown_name(f"class{of} in {run or store.url}:", class_id, classes)
    return found


def rows_shown(rows: Sequence[Any], first: int) -> str:
    """Return how many of all are shown, in words, or nothing where all are."""
    return f", the first {first} of {len(rows)} shown" if len(rows) > first else ""
