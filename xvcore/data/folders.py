"""Folders of pictures: the layout that several kinds of dataset share, one folder a class."""

from pathlib import Path

from xvcore.data.dataset import ImageRecord
from xvcore.errors import DataError, ImageError, unknown_name

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
"""Endings of picture files, in lower case; other files in a class's folder are passed over."""


def existing_folder(kind: str, path: str | None) -> Path:
    """Return the folder of a dataset as an absolute path.

    Raises
    ------
    DataError
        No path was given, or it is not a folder.
    """
    if path is None:
        raise DataError(f"dataset {kind} needs a folder: {kind}:PATH")
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise DataError(f"dataset {kind}: {folder} is not a folder")
    return folder


def chosen_split(kind: str, split: str, known: tuple[str, ...]) -> str:
    """Return the split, or raise DataError with the known ones."""
    if split not in known:
        raise DataError(str(unknown_name(f"split of dataset {kind}", split, known)))
    return split


def pictures(folder: Path) -> list[Path]:
    """Return the picture files right in a folder, sorted by name."""
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if each.suffix.lower() in SUFFIXES and not each.is_dir())


def subfolders(folder: Path) -> list[Path]:
    """Return the folders right in a folder, sorted by name, without hidden ones."""
    return sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))


def read_file(record: ImageRecord) -> bytes:
    """Return the bytes of an image's file.

    Raises
    ------
    ImageError
        The file cannot be read.
    """
    try:
        return Path(record.path).read_bytes()
    except OSError as error:
        raise ImageError(f"{record.path}: {error.strerror or error}") from error
