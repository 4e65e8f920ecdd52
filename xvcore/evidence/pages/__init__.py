"""The pages of evidence: a class and its images for each network."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from xvcore.evidence.pages.class_data import ClassEvidence, ImagePages, changing, read_evidence
from xvcore.evidence.pages.class_pages import EvidenceWriter
from xvcore.evidence.pages.comparison import comparison_page
from xvcore.evidence.pages.findings import of_all
from xvcore.evidence.settings import PatchEvidence
from xvcore.report.chapters import Chapter, Section
from xvcore.report.class_pages import ClassSource, write_classes
from xvcore.report.draft import Cards, Draft
from xvcore.report.family import FamilyPages, families
from xvcore.report.index_page import Cell, Done, Keys, class_block, is_done, middle


def write(draft: Draft, chapter: Chapter, section: Section) -> None:
    """Write the pages of the networks and classes of a section."""
    image_pages, names = ImagePages(draft.store, section), chapter.class_names
    source = ClassSource(
        __name__,
        partial(changing, image_pages=image_pages, class_names=names),
        partial(read_evidence, image_pages=image_pages, class_names=names),
        ClassEvidence,
        EvidenceWriter,
    )
    write_classes(draft, chapter, section, source)


def block(section: Section, cards: Cards) -> dict[str, Any]:
    """Return what the first page shows of a section: the strongest patches of each class, and mean logits."""
    return class_block(section, cards, _total, _keys)


def _keys(cells: Sequence[Cell]) -> Keys:
    """Return the evidence of the strongest patch of each network."""
    return [
        (f"n{i}", round(card["strongest"], 4))
        for i, (_, entry, card) in enumerate(cells)
        if is_done(entry, card) and card["strongest"] is not None
    ]


def _total(done: Done) -> dict[str, Any]:
    return {
        "logit": middle([card["logit"] for _, card in done], np.mean),
        "positive": middle([card["positive"] for _, card in done], np.median),
        "patch_px": next((card["patch_px"] for _, card in done if card["patch_px"] is not None), None),
    }


families.register(PatchEvidence.method)(
    FamilyPages(
        package=__name__,
        title="evidence",
        folder="evidence/",
        write=write,
        block=block,
        findings=of_all,
        comparison=comparison_page,
    )
)
