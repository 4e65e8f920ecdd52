"""Any folder with one sub-folder of pictures a class."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from xvcore.data.dataset import ClassInfo, ImageRecord, PartBox, datasets, find_class
from xvcore.data.folders import existing_folder, pictures, read_file, subfolders
from xvcore.errors import DataError


@dataclass(frozen=True)
class ImageFolder:
    """A class is a sub-folder with at least one picture; ids and names of classes are the folders' names.

    Parameters
    ----------
    root : folder of the classes
    split : name of the split; ``"all"`` where the folder has none
    name : identity for run ids and tables
    """

    root: Path
    split: str
    name: str

    @cached_property
    def classes(self) -> tuple[ClassInfo, ...]:
        """Classes in the order of their names."""
        names = [each.name for each in subfolders(self.root) if pictures(each)]
        return tuple(ClassInfo(name, index, name) for index, name in enumerate(names))

    def images(self, class_id: str) -> tuple[ImageRecord, ...]:
        """Return the pictures of a class; their id is ``class/file``."""
        find_class(self.name, self.classes, class_id)
        files = pictures(self.root / class_id)
        return tuple(ImageRecord(f"{class_id}/{file.name}", str(file), class_id) for file in files)

    def read(self, record: ImageRecord) -> bytes:
        """Return the bytes of a picture's file."""
        return read_file(record)

    def parts(self, class_id: str) -> tuple[PartBox, ...]:
        """Return nothing: folders carry no annotations."""
        find_class(self.name, self.classes, class_id)
        return ()


@datasets.register("imagefolder")
def imagefolder(path: str | None, *, split: str = "all") -> ImageFolder:
    """Open ``imagefolder:PATH``, or ``imagefolder:PATH?split=SUBFOLDER`` where each split is a folder of classes.

    Raises
    ------
    DataError
        The folder is not there or has no sub-folder with pictures.
    """
    folder = existing_folder("imagefolder", path)
    root = folder if split == "all" else existing_folder("imagefolder", str(folder / split))
    found = ImageFolder(root, split, f"imagefolder:{folder}")
    if not found.classes:
        inside = ", ".join(each.name for each in subfolders(root)) or "none"
        raise DataError(f"imagefolder: no sub-folder of {root} holds pictures (sub-folders: {inside})")
    return found
