"""The pages of units: of each network its layers and what their units respond to; of each class its units."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from xvcore.report.chapters import Chapter, Entry, Section
from xvcore.report.class_pages import ClassSource, image_pages, write_classes
from xvcore.report.draft import Cards, Draft
from xvcore.report.family import FamilyPages, families
from xvcore.report.renderer import digest_of_code
from xvcore.store import Store
from xvcore.units.pages.class_data import ClassUnits, RunUnits, Strongest
from xvcore.units.pages.class_pages import UnitsOfClassWriter, comparison_page, of_all
from xvcore.units.pages.unit_pages import UnitsWriter
from xvcore.units.settings import TopUnits


def write(draft: Draft, chapter: Chapter, section: Section) -> None:
    """Write the pages of the networks of a section, then those of their classes."""
    others = [(each.title, each.folder) for each in section.networks]
    code = digest_of_code(__name__)
    runs: dict[str, RunUnits] = {}
    images: dict[str, Mapping[str, str]] = {}
    for network in section.networks:
        entries = [entry for topic in section.topics for entry in topic.entries if entry.network is network]
        pages = {entry.class_id: entry.page for entry in entries}
        images[network.run_id] = image_pages(draft, chapter, section, network.model)
        writer = UnitsWriter(
            draft.store,
            draft.site,
            draft.renderer,
            network,
            chapter.class_names,
            pages,
            images[network.run_id],
            code,
        )
        draft.cards[network.folder], runs[network.run_id] = writer.write(entries, others)
    source = ClassSource(
        __name__,
        partial(_changing, runs=runs, images=images),
        partial(_read, runs=runs, images=images),
        ClassUnits,
        UnitsOfClassWriter,
    )
    write_classes(draft, chapter, section, source)


def _changing(
    store: Store, entry: Entry, runs: Mapping[str, RunUnits], images: Mapping[str, Mapping[str, str]]
) -> list[Any]:
    """Return what decides the page of a class: the rankings are merged over all classes."""
    found = _read(store, entry, runs, images)
    return [found.units, found.strongest, found.n_tested]


def _read(
    _store: Store, entry: Entry, runs: Mapping[str, RunUnits], images: Mapping[str, Mapping[str, str]]
) -> ClassUnits:
    """Return the units that respond to a class."""
    of_run, pages = runs[entry.network.run_id], images[entry.network.run_id]
    strongest = [
        Strongest(image_id, pages.get(image_id), units)
        for image_id, units in sorted(of_run.strongest.get(entry.class_id, {}).items())
    ]
    return ClassUnits(entry, (), of_run.by_class.get(entry.class_id, ()), strongest, of_run.n_tested)


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
        class_folder="~classes/",
        has_run_page=True,
        comparison=comparison_page,
        findings=of_all,
    )
)
