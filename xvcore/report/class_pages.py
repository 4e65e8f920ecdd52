"""A class in the eyes of a network: one page of the class, and one of each image, whatever the family shows on them."""

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

from xvcore.errors import StoreError
from xvcore.keys import digest
from xvcore.report.chapters import Chapter, Entry, Neighbour, Neighbours, Section, Topic
from xvcore.report.comparison import Comparison, Side
from xvcore.report.draft import Draft
from xvcore.report.family import families
from xvcore.report.findings import Told
from xvcore.report.originals import Originals, shared_folder
from xvcore.report.renderer import digest_of_code
from xvcore.report.spread import spread
from xvcore.runs.thumbnails import extension
from xvcore.store import Store
from xvcore.store.encode import encoded

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]
Related = Sequence[tuple[str, Entry]]
"""What other families have of a class: the family's title, and the entry."""


@dataclass(frozen=True)
class Image:
    """An image: what the network says of it; a family adds what it has.

    Parameters
    ----------
    prediction : row of ``predictions``
    name : of its page
    """

    prediction: Row
    name: str

    @property
    def image_id(self) -> str:
        """Identity within the data set."""
        return str(self.prediction["image_id"])

    @property
    def title(self) -> str:
        """The last part of the id: what tells the image from others of its folder."""
        return self.image_id.rsplit("/", 1)[-1] or self.image_id


@runtime_checkable
class ClassData(Protocol):
    """What the pages of a class show; a family adds what it has."""

    @property
    def entry(self) -> Entry:
        """The class and the network."""

    @property
    def images(self) -> Sequence[Any]:
        """An :class:`Image` each, those that were read, in the order of their ids."""


Data = TypeVar("Data", bound=ClassData)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stored crop and where it was cut from."""

    file: str
    x: int
    y: int
    w: int
    h: int


@dataclass(frozen=True)
class Face:
    """The page of an image and the files that show it, as paths within the site; ``None`` for what there is not."""

    page: str
    picture: str | None
    veil: str | None = None
    heat: str | None = None
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """The files of a class's pages; a family adds where they belong.

    Parameters
    ----------
    faces : of each image, by its id
    files : paths of the pictures in the class's folder
    """

    faces: Mapping[str, Face]
    files: Sequence[str]


Pictures = TypeVar("Pictures", bound=Drawn)


@dataclass(frozen=True)
class ClassWriter(ABC, Generic[Data, Pictures]):
    """Writes the pages of one class; a family says what is on them.

    Parameters
    ----------
    draft : where the pages go to
    topic, data : the class, and what the network made of it
    neighbours : the classes before and after
    related : what other families have of the class
    problem : why the tables could not be read, if so
    """

    draft: Draft
    topic: Topic
    data: Data
    neighbours: Neighbours
    related: Related = ()
    problem: str | None = None

    method: ClassVar[str]
    """Of the family; its templates ``class.html`` and ``image.html`` extend the kit's ``class_page.html`` and
    ``image_page.html``."""

    @abstractmethod
    def draw(self) -> Pictures:
        """Write the pictures of the class."""

    @abstractmethod
    def on_class_page(self, drawn: Pictures) -> dict[str, Any]:
        """Return further values of the template of the class."""

    @abstractmethod
    def on_image_page(self, image: Any, drawn: Pictures) -> dict[str, Any]:
        """Return further values of the template of an image."""

    @abstractmethod
    def card(self, drawn: Pictures) -> dict[str, Any]:
        """Return what the first page shows of the class; JSON."""

    def findings(self) -> list[Told] | None:
        """Return what was found of the class, with where its numbers are; None where the family tests nothing."""
        return None

    def in_comparison(self, image: Any, face: Face) -> dict[str, Any]:
        """Return what pages of several networks need of an image; JSON."""
        return {"page": face.page, "picture": face.picture}

    def write(self, inputs: str) -> dict[str, Any]:
        """Write pictures and pages, remove those that are no longer, and return the stamp of the folder.

        Parameters
        ----------
        inputs : digest of what decides the pages
        """
        drawn = self.draw()
        faces, told = drawn.faces, self.findings()
        self._write_images(drawn)
        self._write_page(
            "class.html",
            self.data.entry.page,
            self.neighbours,
            problem=self.problem,
            related=self.related,
            faces=faces,
            told=told,
            **self.on_class_page(drawn),
        )
        files = [self.data.entry.page, *(face.page for face in faces.values()), *drawn.files]
        lost = [image_id for image_id, face in faces.items() if face.picture is None]
        stamp = {
            "inputs": inputs,
            "lost": lost[0] if lost else None,
            "card": {"problem": self.problem, "told": told or [], **self.card(drawn)},
            "images": {image.image_id: self.in_comparison(image, faces[image.image_id]) for image in self.data.images},
        }
        self.draft.site.seal(self.folder, stamp, {path.removeprefix(f"{self.folder}/") for path in files})
        return stamp

    @property
    def folder(self) -> str:
        """Of the pages."""
        return self.data.entry.folder

    def page_of(self, image: Any) -> str:
        """Return the page of an image."""
        return f"{self.folder}/{image.name}.html"

    def original(self, image: Any) -> str | None:
        """Return the path of an image's picture, written now unless it is there; ``None`` where it is lost."""
        originals = Originals(self.draft.site, self.draft.picture_of, self.topic, self.data.entry)
        return originals.path(image.name, image.prediction)

    def keep(self, name: str, cell: Any) -> str | None:
        """Write a stored picture under a name without extension and return its path; ``None`` where there is none."""
        data = encoded(cell)
        return None if data is None else self.put(f"{name}.{extension(data)}", data)

    def put(self, name: str, data: bytes) -> str:
        """Write a picture of the class and return its path."""
        path = f"{self.folder}/pictures/{name}"
        self.draft.site.write(path, data)
        return path

    def _write_images(self, drawn: Pictures) -> None:
        images, faces = self.data.images, drawn.faces
        around = [None, *(Neighbour(faces[image.image_id].page, image.title) for image in images), None]
        for position, image in enumerate(images):
            face = faces[image.image_id]
            self._write_page(
                "image.html",
                face.page,
                (around[position], around[position + 2]),
                image=image,
                face=face,
                related=self.related,
                predicted=self._predicted(image),
                **self.on_image_page(image, drawn),
            )

    def _write_page(self, template: str, page: str, neighbours: Neighbours, **values: Any) -> None:
        before, after = neighbours
        text = self.draft.renderer.render(
            f"{self.method}/{template}",
            page,
            family=families[self.method].title,
            topic=self.topic,
            data=self.data,
            before=before,
            after=after,
            **values,
        )
        self.draft.site.write(page, text)

    def _predicted(self, image: Any) -> str | None:
        index, name_of = image.prediction["pred_idx"], self.draft.name_of
        return None if name_of is None or index is None else name_of(self.data.entry.network.run, int(index))


