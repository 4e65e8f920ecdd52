"""The first page: networks, classes, and the best summary of each pair."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xvcore.report.pages import Pages
from xvcore.report.plan import Chapter, Entry, Network

Cards = Mapping[str, Mapping[str, Any]]
"""The card of each entry, by its folder."""

_ENOUGH_FOR_A_HISTOGRAM = 8
_MANY = 300
_STATUSES = ("failed", "running", "pending", "skipped")


def index_page(pages: Pages, chapters: Sequence[Chapter], cards: Cards) -> str:
    """Return the page; a row a class, a cell a network."""
    shown = [_chapter(chapter, cards) for chapter in chapters]
    totals = {
        "n_networks": len({network.model for chapter in chapters for network in chapter.networks}),
        "n_classes": sum(len(chapter.topics) for chapter in chapters),
        "n_summaries": sum(total["n_summaries"] for chapter in shown for total in chapter["totals"]),
    }
    return pages.render("index.html", "index.html", chapters=shown, totals=totals)


def _chapter(chapter: Chapter, cards: Cards) -> dict[str, Any]:
    rows = []
    for topic in chapter.topics:
        by_run = {entry.network.run_id: entry for entry in topic.entries}
        cells = [
            (network, by_run.get(network.run_id), _card(by_run.get(network.run_id), cards))
            for network in chapter.networks
        ]
        rows.append({"topic": topic, "cells": cells, "order": _keys(cells), "is_failed": any(map(_failed, cells))})
    return {
        "dataset": chapter.dataset,
        "split": chapter.split,
        "networks": chapter.networks,
        "totals": _with_histograms([_total(network, chapter, cards) for network in chapter.networks]),
        "rows": rows,
        "n_failed": sum(row["is_failed"] for row in rows),
        "n_thumbs": 6 if len(chapter.networks) <= 2 and len(rows) <= _MANY else 4,
    }


def _card(entry: Entry | None, cards: Cards) -> Mapping[str, Any]:
    return {} if entry is None else cards[entry.folder]


def _failed(cell: tuple[Network, Entry | None, Mapping[str, Any]]) -> bool:
    _, entry, card = cell
    return entry is not None and (entry.status == "failed" or bool(card["problem"]))


def _is_done(entry: Entry | None, card: Mapping[str, Any]) -> bool:
    return entry is not None and entry.status in ("complete", "skipped") and not card["problem"]


def _keys(cells: Sequence[tuple[Network, Entry | None, Mapping[str, Any]]]) -> list[tuple[str, float | int]]:
    """Return what a row is sorted by: number of summaries a network, how much they differ, area; nothing where open."""
    numbers = {i: len(card["summaries"]) for i, (_, entry, card) in enumerate(cells) if _is_done(entry, card)}
    areas = [card["area"] for _, entry, card in cells if entry is not None and card["area"] is not None]
    keys: list[tuple[str, float | int]] = [(f"n{i}", number) for i, number in numbers.items()]
    if numbers:
        keys.append(("spread", max(numbers.values()) - min(numbers.values())))
    if areas:
        keys.append(("area", round(sum(areas) / len(areas), 4)))
    return keys


def _total(network: Network, chapter: Chapter, cards: Cards) -> dict[str, Any]:
    entries = [entry for topic in chapter.topics for entry in topic.entries if entry.network is network]
    done = [each for each in entries if each.status == "complete" and _is_done(each, cards[each.folder])]
    numbers = [len(cards[entry.folder]["summaries"]) for entry in done]
    statuses = Counter("failed" if cards[entry.folder]["problem"] else entry.status for entry in entries)
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
        "others": [(status, statuses[status]) for status in _STATUSES if statuses[status]],
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
