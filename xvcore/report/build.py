"""The report: a folder of static pages that shows what a store holds."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from xvcore.errors import StoreError
from xvcore.keys import digest
from xvcore.report.class_data import ClassData, digest_rows, read_class
from xvcore.report.class_pages import ClassWriter, NameOf, Neighbour
from xvcore.report.compare_page import Comparison, Side, compare_page
from xvcore.report.evidence_data import ClassEvidence, ImagePages, digest_evidence, read_evidence
from xvcore.report.evidence_pages import EvidenceWriter
from xvcore.report.index_page import index_page
from xvcore.report.originals import PictureOf
from xvcore.report.pages import Pages, digest_of_code, static_files
from xvcore.report.plan import EVIDENCE, SUMMARIES, UNITS, Chapter, Entry, Section, Topic, read_plan, shared_folder
from xvcore.report.site import Site
from xvcore.report.unit_pages import UnitsWriter
from xvcore.store import SCHEMAS, Store

logger = logging.getLogger(__name__)

Neighbours = tuple[Neighbour | None, Neighbour | None]


def build(
    store: Store,
    out: Path,
    *,
    run_ids: Sequence[str] | None = None,
    picture_of: PictureOf | None = None,
    name_of: NameOf | None = None,
) -> Path:
    """Write the pages of a store's runs and return the path of the first one.

    The pages need no server and no network. One class, or one layer, is in memory at a time. Running again rewrites
    only what has changed; a page that would not change keeps its bytes and its time. Who builds into a folder that
    another process builds into waits until that has ended.

    Addresses, none of which depends on what else is shown:

    * summaries: ``<network>/<class>/index.html``, ``<network>/<class>/<image>.html``, ``compare/<class>.html``
    * evidence: ``evidence/<network>/<class>/index.html``, ``evidence/<network>/<class>/<image>.html``
    * units: ``units/<network>/index.html``, ``units/<network>/<layer>/index.html#unit-<n>`` for the first ones,
      ``units/<network>/<layer>/from-<first>.html#unit-<n>`` for later ones, and
      ``units/<network>/<layer>/table.html#unit-<n>`` for the numbers of any
    * ``index.html``, ``about.html``

    Parameters
    ----------
    store : the store
    out : folder of the pages; may exist
    run_ids : runs to be shown; ``None``: all
    picture_of : gives a picture as a network saw it, called with the run's row, the image id and the class id; where
        it gives ``None`` the pages do with the masks, crops and montages of the store
    name_of : gives the name of a network's output, called with the run's row and the output's index

    Raises
    ------
    StoreError
        Nothing was ever written to the store, or a run that it does not have. A damaged table of one class is shown
        on that class's page instead.
    """
    site = Site(Path(out))
    read_plan(store, run_ids)  # what is asked for in vain leaves no folder
    with site.alone():
        chapters = read_plan(store, run_ids)
        _Report(store, site, picture_of, name_of).write(chapters, is_whole=run_ids is None)
    logger.info("report in %s: %d files written, %d unchanged", out, site.written, site.unchanged)
    return site.folder / "index.html"


class _Report:
    """The report while it is being written."""

    def __init__(self, store: Store, site: Site, picture_of: PictureOf | None, name_of: NameOf | None) -> None:
        self.store = store
        self.site = site
        self.picture_of = picture_of
        self.name_of = name_of
        self.pages = Pages()
        self.code = digest_of_code()
        self.cards: dict[str, Mapping[str, Any]] = {}

    def write(self, chapters: Sequence[Chapter], *, is_whole: bool) -> None:
        """Write the pages of all data sets, then those about all of them, the first page last.

        Parameters
        ----------
        chapters : a data set each
        is_whole : whether these are all runs of the store
        """
        for name, data in static_files().items():
            self.site.write(f"static/{name}", data)
        for chapter in chapters:
            self.write_chapter(chapter, is_whole=is_whole)
        methods = {section.method for chapter in chapters for section in chapter.sections}
        about = self.pages.render("about.html", "about.html", chapters=chapters, methods=methods, tables=_tables())
        self.site.write("about.html", about)
        self.site.write("index.html", index_page(self.pages, chapters, self.cards))

    def write_chapter(self, chapter: Chapter, *, is_whole: bool) -> None:
        """Write the pages of all runs on a data set.

        Parameters
        ----------
        chapter : the data set
        is_whole : whether it has all runs on these data, so that a picture none of them shows can go
        """
        shown: dict[str, set[str]] = {}
        for section in chapter.sections:
            if section.method == UNITS:
                self._write_units(chapter, section)
            elif section.method in (SUMMARIES, EVIDENCE):
                self._write_classes(chapter, section, shown)
            else:
                logger.warning("runs of %s have no pages: only their parameters are shown", section.method)
        if is_whole:
            for folder, pictures in shown.items():
                self.site.keep_only(folder, pictures)

    def _write_classes(self, chapter: Chapter, section: Section, shown: dict[str, set[str]]) -> None:
        """Write the pages of all classes of a section, and note the pictures that they show by folder."""
        around = _neighbours(section)
        family = _SUMMARIES if section.method == SUMMARIES else _evidence(ImagePages(self.store, section), chapter)
        for topic in section.topics:
            sides = []
            stamps = []
            for entry in topic.entries:
                related = chapter.related(section, topic.class_id)
                stamp = _ClassPages(self, topic, entry, around[entry.folder], related).write(family)
                self.cards[entry.folder] = stamp["card"]
                sides.append(Side(entry, stamp["card"], stamp["images"]))
                stamps.append(stamp["inputs"])
                pictures = {image["picture"] for image in stamp["images"].values() if image["picture"]}
                shown.setdefault(shared_folder(entry.network.run, topic.name), set()).update(pictures)
            if topic.page is not None and len(sides) > 1:
                self._write_comparison(topic, topic.page, sides, around[topic.page], stamps)

    def _write_units(self, chapter: Chapter, section: Section) -> None:
        for network in section.networks:
            writer = UnitsWriter(self.store, self.site, self.pages, network, chapter.class_names, self.code)
            others = [(each.title, each.folder) for each in section.networks]
            records = [entry for topic in section.topics for entry in topic.entries if entry.network is network]
            self.cards[network.folder] = writer.write(records, others)

    def _write_comparison(
        self, topic: Topic, page: str, sides: Sequence[Side], neighbours: Neighbours, stamps: Sequence[str]
    ) -> None:
        inputs = digest([self.code, list(stamps), str(neighbours), [side.images for side in sides]], 16)
        if self.site.begins_with(page, f'content="{inputs}"'):
            return
        comparison = Comparison(topic, page, sides, neighbours)
        self.site.write(page, compare_page(self.store, self.pages, comparison, inputs))


@dataclass(frozen=True, slots=True)
class _Family:
    """How the pages of a class come to be, by method.

    Parameters
    ----------
    digest : what may change without the class being run again
    read : the class's tables
    empty : what is shown where they cannot be read
    writer : of the pages
    """

    digest: Callable[[Store, Entry], list[Any]]
    read: Callable[[Store, Entry], Any]
    empty: Callable[[Entry], Any]
    writer: Callable[..., ClassWriter | EvidenceWriter]


class _ClassPages:
    """The pages of a class and a network: written anew unless they are still right."""

    def __init__(
        self,
        report: _Report,
        topic: Topic,
        entry: Entry,
        neighbours: Neighbours,
        related: Sequence[tuple[str, Entry]],
    ) -> None:
        self.report = report
        self.topic = topic
        self.entry = entry
        self.neighbours = neighbours
        self.related = related

    def write(self, family: _Family) -> dict[str, Any]:
        """Return the stamp of the pages."""
        report, topic, entry = self.report, self.topic, self.entry
        problem = None
        try:
            rows = family.digest(report.store, entry)
        except StoreError as error:
            problem, rows = str(error), []
        facts = [topic.class_name, entry.network.title, entry.network.run_id, self.neighbours, problem, rows]
        tabs = [(each.page, each.network.title) for each in topic.entries]
        tabs += [(f"{method}:{each.page}", each.network.title) for method, each in self.related]
        has_sources = [report.picture_of is not None, report.name_of is not None]
        inputs = digest(str([report.code, facts, sorted(entry.record.items()), tabs, topic.page, has_sources]), 16)
        stamp = report.site.stamp(entry.folder)
        if stamp.get("inputs") == inputs and self._is_whole(stamp):
            return dict(stamp)
        data = family.empty(entry)
        if problem is None:
            try:
                data = family.read(report.store, entry)
            except StoreError as error:
                problem = str(error)
        if problem is not None:
            logger.warning("%s %s: %s", entry.network.title, entry.class_id, problem)
        sources, around = (report.picture_of, report.name_of), (self.neighbours, self.related)
        return family.writer(report.site, report.pages, topic, data, *sources, *around, problem).write(inputs)

    def _is_whole(self, stamp: Mapping[str, Any]) -> bool:
        """Say whether pages could not be better now: tables were readable, and pictures are there or still lost."""
        pictures = [image["picture"] for image in stamp["images"].values() if image["picture"] is not None]
        if stamp["card"]["problem"] or not all(map(self.report.site.has, pictures)):
            return False
        lost, picture_of = stamp["lost"], self.report.picture_of
        return (
            lost is None or picture_of is None or picture_of(self.entry.network.run, lost, self.entry.class_id) is None
        )


_SUMMARIES = _Family(digest_rows, read_class, ClassData, ClassWriter)


def _evidence(image_pages: ImagePages, chapter: Chapter) -> _Family:
    names = chapter.class_names
    return _Family(
        partial(digest_evidence, image_pages=image_pages, class_names=names),
        partial(read_evidence, image_pages=image_pages, class_names=names),
        ClassEvidence,
        EvidenceWriter,
    )


def _neighbours(section: Section) -> dict[str, Neighbours]:
    """Return the pages before and after each page of a class, among those of its network or the comparisons."""
    found: dict[str, Neighbours] = {}
    rows = [
        [
            (entry.folder, Neighbour(entry.page, topic.class_name))
            for topic in section.topics
            for entry in topic.entries
            if entry.network is network
        ]
        for network in section.networks
    ]
    rows.append(
        [
            (topic.page, Neighbour(topic.page, topic.class_name))
            for topic in section.topics
            if topic.page is not None and len(topic.entries) > 1
        ]
    )
    for row in rows:
        pages = [None, *(neighbour for _, neighbour in row), None]
        for index, (key, _) in enumerate(row):
            found[key] = (pages[index], pages[index + 2])
    return found


def _tables() -> list[Any]:
    return [SCHEMAS[name] for name in SCHEMAS]
