"""The pages of visual summaries: a class and its images for each network, and the networks side by side."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from xvcore.report.chapters import Chapter, Entry, Section
from xvcore.report.class_pages import ClassSource, write_classes
from xvcore.report.draft import Cards, Draft
from xvcore.report.family import FamilyPages, families
from xvcore.report.index_page import Card, Cell, Done, Keys, class_block, is_done, middle
from xvcore.visual_summaries.pages.class_data import ClassData, changing, read_class
from xvcore.visual_summaries.pages.class_pages import SummaryWriter
from xvcore.visual_summaries.pages.comparison import comparison_page
from xvcore.visual_summaries.pages.findings import of_all
from xvcore.visual_summaries.settings import VisualSummaries

_ENOUGH_FOR_A_HISTOGRAM = 8
_SOURCE = ClassSource(__name__, changing, read_class, ClassData, SummaryWriter)


def write(draft: Draft, chapter: Chapter, section: Section) -> None:
    """Write the pages of the networks and classes of a section."""
    write_classes(draft, chapter, section, _SOURCE)


def block(section: Section, cards: Cards) -> dict[str, Any]:
    """Return what the first page shows of a section: numbers of summaries, and the best of each class."""
    values = class_block(section, cards, _total, _keys)
    return {**values, "totals": _with_histograms(values["totals"])}


def lede(sections: Sequence[Section], cards: Cards) -> dict[str, int | None]:
    """Return how many networks, classes, summaries and distinct parts there are; no parts where some are not known."""
    entries = [entry for section in sections for topic in section.topics for entry in topic.entries]
    done = [cards[each.folder] for each in entries if each.status == "complete" and is_done(each, cards[each.folder])]
    parts = [card["n_parts"] for card in done]
    return {
        "n_networks": len({network.model for section in sections for network in section.networks}),
        "n_classes": sum(len(section.topics) for section in sections),
        "n_summaries": sum(len(card["summaries"]) for card in done),
        "n_parts": None if None in parts else sum(each["number"] for each in parts),
    }


def _keys(cells: Sequence[Cell]) -> Keys:
    """Return what a row is sorted by: summaries and parts a network, how much they differ, area; nothing where open."""
    numbers = {i: len(card["summaries"]) for i, (_, entry, card) in enumerate(cells) if is_done(entry, card)}
    areas = [card["area"] for _, entry, card in cells if entry is not None and card["area"] is not None]
    keys: Keys = [(f"n{i}", number) for i, number in numbers.items()]
    if numbers:
        keys.append(("spread", max(numbers.values()) - min(numbers.values())))
    parts = {i: card["n_parts"]["number"] for i, (_, entry, card) in enumerate(cells) if _has_parts(entry, card)}
    keys += [(f"p{i}", number) for i, number in parts.items()]
    if areas:
        keys.append(("area", round(sum(areas) / len(areas), 4)))
    return keys


def _has_parts(entry: Entry | None, card: Card) -> bool:
    return is_done(entry, card) and card["n_parts"] is not None


def _total(done: Done) -> dict[str, Any]:
    numbers = [len(card["summaries"]) for _, card in done]
    return {
        "n_summaries": sum(numbers),
        "per_class": sum(numbers) / len(numbers) if numbers else None,
        "numbers": numbers,
        "parts": middle([card["n_parts"] and card["n_parts"]["number"] for _, card in done], np.mean),
        "area": middle([card["area"] for _, card in done], np.median),
        "drop": middle([card["drop"] for _, card in done], np.mean),
    }


def _with_histograms(totals: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the totals with the number of classes that have 0, 1, 2 … summaries, on one axis for all networks."""
    length = 1 + max((max(total["numbers"], default=0) for total in totals), default=0)
    for total in totals:
        histogram = np.bincount(np.array(total["numbers"], dtype=np.int64), minlength=length).tolist()
        is_shown = len(total["numbers"]) >= _ENOUGH_FOR_A_HISTOGRAM
        total["histogram"] = histogram if is_shown else []
        total["histogram_heights"] = [round(24 * number / max(histogram), 1) for number in histogram if is_shown]
        total["tick"] = 1 if length <= 12 else 5
    return totals


families.register(VisualSummaries.method)(
    FamilyPages(
        package=__name__,
        title="visual summaries",
        folder="",
        write=write,
        block=block,
        lede=lede,
        comparison=comparison_page,
        findings=of_all,
    )
)
