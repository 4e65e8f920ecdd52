"""A folder with a sub-folder of images per class; what other datasets in folders are made of."""

import functools
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xvcore.data.dataset import ClassInfo, ImageRecord, PartBox, datasets, find_class
from xvcore.data.faults import is_momentary
from xvcore.data.files import SUFFIXES, files_below, has_image_name, has_images, is_image, left_out, refuse_folder
from xvcore.data.places import ImagesAt, files_at, is_url
from xvcore.data.splits import split_of
from xvcore.errors import DataError, unknown_name
from xvcore.keys import typed_path

logger = logging.getLogger(__name__)

_WNID = re.compile(r"(n\d{8})(?:[-_. ]+(\S.*))?")
READ = f"images are {' '.join(sorted(SUFFIXES))}, and files without suffix that begin like one"
"""What counts as an image, in a few words."""


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """Images in folders.

    Parameters
    ----------
    name, split, classes : see :class:`~xvcore.data.dataset.Dataset`
    root : folder that image ids are relative to
    places : for each class id the folders (with all below them) or single files, relative to ``root``
    """

    name: str
    split: str
    root: Path
    classes: tuple[ClassInfo, ...]
    places: Mapping[str, tuple[str, ...]]

    def images(self, class_id: str) -> tuple[ImageRecord, ...]:
        """Return the images of a class, sorted by image id (the path below the root, with slashes).

        Files that are no images are left out; the log says once how many, by their suffix.

        Raises
        ------
        DataError
            There is no such class; or its images, which were there when the dataset was opened, are away.
        """
        info = find_class(self.name, self.classes, class_id)
        found: list[str] = []
        others: list[str] = []
        for place in self.places[info.class_id]:
            if (self.root / place).is_dir():
                listed = files_below(self.root, place)
                found.extend(listed.images)
                others.extend(listed.others)
            else:
                if not (self.root / place).exists():
                    self._check_there(self.root / place if not has_image_name(place) else (self.root / place).parent)
                found.append(place)
        if (kinds := left_out(others)) and class_id not in self._said:
            self._said.add(class_id)
            logger.warning("class %s of %s: left out is what is no image: %s (%s)", class_id, self.name, kinds, READ)
        if not found:
            raise DataError(f"class {class_id!r} of {self.name} has no images any more; is the disk there?")
        image_ids = sorted(_printable(path) for path in found)
        return tuple(ImageRecord(each, str(self.root / each), class_id) for each in image_ids)

    def read(self, record: ImageRecord) -> bytes:
        """Return the file of an image, found by its id: a manifest stays good when the folder moves.

        Raises
        ------
        OSError
            The file cannot be read.
        DataError
            Nor can the folder that it lies in: the disk is away, and it is not the image's fault.
        """
        try:
            return (self.root / record.image_id).read_bytes()
        except OSError as error:
            if not is_momentary(error, record.path):
                self._check_there((self.root / record.image_id).parent)
            raise

    def parts(self, class_id: str) -> tuple[PartBox, ...]:
        """Return no parts: folders have no annotations."""
        find_class(self.name, self.classes, class_id)
        return ()

    @functools.cached_property
    def _said(self) -> set[str]:
        """Classes of which it was said what is left out."""
        return set()

    def _check_there(self, folder: Path) -> None:
        """Refuse where a folder of images is not to be had, or nothing at all is left where the dataset was."""
        for each in (folder, self.root):
            try:
                with os.scandir(each) as entries:
                    is_empty = next(entries, None) is None
            except OSError as error:
                if is_momentary(error, str(each)):
                    raise
                raise DataError(f"{each} cannot be listed any more: {error.strerror}; is the disk there?") from error
            if is_empty and each == self.root:
                raise DataError(f"{each} is empty now; is the disk there?")


@datasets.register("imagefolder")
def imagefolder(path: str | None, *, split: str | None = None, splits: str = "yes") -> ImageFolder | ImagesAt:
    """Return the dataset ``imagefolder:PATH[?split=SUBFOLDER]``: each sub-folder with images in it is a class.

    A WordNet id in front of a folder's name (``n02085620-Chihuahua``) is read, and the rest is the name of the class.

    Parameters
    ----------
    path : folder, or fsspec URL (``s3://bucket/folder``), with a sub-folder per class, or with a sub-folder per split
    split : sub-folder of ``path`` that holds the classes (or one of a sub-folder, ``a/b``); None: ``path`` holds them
    splits : ``yes``: folders called train, Testing, validation … are not taken for classes: two or more of them, or
        one that holds folders of images as a split does; ``no``: they are classes

    Raises
    ------
    DataError
        No such folder or split, no sub-folder with images, or sub-folders that are splits.
    """
    if splits not in {"yes", "no"}:
        raise DataError(str(unknown_name("value of splits:", splits, ("yes", "no"))))
    if path is not None and is_url(path):
        return _at_url(path, split, splits)
    root = existing_folder("imagefolder", path)
    base = ""
    for name in () if split is None else split.split("/"):
        known = sub_folders(root / base)
        if name not in known:
            raise DataError(str(unknown_name(f"split of {root / base}:", name, known)))
        base += f"{name}/"
    folders = sub_folders(root / base)
    if splits == "yes":
        _refuse_splits(root / base, base, folders, lambda each: _holds_folders_alone(root, base + each))
    found = [each for each in folders if has_images(root, base + each)]
    if not found:
        raise DataError(f"{root / base}: no classes; expected sub-folders with images ({', '.join(sorted(SUFFIXES))})")
    _say_strays(root / base, [each for each in folders if each not in found])
    if len(found) == 1:
        _look_into(root, base + found[0], is_refused=splits == "yes")
    return ImageFolder(
        name=f"imagefolder:{root}",
        split=split or "all",
        root=root,
        classes=tuple(class_of_folder(each, index) for index, each in enumerate(found)),
        places={each: (base + each,) for each in found},
    )


