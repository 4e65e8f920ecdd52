"""The page of an analysis: of one network, or of several that were compared; made of what the analysis left."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from xvcore.analyses.analysis import analyses
from xvcore.errors import StoreError
from xvcore.keys import digest
from xvcore.query import table
from xvcore.report.chapters import Chapter, Entry, Network, Section, Topic
from xvcore.report.class_pages import Related
from xvcore.report.downloads import csv_of
from xvcore.report.draft import Draft
from xvcore.report.family import families
from xvcore.report.findings import standing
from xvcore.report.names import page_name
from xvcore.report.wording import records
from xvcore.store import SCHEMAS, Store
from xvcore.store.schema import Column

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]
MOST_SHOWN = 12
"""Rows of a table on the page."""
MOST_ROWS = 20_000
"""Rows of a file beside the page; of a larger table the page says how to read it."""


@dataclass(frozen=True, slots=True)
class Owner:
    """What a page is of.

    Parameters
    ----------
    run_id : that figures, findings and joined tables carry: the run's, or that of a comparison
    networks : whose
    page : its address
    made_of : digest of what its figures, findings and joined tables were made of; empty as long as there are none
    """

    run_id: str
    networks: tuple[Network, ...]
    page: str
    made_of: str

    @property
    def title(self) -> str:
        """The names of the networks."""
        titles = [network.title for network in self.networks]
        return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"

    @property
    def folder(self) -> str:
        """Of the files beside its page; no page has such a name."""
        folder, _, name = self.page.removesuffix(".html").rpartition("/")
        return f"{folder}/~{name}"


@dataclass(frozen=True, slots=True)
class Shown:
    """A table on the page.

    Parameters
    ----------
    name, description : of the table
    columns : that can be read in a row: no maps, no lists, no keys that all rows share
    rows : the first ones
    n_rows : in all
    file : with all of them; None where they are too many
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    rows: Sequence[Row]
    n_rows: int
    file: str | None


def owners_of(store: Store, section: Section) -> tuple[Owner, ...]:
    """Return what an analysis has pages of: comparisons of most networks first, then each network."""
    by_run = {network.run_id: network for network in section.networks}
    members: dict[str, list[Row]] = {}
    for row in records(table(store, "comparisons")):
        members.setdefault(str(row["run_id"]), []).append(row)
    folder = families[section.method].folder
    compared = []
    for run_id, rows in members.items():
        of_runs = [str(row["of_run"]) for row in sorted(rows, key=lambda row: int(row["position"]))]
        if run_id not in by_run and by_run.keys() >= set(of_runs):
            networks = tuple(by_run[each] for each in of_runs)
            page = f"{folder}compare/{page_name(run_id)}.html"
            compared.append(Owner(run_id, networks, page, digest(rows)))
    compared.sort(key=lambda owner: (-len(owner.networks), owner.title))
    alone = [
        Owner(each.run_id, (each,), f"{each.folder}/index.html", digest(members.get(each.run_id, [])))
        for each in section.networks
    ]
    return (*compared, *alone)


