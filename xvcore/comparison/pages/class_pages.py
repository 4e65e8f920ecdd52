"""The pages of a class: what was found of its networks, and of each two of them the parts side by side."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from xvcore.comparison.method.verdict import Judge
from xvcore.comparison.pages import wording
from xvcore.comparison.pages.class_data import (
    STATISTICS,
    ClassComparison,
    Judged,
    Pair,
    Side,
    decided_by,
    eyes_of,
    pairs_of,
    read,
)
from xvcore.comparison.pages.findings import counts_of, of_class
from xvcore.comparison.settings import Comparison
from xvcore.errors import StoreError
from xvcore.keys import digest
from xvcore.report.chapters import Chapter, Entry, Neighbour, Neighbours, Topic
from xvcore.report.class_pages import Related
from xvcore.report.downloads import csv_of
from xvcore.report.draft import Draft
from xvcore.report.family import families
from xvcore.report.names import page_name
from xvcore.report.rows import class_rows
from xvcore.report.wording import records
from xvcore.runs.thumbnails import extension
from xvcore.store.encode import encoded

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]
FILES: Mapping[str, str] = {
    "part_verdicts": "verdicts",
    "cross_deletions": "deletions",
    "part_deletions": "deletions-by-image",
    "part_matches": "matches",
    "network_likeness": "likeness",
    "part_coverage": "parts",
    "comparison_classes": "networks",
    STATISTICS: "statistics",
}
"""What each table's rows of a class are called beside its page."""


@dataclass(frozen=True)
class ClassPages:
    """Writes the pages of a class and a comparison, unless they are still right.

    Parameters
    ----------
    draft, chapter : where to, and what else the report has of the data set
    topic, entry : the class, and the run of the comparison
    wins : rows of ``comparison_wins`` of the class
    neighbours : the classes before and after
    related : what other families have of the class
    code : digest of what makes the pages
    """

    draft: Draft
    chapter: Chapter
    topic: Topic
    entry: Entry
    wins: Sequence[Row]
    neighbours: Neighbours
    related: Related
    code: str

    def write(self) -> Mapping[str, Any]:
        """Return the card of the class: what the pages of the comparison and the first page show of it."""
        problem, eyes, facts = None, [], []
        try:
            eyes = eyes_of(self.draft, self.chapter, self.entry)
            facts = decided_by(self.draft.store, self.entry, eyes)
        except StoreError as error:
            problem = str(error)
        inputs = self._inputs(facts, problem)
        stamp = self.draft.site.stamp(self.entry.folder)
        if problem is None and stamp.get("inputs") == inputs and not stamp["card"]["problem"]:
            return dict(stamp["card"])
        data = ClassComparison(self.entry)
        if problem is None and eyes:
            try:
                data = read(self.draft.store, self.entry, eyes)
            except StoreError as error:
                problem = str(error)
        if problem is not None:
            logger.warning("%s %s: %s", self.entry.network.title, self.entry.class_id, problem)
        return self._written(data, inputs, problem)

    def _inputs(self, facts: Sequence[Any], problem: str | None) -> str:
        entry = self.entry
        tabs = [(each.page, each.network.title) for each in self.topic.entries]
        tabs += [(f"{title}:{each.page}", each.network.title) for title, each in self.related]
        shown = [self.topic.class_name, entry.network.title, entry.network.run_id, self.neighbours, problem, tabs]
        return digest(str([self.code, shown, sorted(entry.record.items()), list(map(dict, self.wins)), facts]), 16)

    def _written(self, data: ClassComparison, inputs: str, problem: str | None) -> Mapping[str, Any]:
        """Write the pages and what can be taken from them; seal the folder."""
        pairs = pairs_of(data, self._pages(data.sides))
        crops = self._crops(pairs)
        files = self._downloads(data)
        self._page(
            self.entry.page,
            self.neighbours,
            data=data,
            problem=problem,
            pair=pairs[0] if len(pairs) == 1 else None,
            pairs=pairs,
            crops=crops,
            files=files,
        )
        for place, pair in enumerate(pairs if len(pairs) > 1 else ()):
            around = [Neighbour(pairs[at].page, _name(pairs[at])) if 0 <= at < len(pairs) else None
                      for at in (place - 1, place + 1)]  # fmt: skip
            self._page(
                pair.page,
                (around[0], around[1]),
                data=data,
                problem=problem,
                pair=pair,
                pairs=pairs,
                crops=crops,
                files=files,
            )
        paths = {self.entry.page, *(pair.page for pair in pairs), *crops.values(), *files.values()}
        counts = counts_of(class_rows(self.draft.store, self.entry, "part_deletions")) if data.sides else {}
        found = of_class(pairs, counts, self.topic.class_name)
        card = {"problem": problem, "told": found, **_card(data, pairs, self.draft.cards)}
        folder = f"{self.entry.folder}/"
        self.draft.site.seal(
            self.entry.folder, {"inputs": inputs, "card": card}, {path.removeprefix(folder) for path in paths}
        )
        return card

    def _pages(self, sides: Sequence[Side]) -> dict[tuple[str, str], str]:
        """Return where each two networks are shown: of two networks alone that is the page of the class."""
        every = list(combinations([side.model for side in sides], 2))
        if len(every) == 1:
            return {every[0]: self.entry.page}
        return {(a, b): f"{self.entry.folder}/{page_name(f'{a}+{b}')}.html" for a, b in every}

    def _page(self, page: str, neighbours: Neighbours, **values: Any) -> None:
        is_of_class = page == self.entry.page
        text = self.draft.renderer.render(
            f"{Comparison.method}/class.html",
            page,
            family=families[Comparison.method].title,
            topic=self.topic,
            here=page,
            is_of_class=is_of_class,
            wins=self.wins,
            related=self.related if is_of_class else (),
            before=neighbours[0],
            after=neighbours[1],
            say=wording,
            least_loss=least_loss_of(self.entry.network.run),
            **values,
        )
        self.draft.site.write(page, text)

    def _crops(self, pairs: Sequence[Pair]) -> dict[tuple[str, int], str]:
        """Write the crops of the regions whose image has no picture here; by network and region."""
        crops: dict[tuple[str, int], str] = {}
        for judged in _each_part(pairs):
            for picture in judged.part.pictures:
                data = encoded(picture.region.row["crop"]) if picture.file is None else None
                if data is not None:
                    number = int(picture.region.row["region_id"])
                    name = f"{page_name(judged.side.model)}-region-{number}.{extension(data)}"
                    path = f"{self.entry.folder}/pictures/{name}"
                    self.draft.site.write(path, data)
                    crops[judged.side.model, number] = path
        return crops

    def _downloads(self, data: ClassComparison) -> dict[str, str]:
        """Write the rows of each table, and return the path of each file by the table's name."""
        found: dict[str, str] = {}
        if not data.sides:
            return found
        frames = {**data.frames, "part_deletions": class_rows(self.draft.store, self.entry, "part_deletions")}
        for table, name in FILES.items():
            found[table] = f"{self.entry.folder}/{name}.csv"
            self.draft.site.write(found[table], csv_of(frames[table]))
        if self.wins:
            found["comparison_wins"] = f"{self.entry.folder}/wins.csv"
            self.draft.site.write(found["comparison_wins"], csv_of(pd.DataFrame(list(self.wins))))
        return found