@dataclass(frozen=True, slots=True)
class ClassSource(Generic[Data]):
    """Where the pages of a class come from.

    Parameters
    ----------
    package : of the family's pages
    changing : returns what may change without the class being run again
    read : returns what the class's tables hold; StoreError where they are damaged
    empty : returns what is shown where they cannot be read
    writer : of the pages
    """

    package: str
    changing: Callable[[Store, Entry], list[Any]]
    read: Callable[[Store, Entry], Data]
    empty: Callable[[Entry], Data]
    writer: type[ClassWriter[Data, Any]]


def write_classes(draft: Draft, chapter: Chapter, section: Section, source: ClassSource[Any]) -> None:
    """Write the pages of all classes of a section, each network's and those that compare networks; leave their cards.

    Parameters
    ----------
    draft : where to
    chapter, section : the data set; the networks and classes of the family
    source : of what a class's pages show
    """
    work = _OneClass(section.method, source, neighbours_of(section), related_to(chapter, section))
    spread(draft, work, section.topics, families[section.method].title)


@dataclass(frozen=True)
class _OneClass:
    """Writes the pages of one class: of each network, and those that compare them.

    Parameters
    ----------
    method, source : of the family
    around, elsewhere : the pages before and after each page, and what other families have of each class
    """

    method: str
    source: ClassSource[Any]
    around: Mapping[str, Neighbours]
    elsewhere: Mapping[str, Related]

    def __call__(self, draft: Draft, topic: Topic) -> None:
        comparison, related = families[self.method].comparison, self.elsewhere.get(topic.class_id, [])
        sides, stamps = [], []
        for entry in topic.entries:
            stamp = _Pages(draft, topic, entry, self.around[entry.folder], related, self.source).write()
            draft.cards[entry.folder] = stamp["card"]
            draft.judge(entry.folder, stamp["card"]["problem"], stamp["lost"])
            sides.append(Side(entry, stamp["card"], stamp["images"]))
            stamps.append(stamp["inputs"])
            pictures = {image["picture"] for image in stamp["images"].values() if image["picture"]}
            draft.shown.setdefault(shared_folder(entry.network.run, topic.name), set()).update(pictures)
        if comparison and topic.page is not None and len(sides) > 1:
            around, code = self.around[topic.page], digest_of_code(self.source.package)
            inputs = digest([code, stamps, str(around), [side.images for side in sides]], 16)
            if not draft.site.begins_with(topic.page, f'content="{inputs}"'):
                page = Comparison(topic, topic.page, sides, around)
                draft.site.write(topic.page, comparison(draft.store, draft.renderer, page, inputs))


