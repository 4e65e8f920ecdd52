"""The first page: of each data set the networks by method, the classes, and the best of each pair."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xvcore.report.pages import Pages
from xvcore.report.plan import EVIDENCE, SUMMARIES, UNITS, Chapter, Entry, Network, Section

Cards = Mapping[str, Mapping[str, Any]]
"""The card of each entry, or of a network's units, by its folder."""

Cell = tuple[Network, Entry | None, Mapping[str, Any]]
Keys = list[tuple[str, float | int]]
"""What a row is sorted by: names of columns with their numbers; one that is not there comes last."""

_ENOUGH_FOR_A_HISTOGRAM = 8
_MANY = 300
_STATUSES = ("failed", "running", "pending", "skipped")


def index_page(pages: Pages, chapters: Sequence[Chapter], cards: Cards) -> str:
    """Return the page; a row a class, a cell a network."""
    shown = [
        {
            "dataset": chapter.dataset,
            "split": chapter.split,
            "sections": [_section(section, cards) for section in chapter.sections if section.method in _SECTIONS],
        }
        for chapter in chapters
    ]
    summaries = [each for chapter in chapters for each in chapter.sections if each.method == SUMMARIES]
    totals = {
        "n_networks": len({network.model for section in summaries for network in section.networks}),
        "n_classes": sum(len(section.topics) for section in summaries),
        "n_summaries": sum(
            len(cards[entry.folder]["summaries"])
            for section in summaries
            for topic in section.topics
            for entry in topic.entries
            if entry.status == "complete" and _is_done(entry, cards[entry.folder])
        ),
    }
    methods = {section.method for chapter in chapters for section in chapter.sections}
    return pages.render("index.html", "index.html", chapters=shown, totals=totals, methods=methods)


def _section(section: Section, cards: Cards) -> dict[str, Any]:
    return {"method": section.method, "networks": section.networks, **_SECTIONS[section.method](section, cards)}


def _summaries(section: Section, cards: Cards) -> dict[str, Any]:
    rows = _rows(section, cards, _keys)
    return {
        "totals": _with_histograms([_total(network, section, cards) for network in section.networks]),
        "rows": rows,
        "n_failed": sum(row["is_failed"] for row in rows),
        "n_thumbs": 6 if len(section.networks) <= 2 and len(rows) <= _MANY else 4,
    }


def _evidence(section: Section, cards: Cards) -> dict[str, Any]:
    rows = _rows(section, cards, _evidence_keys)
    return {
        "totals": [_evidence_total(network, section, cards) for network in section.networks],
        "rows": rows,
        "n_failed": sum(row["is_failed"] for row in rows),
        "n_thumbs": 6 if len(section.networks) <= 2 and len(rows) <= _MANY else 4,
    }


def _units(section: Section, cards: Cards) -> dict[str, Any]:
    totals = [{"network": network, "card": cards[network.folder]} for network in section.networks]
    return {"totals": totals, "rows": [], "n_failed": 0}


_SECTIONS: Mapping[str, Callable[[Section, Cards], dict[str, Any]]] = {
    SUMMARIES: _summaries,
    EVIDENCE: _evidence,
    UNITS: _units,
}


def _rows(section: Section, cards: Cards, keys: Callable[[Sequence[Cell]], Keys]) -> list[dict[str, Any]]:
    rows = []
    for topic in section.topics:
        by_run = {entry.network.run_id: entry for entry in topic.entries}
        cells = [
            (network, by_run.get(network.run_id), _card(by_run.get(network.run_id), cards))
            for network in section.networks
        ]
        rows.append({"topic": topic, "cells": cells, "order": keys(cells), "is_failed": any(map(_failed, cells))})
    return rows


def _card(entry: Entry | None, cards: Cards) -> Mapping[str, Any]:
    return {} if entry is None else cards[entry.folder]


def _failed(cell: Cell) -> bool:
    _, entry, card = cell
    return entry is not None and (entry.status == "failed" or bool(card["problem"]))


def _is_done(entry: Entry | None, card: Mapping[str, Any]) -> bool:
    return entry is not None and entry.status in ("complete", "skipped") and not card["problem"]


def _keys(cells: Sequence[Cell]) -> Keys:
    """Return what a row is sorted by: number of summaries a network, how much they differ, area; nothing where open."""
    numbers = {i: len(card["summaries"]) for i, (_, entry, card) in enumerate(cells) if _is_done(entry, card)}
    areas = [card["area"] for _, entry, card in cells if entry is not None and card["area"] is not None]
    keys: Keys = [(f"n{i}", number) for i, number in numbers.items()]
    if numbers:
        keys.append(("spread", max(numbers.values()) - min(numbers.values())))
    if areas:
        keys.append(("area", round(sum(areas) / len(areas), 4)))
    return keys


def _evidence_keys(cells: Sequence[Cell]) -> Keys:
    """Return the evidence of the strongest patch of each network."""
    return [
        (f"n{i}", round(card["strongest"], 4))
        for i, (_, entry, card) in enumerate(cells)
        if _is_done(entry, card) and card["strongest"] is not None
    ]


def _evidence_total(network: Network, section: Section, cards: Cards) -> dict[str, Any]:
    entries = _entries(network, section)
    done = [each for each in entries if each.status == "complete" and _is_done(each, cards[each.folder])]
    n_images = sum(int(entry.record.get("n_images") or 0) for entry in done)
    sides = [cards[entry.folder]["patch_px"] for entry in done]
    return {
        "network": network,
        "n_complete": len(done),
        "n_images": n_images,
        "recognised": sum(int(e.record.get("n_correct") or 0) for e in done) / n_images if n_images else None,
        "logit": _middle([cards[entry.folder]["logit"] for entry in done], np.mean),
        "positive": _middle([cards[entry.folder]["positive"] for entry in done], np.median),
        "patch_px": next((side for side in sides if side is not None), None),
        "seconds": sum(float(entry.record.get("seconds") or 0.0) for entry in done),
        "others": _others(entries, cards),
    }


def _entries(network: Network, section: Section) -> list[Entry]:
    return [entry for topic in section.topics for entry in topic.entries if entry.network is network]


def _others(entries: Sequence[Entry], cards: Cards) -> list[tuple[str, int]]:
    """Return how many classes are in each state other than complete."""
    statuses = Counter("failed" if cards[entry.folder]["problem"] else entry.status for entry in entries)
    return [(status, statuses[status]) for status in _STATUSES if statuses[status]]


def _total(network: Network, section: Section, cards: Cards) -> dict[str, Any]:
    entries = _entries(network, section)
    done = [each for each in entries if each.status == "complete" and _is_done(each, cards[each.folder])]
    numbers = [len(cards[entry.folder]["summaries"]) for entry in done]
    n_images = sum(int(entry.record.get("n_images") or 0) for entry in done)
    return {
        "network": network,
        "n_complete": len(done),
        "n_summaries": sum(numbers),
        "per_class": sum(numbers) / len(numbers) if numbers else None,
        "numbers": numbers,
        "n_images": n_images,
        "recognised": sum(int(e.record.get("n_correct") or 0) for e in done) / n_images if n_images else None,
        "area": _middle([cards[entry.folder]["area"] for entry in done], np.median),
        "drop": _middle([cards[entry.folder]["drop"] for entry in done], np.mean),
        "seconds": sum(float(entry.record.get("seconds") or 0.0) for entry in done),
        "others": _others(entries, cards),
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


def _middle(values: Sequence[float | int | None], of: Any) -> float | None:
    present = [value for value in values if value is not None]
    return float(of(present)) if present else None
