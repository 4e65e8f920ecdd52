"""The pages of comparisons: one of each comparison, one of each class, and of each two networks their parts."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from xvcore.comparison.pages.class_data import of_runs
from xvcore.comparison.pages.class_pages import ClassPages, wins_of
from xvcore.comparison.pages.run_page import added, missed_of, write_run
from xvcore.comparison.pages.wording import listing
from xvcore.comparison.settings import Comparison
from xvcore.errors import StoreError
from xvcore.keys import digest
from xvcore.query import table
from xvcore.report.chapters import Chapter, Network, Section
from xvcore.report.class_pages import neighbours_of, related_to
from xvcore.report.draft import Cards, Draft
from xvcore.report.family import FamilyPages, families
from xvcore.report.index_page import Cell, Done, Keys, class_block, is_done
from xvcore.report.renderer import digest_of_code
from xvcore.visual_summaries.settings import VisualSummaries

_NO_COLOUR = 7
"""A comparison is no network: it has the colour of none."""


def write(draft: Draft, chapter: Chapter, section: Section) -> None:
    """Write the pages of the comparisons of a section."""
    shown = _without_colour(section)
    code = digest([digest_of_code(__name__), digest_of_code(families[VisualSummaries.method].package)], 16)
    around = neighbours_of(shown)
    wins = {network.run_id: _wins(draft, network) for network in shown.networks}
    elsewhere = related_to(chapter, section)
    for topic in shown.topics:
        related = elsewhere.get(topic.class_id, [])
        for entry in topic.entries:
            of_class = wins_of(wins[entry.network.run_id], topic.class_id)
            pages = ClassPages(draft, chapter, topic, entry, of_class, around[entry.folder], related, code)
            draft.cards[entry.folder] = pages.write()
    for network in shown.networks:
        entries = [
            (entry, topic.class_name, draft.cards[entry.folder])
            for topic in shown.topics
            for entry in topic.entries
            if entry.network is network
        ]
        write_run(draft, network, entries, shown.networks, code)


def block(section: Section, cards: Cards) -> dict[str, Any]:
    """Return what the first page shows of a section: a card a comparison, and the verdicts of each class."""
    shown = _without_colour(section)
    return {**class_block(shown, cards, _total, _keys), "networks": shown.networks}


def lede(sections: Sequence[Section], cards: Cards) -> dict[str, Any]:
    """Return how many comparisons there are and how many classes are in them, and what became of the parts."""
    entries = [entry for section in sections for topic in section.topics for entry in topic.entries]
    done = [cards[each.folder] for each in entries if is_done(each, cards[each.folder])]
    n_runs = len({each.network.run_id for each in entries})
    return {"n_runs": n_runs, "n_classes": len(done), "found": missed_of(added(done))}


def _keys(cells: Sequence[Cell]) -> Keys:
    """Return how many parts one network needs and another hardly, how many are shared, and how many not decided."""
    keys: Keys = []
    for i, (_, entry, card) in enumerate(cells):
        if is_done(entry, card):
            found = missed_of(added([card]))
            keys += [(f"n{i}", found["missed"]), (f"s{i}", found["shared"]),
                     (f"u{i}", found["undecided"])]  # fmt: skip
    return keys


def _total(done: Done) -> dict[str, Any]:
    return {"found": missed_of(added(card for _, card in done))}


def _wins(draft: Draft, network: Network) -> Any:
    """Return who shows more parts of which class; nothing where that is damaged, as the comparison's page says."""
    try:
        return table(draft.store, "comparison_wins", run_id=network.run_id)
    except StoreError:
        return []


def _without_colour(section: Section) -> Section:
    """Return the section with its comparisons in a colour that is no network's."""
    networks = {each.run_id: dataclasses.replace(each, colour=_NO_COLOUR) for each in section.networks}
    topics = tuple(
        dataclasses.replace(
            topic,
            entries=tuple(dataclasses.replace(each, network=networks[each.network.run_id]) for each in topic.entries),
        )
        for topic in section.topics
    )
    return Section(section.method, tuple(networks.values()), topics)


def name_of(run: Any) -> str:
    """Return the names of a comparison's networks."""
    return listing(of_runs(run))


families.register(Comparison.method)(
    FamilyPages(
        package=__name__,
        title="comparison",
        folder="comparison/",
        write=write,
        block=block,
        lede=lede,
        has_run_page=True,
        name_of=name_of,
    )
)
