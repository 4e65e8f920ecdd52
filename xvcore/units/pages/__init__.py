"""The pages of units: of each network its layers, of each layer sheets of what its units respond to."""

from typing import Any

from xvcore.report.chapters import Chapter, Section
from xvcore.report.draft import Cards, Draft
from xvcore.report.family import FamilyPages, families
from xvcore.report.renderer import digest_of_code
from xvcore.units.pages.unit_pages import UnitsWriter
from xvcore.units.settings import TopUnits


def write(draft: Draft, chapter: Chapter, section: Section) -> None:
    """Write the pages of the networks of a section."""
    others = [(each.title, each.folder) for each in section.networks]
    for network in section.networks:
        code = digest_of_code(__name__)
        writer = UnitsWriter(draft.store, draft.site, draft.renderer, network, chapter.class_names, code)
        records = [entry for topic in section.topics for entry in topic.entries if entry.network is network]
        draft.cards[network.folder] = writer.write(records, others)


def block(section: Section, cards: Cards) -> dict[str, Any]:
    """Return what the first page shows of a section: a card a network."""
    return {"totals": [{"network": network, "card": cards[network.folder]} for network in section.networks]}


families.register(TopUnits.method)(
    FamilyPages(
        package=__name__,
        title="units",
        folder="units/",
        write=write,
        block=block,
        has_class_pages=False,
        has_run_page=True,
    )
)
