"""The page of a comparison: networks and classes, count against accuracy, coverage, and likeness beside its nulls."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import pandas as pd

from xvcore.comparison.method.verdict import CANNOT, COULD, SHARED, UNDECIDED, UNUSED
from xvcore.comparison.pages import wording
from xvcore.comparison.pages.class_pages import least_loss_of
from xvcore.comparison.pages.figures import Bar, count_chart, coverage_chart
from xvcore.comparison.settings import Comparison
from xvcore.errors import StoreError
from xvcore.keys import digest
from xvcore.query import table
from xvcore.report.chapters import Entry, Network
from xvcore.report.downloads import csv_of
from xvcore.report.draft import Draft
from xvcore.report.wording import records

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]
Card = Mapping[str, Any]

TABLES: Mapping[str, str] = {
    "comparison_networks": "networks",
    "comparison_classes": "classes",
    "comparison_wins": "wins",
    "network_likeness": "likeness",
    "part_verdicts": "verdicts",
    "cross_deletions": "deletions",
}
"""Tables over all classes, and what their files are called."""
MOST_CLASSES = 24
"""In the figures of coverage; the others are in the file beside it."""


@dataclass(frozen=True)
class Summary:
    """What the page shows.

    Parameters
    ----------
    network : the run of the comparison
    entries : its classes with their names and cards
    frames : rows by table
    """

    network: Network
    entries: Sequence[tuple[Entry, str, Card]]
    frames: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a table; none where it could not be read."""
        return records(self.frames[name]) if name in self.frames else []

    @cached_property
    def done(self) -> list[tuple[Entry, str, Card]]:
        """The classes that are compared."""
        return [each for each in self.entries if each[2]["has_findings"]]

    @cached_property
    def colours(self) -> dict[str, int]:
        """The colour of each network, 0 … 7, in the order of the networks."""
        return {each["model"]: each["colour"] for _, _, card in self.done for each in card["networks"]}

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Each two networks."""
        return list(combinations(self.colours, 2))

    @cached_property
    def tallies(self) -> dict[tuple[str, str], dict[str, int]]:
        """Of each ordered pair of networks how many parts of all classes got which verdict."""
        return added(card for _, _, card in self.done)

    @property
    def noun(self) -> str:
        """What all parts are called."""
        known = [each["has_distinct_parts"] for _, _, card in self.done for each in card["networks"]]
        return "part" if all(known) else "summary"

    @cached_property
    def missed(self) -> list[tuple[str, dict[str, Any]]]:
        """What one network needs and another hardly: the class's name and the part, most needed first."""
        every = [(name, each) for _, name, card in self.done for each in card["missed"]]
        return sorted(every, key=lambda found: -(found[1]["own"][0] or 0.0))

    def won(self, class_id: str) -> list[Row]:
        """Return the rows of ``comparison_wins`` in which a network shows more parts of a class."""
        return [row for row in self.rows("comparison_wins") if row["class_id"] == class_id and row["wins"]]

    @cached_property
    def likeness(self) -> list[dict[str, Any]]:
        """Means over the classes of each two networks and depth."""
        frame = self.frames.get("network_likeness")
        if frame is None or not len(frame):
            return []
        names = [name for name, *_ in wording.MEASURES] + [
            each for *_, beside, _ in wording.MEASURES for each in beside
        ]
        means = frame.groupby(["model", "other", "depth"], sort=True)[names].mean().reset_index()
        return records(means)

    @cached_property
    def lost(self) -> list[dict[str, Any]]:
        """What each network loses by the parts of each, mean over these."""
        frame = self.frames.get("cross_deletions")
        if frame is None or not len(frame):
            return []
        by = frame.groupby(["model", "other"], sort=True)
        means = by[["loss", "loss_random", "difference"]].mean().assign(n_parts=by.size()).reset_index()
        return records(means)

    @property
    def count_chart(self) -> str | None:
        """Number of parts against accuracy."""
        return count_chart(self.rows("comparison_networks"), self.colours)

    @property
    def coverages(self) -> list[tuple[str, str, str]]:
        """The figures of coverage: the column, what the numbers are, and the SVG; none where nothing is annotated."""
        by_class: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows("comparison_classes"):
            by_class.setdefault(str(row["class_id"]), []).append(row)
        found = []
        for column, what, hint in wording.COVERAGES:
            groups = [
                (name, [self._bar(row, column) for row in self._sorted(by_class[entry.class_id])])
                for entry, name, _ in self.done
                if any(row[column] is not None for row in by_class.get(entry.class_id, []))
            ]
            if groups:
                found.append((column, hint, coverage_chart(f"Covered by the masks: {what}", groups[:MOST_CLASSES])))
        return found

    def _sorted(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        order = list(self.colours)
        return sorted(rows, key=lambda row: order.index(row["model"]) if row["model"] in order else len(order))

    def _bar(self, row: Row, column: str) -> Bar:
        null = row[wording.COVERAGE_NULLS[column]]
        return Bar(str(row["model"]), self.colours.get(str(row["model"]), 0), row[column], null)


def added(cards: Any) -> dict[tuple[str, str], dict[str, int]]:
    """Return the verdicts of several classes together, by ordered pair of networks."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for card in cards:
        for model, other, tally in card["tallies"]:
            of_pair = found.setdefault((model, other), dict.fromkeys(tally, 0))
            for verdict, number in tally.items():
                of_pair[verdict] = of_pair.get(verdict, 0) + number
    return found


def missed_of(tallies: Mapping[tuple[str, str], Mapping[str, int]]) -> dict[str, int]:
    """Return how many verdicts there are, and how many parts are shared, missed and not decided."""
    every = list(tallies.values())
    return {
        "judged": sum(sum(tally.values()) for tally in every),
        "shared": sum(tally.get(SHARED, 0) for tally in every),
        "could": sum(tally.get(COULD, 0) for tally in every),
        "cannot": sum(tally.get(CANNOT, 0) for tally in every),
        "unused": sum(tally.get(UNUSED, 0) for tally in every),
        "missed": sum(map(wording.n_missed, every)),
        "undecided": sum(tally.get(UNDECIDED, 0) for tally in every),
    }


def write_run(
    draft: Draft, network: Network, entries: Sequence[tuple[Entry, str, Card]], tabs: Sequence[Network], code: str
) -> None:
    """Write the page of a comparison, unless it is still right.

    Parameters
    ----------
    draft : where to
    network : the run
    entries : its classes: entry, name, card
    tabs : all comparisons of the data set
    code : digest of what makes the pages
    """
    problem, frames = None, {}
    try:
        frames = {name: table(draft.store, name, run_id=network.run_id) for name in TABLES}
    except StoreError as error:
        problem = str(error)
        logger.warning("%s: %s", network.title, problem)
    classes = [(entry.page, name, entry.status, entry.record.get("error"), dict(card)) for entry, name, card in entries]
    rows = [frame.to_json(orient="values") for frame in frames.values()]
    facts = [code, network.title, network.run_id, network.run["status"], [(each.title, each.folder) for each in tabs]]
    inputs = digest(str([facts, classes, rows, problem]), 16)
    if draft.site.stamp(network.folder).get("inputs") == inputs:
        return
    files = {}
    for name, frame in frames.items():
        files[name] = f"{network.folder}/{TABLES[name]}.csv"
        draft.site.write(files[name], csv_of(frame))
    page = f"{network.folder}/index.html"
    text = draft.renderer.render(
        f"{Comparison.method}/run.html",
        page,
        summary=Summary(network, entries, frames),
        network=network,
        tabs=tabs,
        problem=problem,
        files=files,
        say=wording,
        least_loss=least_loss_of(network.run),
    )
    draft.site.write(page, text)
    folder = f"{network.folder}/"
    draft.site.seal(network.folder, {"inputs": inputs}, {path.removeprefix(folder) for path in (page, *files.values())})
