"""The page of a study: what it was about, names and machine scores beside, questions, answers, scores, who counts."""

from collections.abc import Mapping, Sequence
from typing import Any

from xvcore.report.chapters import Chapter, Section
from xvcore.report.draft import Cards, Draft
from xvcore.report.family import FamilyPages, families
from xvcore.study.pages.study_page import write_study
from xvcore.study.settings import Study


def write(draft: Draft, chapter: Chapter, section: Section) -> None:
    """Write the page of each study of a section."""
    for network in section.networks:
        draft.cards[network.folder] = write_study(draft, network, chapter.class_names)


def block(section: Section, cards: Cards) -> dict[str, Any]:
    """Return what the first page shows of a section: a card a study."""
    return {"totals": [{"network": network, "card": cards[network.folder]} for network in section.networks]}


def lede(sections: Sequence[Section], _cards: Cards) -> dict[str, Any]:
    """Return how many studies there are."""
    return {"n_studies": sum(len(section.networks) for section in sections)}


def name_of(run: Mapping[str, Any]) -> str:
    """Return what a study is called: after the networks that it is about."""
    return str(run["model"])


families.register(Study.method)(
    FamilyPages(
        package=__name__,
        title="study",
        folder="study/",
        write=write,
        block=block,
        lede=lede,
        has_class_pages=False,
        has_run_page=True,
        name_of=name_of,
    )
)
