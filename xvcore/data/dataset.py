"""What a dataset is, and how it is opened by a short string."""

import dataclasses
import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

from xvcore.errors import DataError, unknown_name
from xvcore.registry import Registry


@dataclass(frozen=True, slots=True)
class ClassInfo:
    """A class of a dataset.

    Parameters
    ----------
    class_id : unique in its dataset, e.g. ``"n01558993"`` or ``"014.Indigo_Bunting"``
    class_idx : position among the classes of the dataset as it was opened, from 0
    class_name : what people say, e.g. ``"Indigo Bunting"``; need not be unique
    wnid : WordNet id where the class has one

    Examples
    --------
    >>> from xvcore.data import ClassInfo
    >>> ClassInfo("n01558993", 0, "American robin", "n01558993").class_name
    'American robin'
    """

    class_id: str
    class_idx: int
    class_name: str
    wnid: str | None = None


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image of a dataset.

    Parameters
    ----------
    image_id : unique in its dataset
    path : absolute path or URL, ``""`` where the dataset draws its images
    class_id : the class it is labelled with

    Examples
    --------
    >>> from xvcore.data import ImageRecord
    >>> ImageRecord("n01558993/1.jpg", "/data/n01558993/1.jpg", "n01558993").class_id
    'n01558993'
    """

    image_id: str
    path: str
    class_id: str


@dataclass(frozen=True, slots=True)
class PartBox:
    """Where a named part lies in an image, in pixels of the original picture.

    Parameters
    ----------
    image_id, part : which part of which image
    x, y : top left corner; the point itself where the annotation is a point
    w, h : size, 0 for points
    visible : False where the part cannot be seen; its place then means nothing
    decisive : the class is told from others by this part (known for drawn data only)

    Examples
    --------
    >>> from xvcore.data import PartBox
    >>> PartBox("robin/1.jpg", "bill", 40, 30, 12, 6, visible=True).w
    12
    """

    image_id: str
    part: str
    x: float
    y: float
    w: float
    h: float
    visible: bool
    decisive: bool = False


@dataclass(frozen=True, slots=True)
class ObjectBox:
    """The box around the object of an image: x, y (top left corner), w, h in pixels of the original picture."""

    image_id: str
    x: float
    y: float
    w: float
    h: float

    @classmethod
    def between(cls, image_id: str, left: float, top: float, right: float, bottom: float) -> "ObjectBox":
        """Return the box of two corners that are pixels which belong to it, counted from 1, as in Matlab."""
        return cls(image_id, left - 1, top - 1, right - left + 1, bottom - top + 1)


@runtime_checkable
class Dataset(Protocol):
    """Labelled images, class by class. An implementation is a frozen dataclass with a field ``name``.

    Examples
    --------
    >>> from xvcore.data import open_dataset
    >>> birds = open_dataset("partbirds?classes=2&images=5")
    >>> [len(birds.images(each.class_id)) for each in birds.classes]
    [5, 5, 5]
    """

    @property
    def name(self) -> str:
        """Identity for run ids and tables: the canonical spec without its split, or what the option ``name`` says."""

    @property
    def split(self) -> str:
        """Which part of the dataset was opened; ``"all"`` where it has no splits."""

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """All classes, in the order of their ``class_idx``."""

    def images(self, class_id: str) -> tuple[ImageRecord, ...]:
        """Return the images of a class, sorted by image id; DataError when there is no such class."""

    def read(self, record: ImageRecord) -> bytes:
        """Return the encoded file of an image; OSError or ImageError when it cannot be read."""

    def parts(self, class_id: str) -> tuple[PartBox, ...]:
        """Return the parts annotated in the images of a class, sorted by image id; empty when none are."""


@runtime_checkable
class Redrawn(Protocol):
    """A dataset of scenes that can be seen without some of the parts of their object.

    Examples
    --------
    >>> from xvcore.data import open_dataset
    >>> birds = open_dataset("partbirds?classes=2&images=5")
    >>> birds.without(birds.images("plain")[0], ["wing"]).image_id
    'plain-val-00000~wing'
    """

    def without(self, record: ImageRecord, parts: Collection[str]) -> ImageRecord:
        """Return the picture of the scene of an image without some parts; DataError where there is none."""


datasets: Registry[Callable[..., Dataset]] = Registry("dataset", "xvcore.data.*")
"""Factories by kind: ``factory(path: str | None, **options: str)``; the options are its keyword parameters."""


def open_dataset(spec: str) -> Dataset:
    """Return the dataset that a short string names.

    Parameters
    ----------
    spec : ``KIND[:PATH][?key=value&key=value]``, e.g. ``imagenet:/data/ilsvrc?split=val``. Every kind takes
        ``name=``, which replaces the path in run ids and tables: results survive a move of the folder.
        Nothing is percent-decoded; the options start at the last question mark that is followed by ``key=``.

    Raises
    ------
    UnknownNameError
        A kind that does not exist.
    DataError
        An option that the kind does not have, or data that is not laid out as the kind says.

    Examples
    --------
    >>> from xvcore.data import open_dataset
    >>> open_dataset("partbirds?classes=2").classes[1].class_name
    'ringed-bill spotted-wing chevroned-tail'
    """
    head, options = _options(spec)
    kind, _, path = head.partition(":")
    if kind not in datasets and ("/" in kind or kind.startswith((".", "~"))):
        raise DataError(
            f"dataset {spec!r} has no kind; did you mean imagefolder:{spec}? (known: {', '.join(datasets)})"
        )
    factory = datasets[kind]
    name = options.pop("name", None)
    _refuse_unknown(kind, factory, options)
    dataset = factory(path or None, **options)
    return dataset if name is None else cast(Dataset, dataclasses.replace(cast(Any, dataset), name=name))


def find_class(dataset_name: str, classes: tuple[ClassInfo, ...], class_id: str) -> ClassInfo:
    """Return the class with this id.

    Raises
    ------
    DataError
        There is none; the message names the nearest ones.
    """
    for info in classes:
        if info.class_id == class_id:
            return info
    raise DataError(str(unknown_name(f"class of {dataset_name}", class_id, [info.class_id for info in classes])))


def _options(spec: str) -> tuple[str, dict[str, str]]:
    head, mark, tail = spec.rpartition("?")
    if not mark or (tail and "=" not in tail):
        return spec, {}
    options: dict[str, str] = {}
    for pair in tail.split("&") if tail else ():
        key, equals, value = pair.partition("=")
        if not key or not equals or not value:
            raise DataError(f"dataset {spec!r}: option {pair!r} is not of the form key=value")
        if key in options:
            raise DataError(f"dataset {spec!r}: option {key!r} is given twice")
        options[key] = value
    return head, options


def _refuse_unknown(kind: str, factory: Callable[..., Dataset], options: dict[str, str]) -> None:
    parameters = list(inspect.signature(factory).parameters.values())[1:]
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return
    known = ["name", *(each.name for each in parameters)]
    for option in options:
        if option not in known:
            raise DataError(str(unknown_name(f"option of dataset {kind}", option, known)))
