"""A folder with a sub-folder of images per class; what other datasets in folders are made of."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from xvcore.data.dataset import ClassInfo, ImageRecord, PartBox, datasets, find_class
from xvcore.data.faults import is_momentary
from xvcore.errors import DataError, unknown_name
from xvcore.keys import typed_path

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
)
"""Files that count as images, in upper or lower case; others, and those whose name starts with a dot, do not."""
SPLIT_NAMES = frozenset(("train", "training", "val", "valid", "validation", "test", "testing"))


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

        Raises
        ------
        DataError
            There is no such class; or its images, which were there when the dataset was opened, are away.
        """
        info = find_class(self.name, self.classes, class_id)
        found: list[str] = []
        for place in self.places[info.class_id]:
            if (self.root / place).is_dir():
                found.extend(images_below(self.root, place))
            else:
                if not (self.root / place).exists():
                    self._check_there(place)
                found.append(place)
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
                self._check_there(record.image_id)
            raise

    def parts(self, class_id: str) -> tuple[PartBox, ...]:
        """Return no parts: folders have no annotations."""
        find_class(self.name, self.classes, class_id)
        return ()

    def _check_there(self, place: str) -> None:
        """Refuse where the folder of an image is not to be had, or nothing at all is left where the dataset was."""
        folder = (self.root / place).parent if is_image(place) else self.root / place
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
def imagefolder(path: str | None, *, split: str | None = None) -> ImageFolder:
    """Return the dataset ``imagefolder:PATH[?split=SUBFOLDER]``: each sub-folder with images in it is a class.

    Parameters
    ----------
    path : folder with a sub-folder per class, or with a sub-folder per split
    split : sub-folder of ``path`` that holds the classes; None: ``path`` holds them

    Raises
    ------
    DataError
        No such folder or split, or no sub-folder with images.
    """
    root = existing_folder("imagefolder", path)
    folders = sub_folders(root)
    if split is not None and split not in folders:
        raise DataError(str(unknown_name(f"split of {root}:", split, folders)))
    if split is None and folders and SPLIT_NAMES.issuperset(folders):
        raise DataError(f"{root}: {', '.join(folders)} look like splits, not classes; add ?split={folders[-1]}")
    base = "" if split is None else f"{split}/"
    class_ids = [each for each in sub_folders(root / base) if has_images(root, base + each)]
    if not class_ids:
        raise DataError(f"{root / base}: no classes; expected sub-folders with images ({', '.join(sorted(SUFFIXES))})")
    return ImageFolder(
        name=f"imagefolder:{root}",
        split=split or "all",
        root=root,
        classes=tuple(ClassInfo(each, index, each) for index, each in enumerate(class_ids)),
        places={each: (base + each,) for each in class_ids},
    )


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
    _, folders, _ = next(os.walk(folder, onerror=_refuse))
    return sorted(name for name in folders if not name.startswith("."))


def images_below(root: Path, place: str) -> Iterator[str]:
    """Yield the image files in a folder and below it, relative to ``root``; links are followed, each folder once."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(root / place, onerror=_refuse, followlinks=True):
        target = str(Path(folder).resolve())
        folders[:] = [] if target in seen else sorted(each for each in folders if not each.startswith("."))
        below = Path(folder).relative_to(root).as_posix()
        yield from (f"{below}/{name}" for name in files if is_image(name) and target not in seen)
        seen.add(target)


def has_images(root: Path, place: str) -> bool:
    """Say whether there is an image file in a folder or below it."""
    try:
        with os.scandir(root / place) as entries:
            lies_here = any(is_image(entry.name) for entry in entries)
    except OSError as error:
        _refuse(error)
    return lies_here or any(True for _ in images_below(root, place))


def is_image(name: str) -> bool:
    """Say whether a file's name is that of an image."""
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename} cannot be listed: {error.strerror}") from error


def _printable(path: str) -> str:
    """Return a path as valid text; a name that is not UTF-8 becomes one that cannot be read, hence an error row."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
