"""The pages of prototypes: a class and its images for each network, and a page of every prototype that these show."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from xvcore.prototypes.pages.class_data import ClassPrototypes, changing, read_prototypes
from xvcore.prototypes.pages.class_pages import PrototypeWriter
from xvcore.prototypes.pages.class_tests import RunPrototypes, read_run
from xvcore.prototypes.pages.findings import of_all, parts_of_run
from xvcore.prototypes.pages.prototype_pages import write_prototypes
from xvcore.prototypes.settings import Prototypes
from xvcore.report.chapters import Chapter, Section
from xvcore.report.class_pages import ClassSource, write_classes
from xvcore.report.draft import Cards, Draft
from xvcore.report.family import FamilyPages, families
from xvcore.report.index_page import Cell, Done, Keys, class_block, is_done, middle


def write(draft: Draft, chapter: Chapter, section: Section) -> None:
    """Write the pages of the prototypes, networks and classes of a section."""
    runs: dict[str, RunPrototypes] = {}
    for network in section.networks:
        shown = write_prototypes(draft, chapter, section, network)
        runs[network.run_id] = read_run(draft.store, network, shown)
        draft.cards[network.folder] = {"parts": parts_of_run(runs[network.run_id].parts)}
    source = ClassSource(
        __name__,
        partial(changing, runs=runs),
        partial(read_prototypes, runs=runs),
        ClassPrototypes,
        PrototypeWriter,
    )
    write_classes(draft, chapter, section, source)


def block(section: Section, cards: Cards) -> dict[str, Any]:
    """Return what the first page shows of a section: the strongest prototypes of each class."""
    return class_block(section, cards, _total, _keys)


def _keys(cells: Sequence[Cell]) -> Keys:
    """Return the mean number of active prototypes of each network."""
    return [
        (f"n{i}", round(card["active"], 3))
        for i, (_, entry, card) in enumerate(cells)
        if is_done(entry, card) and card["active"] is not None
    ]


def _total(done: Done) -> dict[str, Any]:
    return {
        "active": middle([card["active"] for _, card in done], np.mean),
        "n_shown": len({number for _, card in done for number in card["prototypes"]}),
    }


families.register(Prototypes.method)(
    FamilyPages(package=__name__, title="prototypes", folder="prototypes/", write=write, block=block, findings=of_all)
)