def class_of_folder(folder: str, index: int) -> ClassInfo:
    """Return the class of a folder; a WordNet id in front of its name is read."""
    wnid, name = wnid_in_front(folder)
    return ClassInfo(folder, index, name or folder, wnid)


def wnid_in_front(name: str) -> tuple[str | None, str | None]:
    """Return the WordNet id that a name begins with, and what comes after it with spaces; None for what is not there.

    ``n02085620-Chihuahua`` and ``n02085620`` begin with one, ``n020856201`` does not.
    """
    found = _WNID.fullmatch(name)
    return (found[1], found[2] and found[2].replace("_", " ").strip()) if found else (None, None)


def existing_folder(kind: str, path: str | None) -> Path:
    """Return the absolute path of a folder.

    Raises
    ------
    DataError
        None is given or it is not there.
    """
    if path is None:
        raise DataError(f"dataset {kind} needs a folder: {kind}:PATH")
    folder = typed_path(path, f"dataset {kind}:", DataError)
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(f"dataset {kind}: {folder} {problem}")
    return folder.resolve()


def sub_folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, without hidden ones."""
    _, folders, _ = next(os.walk(folder, onerror=refuse_folder))
    return sorted(name for name in folders if not name.startswith("."))


def _at_url(url: str, split: str | None, splits: str) -> ImagesAt:
    """Return the images below a URL; it is listed once, now."""
    files = files_at("imagefolder", url)
    base = "" if split is None else f"{split}/"
    below = [name.removeprefix(base) for name in files.names() if name.startswith(base)]
    folders = sorted({name.partition("/")[0] for name in below if "/" in name})
    if split is not None and not below:
        known = sorted({name.rpartition("/")[0] for name in files.names() if "/" in name})
        raise DataError(str(unknown_name(f"split of {files.url}:", split, known)))
    places: dict[str, list[str]] = {}
    others = []
    for name in below:
        folder, slash, _ = name.partition("/")
        if slash and files.is_image(base + name):
            places.setdefault(folder, []).append(base + name)
        else:
            others.append(name)
    if splits == "yes":
        deep = {each for each, names in places.items() if all(name.removeprefix(base).count("/") > 1 for name in names)}
        _refuse_splits(files.url, base, folders, deep.__contains__)
    if not places:
        raise DataError(f"{files.url}/{base}: no classes; expected folders with images ({', '.join(sorted(SUFFIXES))})")
    if kinds := left_out(others):
        logger.warning("%s/%s: left out is what is no image of a class: %s (%s)", files.url, base, kinds, READ)
    return ImagesAt(
        name=f"imagefolder:{files.url}",
        split=split or "all",
        classes=tuple(class_of_folder(each, index) for index, each in enumerate(sorted(places))),
        records={each: files.records(names, each) for each, names in places.items()},
        files=files,
    )


def _refuse_splits(
    where: object, base: str, folders: Sequence[str], holds_folders_alone: Callable[[str], bool]
) -> None:
    """Refuse folders that are splits by their names: several, or all, or one that holds folders of images alone.

    One folder ``train`` of images beside ``bus`` and ``car`` is a class.
    """
    named = [each for each in folders if split_of(each)]
    if 0 < len(named) < 2 and len(folders) > 1:
        named = [each for each in named if holds_folders_alone(each)]
    if not named:
        return
    others = [each for each in folders if each not in named]
    beside = f" (beside them: {', '.join(others[:10])}{', …' if len(others) > 10 else ''})" if others else ""
    way = " or ".join(f"?split={base}{each}" for each in named)
    look = "look like splits, not classes" if len(named) > 1 else "looks like a split, not a class"
    raise DataError(f"{where}: {', '.join(named)} {look}{beside}; add {way}, or ?splits=no if they are classes")


def _look_into(root: Path, only: str, *, is_refused: bool) -> None:
    """Refuse, or say, that the only class is a folder of folders: the classes may be some steps further down."""
    below = sub_folders(root / only)
    while len(below) == 1 and split_of(below[0]) is None and _holds_folders_alone(root, only):
        only = f"{only}/{below[0]}"
        below = sub_folders(root / only)
    if is_refused and sum(split_of(each) is not None for each in below) > 1:
        _refuse_splits(root / only, f"{only}/", below, lambda each: _holds_folders_alone(root, f"{only}/{each}"))
    if len(below) > 1 and _holds_folders_alone(root, only):
        logger.warning(
            "%s: the images of the only class lie in %d folders; are these the classes?", root / only, len(below)
        )


def _holds_folders_alone(root: Path, place: str) -> bool:
    """Say whether images lie in folders of a folder, and none in it."""
    return not images_in(root / place) and any(
        has_images(root, f"{place}/{each}") for each in sub_folders(root / place)
    )


def images_in(folder: Path) -> list[str]:
    """Return the names of the images that lie in a folder itself, sorted."""
    try:
        return sorted(each.name for each in folder.iterdir() if is_image(each) and not each.is_dir())
    except OSError as error:
        refuse_folder(error)


def _say_strays(folder: Path, empty: Sequence[str]) -> None:
    """Say what lies beside the classes and is left out."""
    if empty:
        shown = ", ".join(empty[:10]) + (", …" if len(empty) > 10 else "")
        logger.warning("%s: %d folders without images are left out: %s", folder, len(empty), shown)
    if loose := images_in(folder):
        logger.warning("%s: %d images lie beside the folders of classes and are left out", folder, len(loose))


def _printable(path: str) -> str:
    """Return a path as valid text; a name that is not UTF-8 becomes one that cannot be read, hence an error row."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