@dataclass(frozen=True, slots=True)
class OwnerPage:
    """Writes a page.

    Parameters
    ----------
    draft : where to
    chapter, section : the data set, and the analysis on it
    owner : what the page is of
    owners : all that the analysis has pages of
    elsewhere : what other families have of each class, by its id
    code : digest of what makes the pages
    """

    draft: Draft
    chapter: Chapter
    section: Section
    owner: Owner
    owners: Sequence[Owner]
    elsewhere: Mapping[str, Related]
    code: str

    def write(self) -> dict[str, Any]:
        """Write the page with its files unless they are still right, and return its card."""
        inputs = self._inputs()
        stamp = self.draft.site.stamp(self.owner.folder)
        is_right = stamp.get("inputs") == inputs and not stamp["card"]["problem"]
        if is_right and self.draft.site.begins_with(self.owner.page, f'content="{inputs}"'):
            return dict(stamp["card"])
        return self._written(inputs)

    def _inputs(self) -> str:
        """Return a digest of what decides the page."""
        shown = [(each.title, each.colour, each.run_id, each.run["status"]) for each in self.owner.networks]
        classes = [
            (topic.class_name, [(each.status, sorted(each.record.items())) for each in entries],
             [(title, each.page, each.network.title, each.network.colour) for title, each in self._related(topic)])
            for topic, entries in self._classes()
        ]  # fmt: skip
        owners = [(each.page, each.title) for each in self.owners]
        analysis = analyses[self.section.method]
        facts = [self.chapter.dataset, self.chapter.split, self.owner.made_of, analysis.summary]
        facts += [str(SCHEMAS[name].columns) for name in analysis.tables]
        return digest(str([self.code, facts, shown, owners, classes]), 16)

    def _written(self, inputs: str) -> dict[str, Any]:
        problem, findings, figures, tables = None, [], [], []
        try:
            findings = records(table(self.draft.store, "findings", run_id=self.owner.run_id))
            figures = records(table(self.draft.store, "figures", run_id=self.owner.run_id))
            tables = list(self._tables())
        except StoreError as error:
            problem = str(error)
            logger.warning("%s of %s: %s", self.section.method, self.owner.title, problem)
        analysis = analyses[self.section.method]
        text = self.draft.renderer.render(
            f"{self.section.method}/owner.html",
            self.owner.page,
            inputs=inputs,
            method=self.section.method,
            words=families[self.section.method].title,
            summary=analysis.summary,
            least=analysis.least_networks,
            chapter=self.chapter,
            owner=self.owner,
            owners=self.owners,
            findings=sorted(findings, key=standing),
            figures=figures,
            tables=tables,
            classes=[(topic, entries, self._related(topic)) for topic, entries in self._classes()],
            problem=problem,
        )
        self.draft.site.write(self.owner.page, text)
        card = {
            "page": self.owner.page,
            "title": self.owner.title,
            "n_networks": len(self.owner.networks),
            "findings": findings,
            "problem": problem,
        }
        files = {shown.file.removeprefix(f"{self.owner.folder}/") for shown in tables if shown.file}
        self.draft.site.seal(self.owner.folder, {"inputs": inputs, "card": card}, files)
        self.draft.judge(self.owner.folder, problem)
        return card

    def _classes(self) -> Iterator[tuple[Topic, list[Entry]]]:
        """Yield the classes that the page is about, and what became of them."""
        for topic in self.section.topics:
            entries = [entry for entry in topic.entries if entry.network in self.owner.networks]
            if entries:
                yield topic, entries

    def _related(self, topic: Topic) -> list[tuple[str, Entry]]:
        """Return the pages of a class: those of this analysis, and those that others have of it for these networks."""
        family = families[self.section.method]
        own = [(family.title, each) for each in topic.entries if each.network in self.owner.networks]
        models = {network.model for network in self.owner.networks}
        others = [
            (title, entry)
            for title, entry in self.elsewhere.get(topic.class_id, ())
            if entry.network.model in models and entry.folder != entry.network.folder
        ]
        return [*(own if family.has_class_pages else []), *others]

    def _tables(self) -> Iterator[Shown]:
        for name in analyses[self.section.method].tables:
            schema = SCHEMAS[name]
            of_runs = [self.owner.run_id] if schema.owner == "run_id" else []
            if name not in analyses[self.section.method].joined:
                of_runs = [network.run_id for network in self.owner.networks]
            frame = self._frame(name, of_runs)
            if not len(frame):
                continue
            columns = tuple(schema[column] for column in frame.columns if _is_told(schema[column], frame[column]))
            file = None
            if len(frame) <= MOST_ROWS:
                file = f"{self.owner.folder}/{page_name(name)}.csv"
                self.draft.site.write(file, csv_of(frame))
            yield Shown(name, schema.description, columns, records(frame[:MOST_SHOWN]), len(frame), file)

    def _frame(self, name: str, run_ids: Sequence[str]) -> pd.DataFrame:
        """Return the rows of a table without maps and lists, which fill no cell."""
        plain = [column.name for column in SCHEMAS[name].columns if not _is_long(column)]
        frame = table(self.draft.store, name, run_id=list(run_ids), columns=plain)
        if not len(frame) and len(self.owner.networks) > 1:  # what is joined for each network alone
            frame = table(self.draft.store, name, run_id=[each.run_id for each in self.owner.networks], columns=plain)
        return frame


def _is_long(column: Column) -> bool:
    return str(column.type).startswith(("list", "struct"))


def _is_told(column: Column, values: pd.Series) -> bool:
    """Return whether a column tells rows apart, or says something of them."""
    return column.name != "run_id" and (column.encoding != "dictionary" or values.nunique() > 1 or len(values) == 1)
