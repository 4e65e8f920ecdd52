"""ImageNet (ILSVRC): folders named by WordNet ids, with the classes' names where a file tells them."""

import importlib.util
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from xvcore.data.dataset import ClassInfo, ImageRecord, PartBox, datasets, find_class
from xvcore.data.folders import chosen_split, existing_folder, pictures, read_file, subfolders
from xvcore.errors import DataError

_WNID = re.compile(r"n\d{8}")
_LAYOUTS = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
_NAME_FILES = ("LOC_synset_mapping.txt", "imagenet_wnids.txt", "imagenet_class_index.json", "words.txt", "synsets.txt")


@dataclass(frozen=True)
class ImageNet:
    """Classes by WordNet id, those of which the chosen split has a folder.

    Parameters
    ----------
    folders : folders that hold one folder a class
    split : ``train``, ``val`` or ``all``
    name : identity for run ids and tables
    names : name of each class by WordNet id, where known
    """

    folders: tuple[Path, ...]
    split: str
    name: str
    names: dict[str, str] = field(repr=False)

    @cached_property
    def classes(self) -> tuple[ClassInfo, ...]:
        """Classes in the order of their WordNet ids, which is that of the networks' outputs."""
        wnids = sorted({each.name for folder in self.folders for each in _class_folders(folder)})
        return tuple(ClassInfo(wnid, index, self.names.get(wnid, wnid), wnid) for index, wnid in enumerate(wnids))

    def images(self, class_id: str) -> tuple[ImageRecord, ...]:
        """Return the pictures of a class; their id is ``split/wnid/file``."""
        find_class(self.name, self.classes, class_id)
        files = [(folder.name, file) for folder in self.folders for file in pictures(folder / class_id)]
        records = [ImageRecord(f"{split}/{class_id}/{file.name}", str(file), class_id) for split, file in files]
        return tuple(sorted(records, key=lambda record: record.image_id))

    def read(self, record: ImageRecord) -> bytes:
        """Return the bytes of a picture's file."""
        return read_file(record)

    def parts(self, class_id: str) -> tuple[PartBox, ...]:
        """Return nothing: ImageNet has no annotated parts."""
        find_class(self.name, self.classes, class_id)
        return ()


@datasets.register("imagenet")
def imagenet(path: str | None, *, split: str = "val", names: str = "") -> ImageNet:
    """Open ``imagenet:PATH?split=val``.

    Parameters
    ----------
    path : holds ``train`` and ``val`` (also below ``ILSVRC/Data/CLS-LOC``), or the class folders themselves
    split : ``train``, ``val`` or ``all``
    names : file of class names; by default one that lies in the folder, else those that timm knows, else none

    Raises
    ------
    DataError
        The folder is not laid out so; the message says what was looked for.
    """
    root = existing_folder("imagenet", path)
    chosen_split("imagenet", split, ("train", "val", "all"))
    folders = _split_folders(root, split)
    if not folders:
        wanted = "train or val" if split == "all" else split
        raise DataError(
            f"imagenet: {root} has no folder {wanted} with class folders named by WordNet ids (n01558993, …)"
        )
    return ImageNet(folders, split, f"imagenet:{root}", _class_names(root, names))


def _split_folders(root: Path, split: str) -> tuple[Path, ...]:
    if any(_class_folders(root)):
        return (root,)
    wanted = ("train", "val") if split == "all" else (split,)
    found = [root / layout / each for layout in _LAYOUTS for each in wanted]
    return tuple(folder for folder in found if folder.is_dir() and any(_class_folders(folder)))


def _class_folders(folder: Path) -> list[Path]:
    return [each for each in subfolders(folder) if _WNID.fullmatch(each.name)]


def _class_names(root: Path, given: str) -> dict[str, str]:
    if given:
        file = Path(given).expanduser()
        if not file.is_file():
            raise DataError(f"imagenet: no file of class names at {file}")
        return _read_names(file)
    for file in (root / name for name in _NAME_FILES):
        if file.is_file():
            return _read_names(file)
    if importlib.util.find_spec("timm") is None:
        return {}
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    return {wnid: info.label_name_to_description(wnid) for wnid in info.label_names()}


def _read_names(file: Path) -> dict[str, str]:
    """Return names by WordNet id from JSON ``{index: [wnid, name]}`` or lines that hold a WordNet id, then the name."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        return {str(wnid): str(name).replace("_", " ") for wnid, name in json.loads(text).values()}
    names = {}
    for line in text.splitlines():
        found = _WNID.search(line)
        if found:
            name = line[found.end() :].strip().split(",")[0].replace("_", " ")
            names[found.group()] = name or found.group()
    return names
