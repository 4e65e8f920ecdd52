"""The report: a folder of static pages that shows what a store holds."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xvcore.errors import StoreError
from xvcore.keys import digest
from xvcore.report.class_data import ClassData, digest_rows, read_class
from xvcore.report.class_pages import ClassWriter, NameOf, Neighbour, PictureOf
from xvcore.report.compare_page import Comparison, Side, compare_page
from xvcore.report.index_page import index_page
from xvcore.report.pages import Pages, digest_of_code, static_files
from xvcore.report.plan import Chapter, Entry, Topic, read_plan, shared_folder
from xvcore.report.site import Site
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

    The pages need no server and no network. One class is in memory at a time. Running again rewrites only what has
    changed; a page that would not change keeps its bytes and its time.

    Addresses: ``<network>/<class>/index.html``, ``<network>/<class>/<image>.html``, ``compare/<class>.html``,
    ``about.html``.

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
    chapters = read_plan(store, run_ids)
    report = _Report(store, Site(Path(out)), picture_of, name_of)
    for name, data in static_files().items():
        report.site.write(f"static/{name}", data)
    for chapter in chapters:
        report.write_chapter(chapter, is_whole=run_ids is None)
    report.site.write(
        "about.html", report.pages.render("about.html", "about.html", chapters=chapters, tables=_tables())
    )
    report.site.write("index.html", index_page(report.pages, chapters, report.cards))
    logger.info("report in %s: %d files written, %d unchanged", out, report.site.written, report.site.unchanged)
    return report.site.folder / "index.html"


class _Report:
    """The report while it is being written."""

    def __init__(self, store: Store, site: Site, picture_of: PictureOf | None, name_of: NameOf | None) -> None:
        self.store = store
        self.site = site
        self.picture_of = picture_of
        self.name_of = name_of
        self.pages = Pages()
        self.code = digest_of_code()
        self.cards: dict[str, dict[str, Any]] = {}

    def write_chapter(self, chapter: Chapter, *, is_whole: bool) -> None:
        """Write the pages of all classes of a data set.

        Parameters
        ----------
        chapter : the data set
        is_whole : whether it has all runs on these data, so that a picture none of them shows can go
        """
        around = _neighbours(chapter)
        for topic in chapter.topics:
            sides = []
            stamps = []
            for entry in topic.entries:
                stamp = self._write_class(topic, entry, around[entry.folder])
                self.cards[entry.folder] = stamp["card"]
                sides.append(Side(entry, stamp["card"], stamp["images"]))
                stamps.append(stamp["inputs"])
            if len(sides) > 1:
                self._write_comparison(topic, sides, around[topic.page], stamps)
            if is_whole:
                shown = {image["picture"] for side in sides for image in side.images.values() if image["picture"]}
                for folder in {shared_folder(entry.network.run, topic.name) for entry in topic.entries}:
                    self.site.keep_only(folder, shown)

    def _write_class(self, topic: Topic, entry: Entry, neighbours: Neighbours) -> dict[str, Any]:
        """Return the stamp of the pages of a class and a network, written anew unless they are still right."""
        problem = None
        try:
            verdicts = digest_rows(self.store, entry)
        except StoreError as error:
            problem, verdicts = str(error), []
        facts = [topic.class_name, entry.network.title, entry.network.run_id, neighbours, problem, verdicts]
        tabs = [(each.page, each.network.title) for each in topic.entries]
        has_sources = [self.picture_of is not None, self.name_of is not None]
        inputs = digest(str([self.code, facts, sorted(entry.record.items()), tabs, topic.page, has_sources]), 16)
        stamp = self.site.stamp(entry.folder)
        if stamp.get("inputs") == inputs and self._is_whole(entry, stamp):
            return dict(stamp)
        data = ClassData(entry)
        if problem is None:
            try:
                data = read_class(self.store, entry)
            except StoreError as error:
                problem = str(error)
        if problem is not None:
            logger.warning("%s %s: %s", entry.network.title, entry.class_id, problem)
        sources = (self.picture_of, self.name_of)
        return ClassWriter(self.site, self.pages, topic, data, *sources, neighbours, problem).write(inputs)

    def _is_whole(self, entry: Entry, stamp: Mapping[str, Any]) -> bool:
        """Say whether pages could not be better now: tables were readable, and pictures are there or still lost."""
        pictures = [image["picture"] for image in stamp["images"].values() if image["picture"] is not None]
        if stamp["card"]["problem"] or not all(map(self.site.has, pictures)):
            return False
        lost = stamp["lost"]
        if lost is None or self.picture_of is None:
            return True
        return self.picture_of(entry.network.run, lost, entry.class_id) is None

    def _write_comparison(
        self, topic: Topic, sides: Sequence[Side], neighbours: Neighbours, stamps: Sequence[str]
    ) -> None:
        inputs = digest([self.code, list(stamps), str(neighbours), [side.images for side in sides]], 16)
        if self.site.begins_with(topic.page, f'content="{inputs}"'):
            return
        self.site.write(topic.page, compare_page(self.store, self.pages, Comparison(topic, sides, neighbours), inputs))


def _neighbours(chapter: Chapter) -> dict[str, Neighbours]:
    """Return the pages before and after each page of a class, among those of its network or the comparisons."""
    found: dict[str, Neighbours] = {}
    rows = [
        [
            (entry.folder, Neighbour(entry.page, topic.class_name))
            for topic in chapter.topics
            for entry in topic.entries
            if entry.network is network
        ]
        for network in chapter.networks
    ]
    rows.append(
        [(topic.page, Neighbour(topic.page, topic.class_name)) for topic in chapter.topics if len(topic.entries) > 1]
    )
    for row in rows:
        pages = [None, *(neighbour for _, neighbour in row), None]
        for index, (key, _) in enumerate(row):
            found[key] = (pages[index], pages[index + 2])
    return found


def _tables() -> list[Any]:
    return [SCHEMAS[name] for name in SCHEMAS]