@dataclass(frozen=True, slots=True)
class _Pages:
    """The pages of a class and a network: written anew unless they are still right."""

    draft: Draft
    topic: Topic
    entry: Entry
    neighbours: Neighbours
    related: Related
    source: ClassSource[Any]

    def write(self) -> dict[str, Any]:
        """Return the stamp of the pages."""
        draft, topic, entry = self.draft, self.topic, self.entry
        problem = None
        try:
            rows = self.source.changing(draft.store, entry)
        except StoreError as error:
            problem, rows = str(error), []
        facts = [topic.class_name, entry.network.title, entry.network.run_id, self.neighbours, problem, rows]
        tabs = [(each.page, each.network.title) for each in topic.entries]
        tabs += [(f"{title}:{each.page}", each.network.title) for title, each in self.related]
        has_sources = [draft.picture_of is not None, draft.name_of is not None]
        code = digest_of_code(self.source.package)
        inputs = digest(str([code, facts, sorted(entry.record.items()), tabs, topic.page, has_sources]), 16)
        stamp = draft.site.stamp(entry.folder)
        if stamp.get("inputs") == inputs and self._is_whole(stamp):
            return dict(stamp)
        data = self.source.empty(entry)
        if problem is None:
            try:
                data = self.source.read(draft.store, entry)
            except StoreError as error:
                problem = str(error)
        if problem is not None:
            logger.warning("%s %s: %s", entry.network.title, entry.class_id, problem)
        return self.source.writer(draft, topic, data, self.neighbours, self.related, problem).write(inputs)

    def _is_whole(self, stamp: Mapping[str, Any]) -> bool:
        """Say whether pages could not be better now: tables were readable, and pictures are there or still lost."""
        pictures = [image["picture"] for image in stamp["images"].values() if image["picture"] is not None]
        return not stamp["card"]["problem"] and are_all_there(self.draft, self.entry, pictures, stamp["lost"])


def are_all_there(draft: Draft, entry: Entry, pictures: Iterable[str], lost: str | None) -> bool:
    """Say whether the originals that a class's pages show are in the site, and one that was lost still is.

    Parameters
    ----------
    draft : where to
    entry : the class and the network
    pictures : paths of those shown
    lost : an image whose original there was none of; None where there was no such
    """
    if not all(map(draft.site.has, pictures)):
        return False
    return lost is None or draft.picture_of is None or draft.picture_of(entry.network.run, lost, entry.class_id) is None


def related_to(chapter: Chapter, section: Section) -> dict[str, list[tuple[str, Entry]]]:
    """Return what other families have of each class, by its id: its page, or that of a run without pages of classes."""
    found: dict[str, list[tuple[str, Entry]]] = {}
    for other in chapter.sections:
        family = families.get(other.method)
        if other is section or family is None or not (family.has_class_pages or family.has_run_page):
            continue
        for topic in other.topics:
            for entry in topic.entries:
                folder = entry.folder if family.has_class_pages else entry.network.folder
                found.setdefault(topic.class_id, []).append((family.title, dataclasses.replace(entry, folder=folder)))
    return found


def image_pages(draft: Draft, chapter: Chapter, section: Section, model: str) -> dict[str, str]:
    """Return the page of each image that another family, whose pages are written already, has for a network."""
    found: dict[str, str] = {}
    others = [each for each in chapter.sections if each is not section]
    entries = [entry for other in others for topic in other.topics for entry in topic.entries]
    for entry in entries:
        if entry.network.model == model:
            for image_id, image in draft.site.stamp(entry.folder).get("images", {}).items():
                found.setdefault(image_id, image["page"])
    return found


def neighbours_of(section: Section) -> dict[str, Neighbours]:
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
