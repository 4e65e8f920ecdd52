"""The first page: of each data set what each family found in classes and networks."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from xvcore.report.chapters import Chapter, Entry, Network, Section
from xvcore.report.draft import Cards
from xvcore.report.family import families
from xvcore.report.findings import Told, standing
from xvcore.report.renderer import Renderer
from xvcore.runs.pipeline import in_order

Card = Mapping[str, Any]
Cell = tuple[Network, Entry | None, Card]
Keys = list[tuple[str, float | int]]
"""What a row is sorted by: names of columns with their numbers; one that is not there comes last."""
Done = Sequence[tuple[Entry, Card]]
"""The complete classes of a network with their cards."""

PAGE = "index.html"
SHOWN = 100
"""Classes of a family that stand on the first page, and in each piece of the others; where several families have more,
they share the first page."""
FOLDER = "static/classes"
"""Of what the first page has not."""
_MANY = 300
_MOST_TOLD, _MOST_BELOW = 3, 9
"""Findings of a family at the top of the first page, and of those that are folded below them."""
_STATUSES = ("failed", "stopped", "running", "pending", "skipped")


@dataclass(frozen=True, slots=True)
class Piece:
    """Classes that the first page has not at once.

    Parameters
    ----------
    title : the first and the last of them
    script : brings their rows to the first page; a script, for a page that is a file may load nothing else
    page : shows them where scripts do not run
    """

    title: str
    script: str
    page: str


def index_files(renderer: Renderer, chapters: Sequence[Chapter], cards: Cards) -> dict[str, str]:
    """Return the first page by its path, and the files with the classes that it has not at once.

    It has a chapter a data set, in it a block a family, in that a row a class, a cell a network.
    """
    values = [
        [
            {
                "method": section.method,
                "networks": section.networks,
                "dataset": chapter.dataset,
                "id": f"{section.method}-{number}",
                **families[section.method].block(section, cards),
            }
            for section in chapter.sections
            if section.method in families
        ]
        for number, chapter in enumerate(chapters, start=1)
    ]
    n_large = sum(len(each.get("rows", ())) > SHOWN for of_chapter in values for each in of_chapter)
    files: dict[str, str] = {}
    shown = [
        {
            "dataset": chapter.dataset,
            "split": chapter.split,
            "told": _told(chapter, cards),
            "blocks": [_block(renderer, each, SHOWN // max(n_large, 1), files) for each in of_chapter],
        }
        for chapter, of_chapter in zip(chapters, values, strict=True)
    ]
    sections: dict[str, list[Section]] = {}
    for chapter in chapters:
        for section in chapter.sections:
            sections.setdefault(section.method, []).append(section)
    ledes = [
        renderer.part(f"{method}/lede.html", PAGE, **families[method].lede(sections[method], cards))
        for method in in_order(sections)
        if method in families
    ]
    page = renderer.render(PAGE, PAGE, chapters=shown, ledes=[lede.strip() for lede in ledes if lede.strip()])
    return {**files, PAGE: page}


def class_block(
    section: Section,
    cards: Cards,
    total: Callable[[Done], Mapping[str, Any]],
    keys: Callable[[Sequence[Cell]], Keys],
) -> dict[str, Any]:
    """Return the values of a block of a family that has pages of classes: a card a network, and a row a class.

    Parameters
    ----------
    section : networks and classes
    cards : of the classes, by folder
    total : returns what the card of a network says of its complete classes, beside their number, images and time
    keys : returns what a row is sorted by
    """
    rows = _rows(section, cards, keys)
    return {
        "totals": [_total(network, section, cards, total) for network in section.networks],
        "rows": rows,
        "n_failed": sum(row["is_failed"] for row in rows),
        "n_thumbs": 6 if len(section.networks) <= 2 and len(rows) <= _MANY else 4,
    }


def is_done(entry: Entry | None, card: Card) -> bool:
    """Say whether a class has ended well, and its pages show it."""
    return entry is not None and entry.status in ("complete", "skipped") and not card["problem"]


def middle(values: Sequence[float | int | None], of: Callable[[Sequence[float | int]], Any]) -> float | None:
    """Return the mean, or what ``of`` computes, of the values that are there; ``None`` where none is."""
    present = [value for value in values if value is not None]
    return float(of(present)) if present else None


def _told(chapter: Chapter, cards: Cards) -> list[dict[str, Any]]:
    """Return of each family what was found: what holds, then how much of what was asked could be chance."""
    told = []
    for section in chapter.sections:
        if section.method in families:
            every = families[section.method].findings(section, cards)
            shown = _varied([each for each in every if each["holds"] is not False])
            n_chance = len(every) - len(shown)
            rest = shown[_MOST_TOLD:] or ([] if shown else every)
            told.append(
                {
                    "title": families[section.method].title,
                    "first": shown[:_MOST_TOLD],
                    "more": rest[:_MOST_BELOW],
                    "n_tested": sum(each["holds"] is not None for each in every),
                    "n_chance": n_chance,
                }
            )
    return [each for each in told if each["first"] or each["n_chance"]]


def _varied(found: Sequence[Told]) -> list[Told]:
    """Return what holds, then the others: first one of every measure and network, then the second of each, and on."""
    seen: Counter[tuple[str, str]] = Counter()
    turns = []
    for each in found:
        key = (each["measure"], each["model"])
        turns.append(seen[key])
        seen[key] += 1
    return [each for _, each in sorted(zip(turns, found, strict=True), key=lambda pair: (standing(pair[1]), pair[0]))]


def _block(renderer: Renderer, values: Mapping[str, Any], n_first: int, files: dict[str, str]) -> Markup:
    """Return the block of a family, and add the files of the classes that are not in it.

    Parameters
    ----------
    renderer : of the templates
    values : of the block
    n_first : classes that are in it where there are more than :data:`SHOWN`
    files : text by path; the others are added
    """
    template, name, rows = f"{values['method']}/index.html", values["id"], values.get("rows", ())
    n_first = max(n_first, 1) if len(rows) > SHOWN else len(rows)
    chunks = [rows[start : start + SHOWN] for start in range(n_first, len(rows), SHOWN)]
    pieces = [
        Piece(
            f"{chunk[0]['topic'].class_name} – {chunk[-1]['topic'].class_name}",
            f"{FOLDER}/{name}-{number}.js",
            f"{FOLDER}/{name}-{number}.html",
        )
        for number, chunk in enumerate(chunks, start=1)
    ]
    whole = {**values, "n_rows": len(rows), "pieces": pieces}
    for piece, chunk, before, after in zip(pieces, chunks, [None, *pieces], [*pieces[1:], None], strict=False):
        section = {**whole, "rows": chunk}
        added = renderer.part(template, PAGE, section=section, id=name, part="rows")
        files[piece.script] = f"xvRows({json.dumps(name)}, {json.dumps(str(added).strip(), ensure_ascii=False)});\n"
        table = renderer.part(template, piece.page, section=section, id=name, part="table")
        files[piece.page] = renderer.render(
            "classes.html",
            piece.page,
            title=piece.title,
            dataset=values["dataset"],
            before=before,
            after=after,
            table=table,
        )
    return renderer.part(template, PAGE, section={**whole, "rows": rows[:n_first]}, id=name, part="whole")


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


def _card(entry: Entry | None, cards: Cards) -> Card:
    return {} if entry is None else cards[entry.folder]


def _failed(cell: Cell) -> bool:
    _, entry, card = cell
    return entry is not None and (entry.status == "failed" or bool(card["problem"]))


def _total(
    network: Network, section: Section, cards: Cards, total: Callable[[Done], Mapping[str, Any]]
) -> dict[str, Any]:
    entries = [entry for topic in section.topics for entry in topic.entries if entry.network is network]
    done = [(each, cards[each.folder]) for each in entries if each.status == "complete"]
    done = [(entry, card) for entry, card in done if is_done(entry, card)]
    n_images = sum(int(entry.record.get("n_images") or 0) for entry, _ in done)
    n_correct = sum(int(entry.record.get("n_correct") or 0) for entry, _ in done)
    return {
        "network": network,
        "n_complete": len(done),
        "n_images": n_images,
        "recognised": n_correct / n_images if n_images else None,
        "seconds": sum(float(entry.record.get("seconds") or 0.0) for entry, _ in done),
        "others": _others(entries, cards),
        **total(done),
    }


def _others(entries: Sequence[Entry], cards: Cards) -> list[tuple[str, int]]:
    """Return how many classes are in each state other than complete."""
    statuses = Counter("failed" if cards[entry.folder]["problem"] else entry.status for entry in entries)
    return [(status, statuses[status]) for status in _STATUSES if statuses[status]]
