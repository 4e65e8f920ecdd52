"""The pages of colours: a class and its images for each network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from colours.settings import Colours
from xvcore.report.chapters import Chapter, Entry, Section
from xvcore.report.class_pages import ClassSource, ClassWriter, Drawn, Face, Image, Row, write_classes
from xvcore.report.draft import Cards, Draft
from xvcore.report.family import FamilyPages, families
from xvcore.report.index_page import Cell, Done, Keys, class_block, is_done, middle
from xvcore.report.names import image_names
from xvcore.report.rows import class_rows
from xvcore.report.wording import records
from xvcore.store import Store


@dataclass(frozen=True)
class ColouredImage(Image):
    """An image and its colour."""

    colour: Row


@dataclass(frozen=True)
class ClassColours:
    """The colours of a class."""

    entry: Entry
    images: tuple[ColouredImage, ...] = ()

    @property
    def red(self) -> float | None:
        """Mean over the images."""
        return middle([image.colour["red"] for image in self.images], np.mean)


def read(store: Store, entry: Entry) -> ClassColours:
    """Return what the class's tables hold."""
    predictions = {row["image_id"]: row for row in records(class_rows(store, entry, "predictions"))}
    colours = sorted(records(class_rows(store, entry, "colours")), key=lambda row: str(row["image_id"]))
    names = image_names(row["image_id"] for row in colours)
    return ClassColours(
        entry, tuple(ColouredImage(predictions[row["image_id"]], names[row["image_id"]], row) for row in colours)
    )


@dataclass(frozen=True)
class ColourWriter(ClassWriter[ClassColours, Drawn]):
    """Writes the pages of a class."""

    method: ClassVar[str] = Colours.method

    def draw(self) -> Drawn:
        """Write the originals."""
        faces = {image.image_id: Face(self.page_of(image), self.original(image)) for image in self.data.images}
        return Drawn(faces, [])

    def on_class_page(self, drawn: Drawn) -> dict[str, Any]:
        """Return the mean colour."""
        return {"red": self.data.red}

    def on_image_page(self, image: ColouredImage, drawn: Drawn) -> dict[str, Any]:
        """Return the colour."""
        return {"red": image.colour["red"]}

    def card(self, drawn: Drawn) -> dict[str, Any]:
        """Return the mean colour."""
        return {"has_findings": bool(self.data.images), "red": self.data.red, "n_errors": 0}


def write(draft: Draft, chapter: Chapter, section: Section) -> None:
    """Write the pages of a section."""
    write_classes(draft, chapter, section, ClassSource(__name__, lambda *_: [], read, ClassColours, ColourWriter))


def block(section: Section, cards: Cards) -> dict[str, Any]:
    """Return what the first page shows of a section."""
    return class_block(section, cards, _total, _keys)


def _total(done: Done) -> dict[str, Any]:
    return {"red": middle([card["red"] for _, card in done], np.mean)}


def _keys(cells: Sequence[Cell]) -> Keys:
    return [(f"n{i}", card["red"]) for i, (_, entry, card) in enumerate(cells) if is_done(entry, card) and card["red"]]


families.register(Colours.method)(
    FamilyPages(package=__name__, title="colours", folder="colours/", write=write, block=block)
)