def _each_part(pairs: Sequence[Pair]) -> Iterator[Judged]:
    """Yield each part of each network once."""
    seen: set[tuple[str, int]] = set()
    for pair in pairs:
        for judged in pair.judged:
            if (judged.side.model, judged.part.part_id) not in seen:
                seen.add((judged.side.model, judged.part.part_id))
                yield judged


def _name(pair: Pair) -> str:
    return f"{pair.a.model} and {pair.b.model}"


def _card(data: ClassComparison, pairs: Sequence[Pair], cards: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what other pages show of the class; JSON."""
    return {
        "has_findings": bool(data.sides),
        "networks": [
            {
                "model": side.model,
                "colour": side.network.colour,
                "page": side.eyes.entry.page if side.eyes.is_shown else None,
                "interval": list(side.interval) if side.interval else None,
                **{name: side.row[name] for name in ("n_parts", "n_summaries", "has_distinct_parts", "accuracy")},
            }
            for side in data.sides
        ],
        "pairs": [{"a": pair.a.model, "b": pair.b.model, "page": pair.page} for pair in pairs],
        "tallies": [[*pair, dict(tally)] for pair, tally in data.tallies.items()],
        "missed": _missed(pairs, cards),
    }


def _missed(pairs: Sequence[Pair], cards: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts that one network needs and another hardly, those first that it loses most by."""
    found = [judged for pair in pairs for _, missed in pair.only for judged in missed]
    found.sort(key=lambda judged: -(judged.own["difference"] or 0.0))
    page_of = {frozenset((pair.a.model, pair.b.model)): pair.page for pair in pairs}
    return [
        {
            "page": f"{page_of[frozenset((judged.side.model, judged.other.model))]}#{judged.anchor}",
            "model": judged.side.model,
            "other": judged.other.model,
            "what": f"{judged.side.noun} {judged.part.part_id}",
            "label": judged.part.label,
            "verdict": judged.verdict["verdict"],
            "thumbnail": _thumbnail(judged, cards),
            "own": [judged.own[name] for name in ("difference", "low", "high")],
            "asked": [judged.asked[name] for name in ("difference", "low", "high")],
            "told": [judged.asked[name] for name in ("probe_accuracy", "probe_low", "probe_high")],
            "baseline": judged.asked["probe_baseline"],
        }
        for judged in found
    ]


def _thumbnail(judged: Judged, cards: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return the small picture of a part's first summary, which its network's pages have."""
    summaries = cards.get(judged.side.eyes.entry.folder, {}).get("summaries", [])
    files = {each["anchor"]: each["thumbnail"] for each in summaries}
    return next((files[each.anchor] for _, each in judged.part.summaries if files.get(each.anchor)), None)


def least_loss_of(run: Row) -> float:
    """Return the loss of probability that counts as needing a part, as the run was asked for."""
    given = json.loads(run["params"] or "{}").get("judge", {})
    return float(given.get("least_loss", Judge().least_loss))


def wins_of(rows: pd.DataFrame, class_id: str) -> list[dict[str, Any]]:
    """Return the rows of a class of ``comparison_wins``."""
    return records(rows[rows["class_id"] == class_id]) if len(rows) else []
