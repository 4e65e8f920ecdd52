"""The pages of analyses: of each network, and of several that were compared; findings, then figures and tables."""

from collections.abc import Sequence
from typing import Any

from xvcore.analyses.analysis import analyses
from xvcore.analyses.pages.class_page import ClassPage
from xvcore.analyses.pages.owner_page import OwnerPage, owners_of
from xvcore.evidence.settings import PatchEvidence
from xvcore.keys import digest
from xvcore.report.chapters import Chapter, Section
from xvcore.report.class_pages import neighbours_of, related_to
from xvcore.report.draft import Cards, Draft
from xvcore.report.family import FamilyPages, families
from xvcore.report.findings import Told, standing
from xvcore.report.names import page_name
from xvcore.report.renderer import digest_of_code

MOST_TOLD = 4
"""Findings of an analysis on the first page; all are on its own."""


def write(draft: Draft, chapter: Chapter, section: Section) -> None:
    """Write the pages of an analysis: of each network, and of those that were compared."""
    owners = owners_of(draft.store, section)
    elsewhere = related_to(chapter, section)
    code = digest([digest_of_code(__name__), digest_of_code(families[PatchEvidence.method].package)], 16)
    for owner in owners:
        draft.cards[owner.page] = OwnerPage(draft, chapter, section, owner, owners, elsewhere, code).write()
    around = neighbours_of(section)
    for topic in section.topics if analyses[section.method].maps else ():
        related = elsewhere.get(topic.class_id, [])
        for entry in topic.entries:
            ClassPage(draft, section.method, topic, entry, around[entry.folder], related, code).write()
    draft.cards[_key(section)] = {"pages": [owner.page for owner in owners]}


def block(section: Section, cards: Cards) -> dict[str, Any]:
    """Return what the first page shows of an analysis: links to all pages."""
    shown = [cards[page] for page in cards[_key(section)]["pages"]]
    return {**families[section.method].about, "pages": shown}


def findings(section: Section, cards: Cards) -> list[Told]:
    """Return what was found, of what compares most networks first; all is on the pages of the analysis."""
    shown = [cards[page] for page in cards[_key(section)]["pages"]]
    return [{**found, "page": f"{page}#finding-{found['position']}"} for found, page in _told(shown)]


def _key(section: Section) -> str:
    """Return the name of a section's card: that of the folder of its first network, which is a page of no class."""
    return f"{section.networks[0].folder}/"


def _told(pages: Sequence[Any]) -> list[tuple[Any, str]]:
    """Return findings with their pages: those that hold first, of what compares most networks first."""
    widest = sorted(pages, key=lambda card: -card["n_networks"])
    told = {each["sentence"]: (each, card["page"]) for card in reversed(widest) for each in card["findings"]}
    ordered = sorted(told.values(), key=lambda found: (standing(found[0]), -found[0]["model"].count(" + ")))
    return ordered[:MOST_TOLD]


for _name in analyses:
    _title = _name.replace("_", " ")
    families.register(_name)(
        FamilyPages(
            package=__name__,
            title=_title,
            folder=f"analyses/{page_name(_name)}/",
            write=write,
            block=block,
            findings=findings,
            has_class_pages=analyses[_name].maps is not None,
            has_run_page=True,
            about={"title": _title, "summary": analyses[_name].summary},
        )
    )
