"""CUB-200-2011: 200 kinds of birds with official split, part locations and bounding boxes."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from xvcore.data.dataset import ClassInfo, ObjectBox, PartBox, datasets
from xvcore.data.files import files_below
from xvcore.data.imagefolder import ImageFolder, existing_folder
from xvcore.data.splits import check_official
from xvcore.errors import DataError

Row = TypeVar("Row")


@dataclass(frozen=True, eq=False)
class Cub(ImageFolder):
    """Images of birds; annotations are read when they are first asked for.

    Parameters
    ----------
    name, split, root, classes, places : see :class:`~xvcore.data.imagefolder.ImageFolder`
    numbers : image id of each of the dataset's image numbers, which its other files refer to
    """

    numbers: Mapping[str, str]

    def parts(self, class_id: str) -> tuple[PartBox, ...]:
        """Return the part locations of a class: points (w = h = 0), sorted by image id, parts in the file's order."""
        return tuple(part for record in self.images(class_id) for part in self._parts.get(record.image_id, ()))

    def boxes(self, class_id: str) -> tuple[ObjectBox, ...]:
        """Return the bounding boxes of the birds of a class, sorted by image id."""
        found = (self._boxes.get(record.image_id) for record in self.images(class_id))
        return tuple(box for box in found if box is not None)

    @functools.cached_property
    def _parts(self) -> Mapping[str, list[PartBox]]:
        folder = self.root.parent / "parts"
        if not folder.is_dir():
            return {}
        names = dict(_rows(folder / "parts.txt", lambda row: (row[0], " ".join(row[1:]))))
        found: dict[str, list[PartBox]] = {}
        for number, part, x, y, visible in _rows(folder / "part_locs.txt", _location):
            if part not in names:
                raise DataError(f"{folder / 'part_locs.txt'}: part {part!r} is not in parts.txt")
            if image_id := self.numbers.get(number):
                box = PartBox(image_id, names[part], x, y, w=0.0, h=0.0, visible=visible)
                found.setdefault(image_id, []).append(box)
        return found

    @functools.cached_property
    def _boxes(self) -> Mapping[str, ObjectBox]:
        file = self.root.parent / "bounding_boxes.txt"
        rows = _rows(file, _box) if file.is_file() else []
        boxes = ((self.numbers.get(number), place) for number, place in rows)
        return {image_id: ObjectBox(image_id, *place) for image_id, place in boxes if image_id is not None}


@datasets.register("cub")
def cub(path: str | None, *, split: str = "all") -> Cub:
    """Return the dataset ``cub:PATH[?split=train|test|all]`` (Wah et al., Caltech-UCSD Birds-200-2011, 2011).

    Images that are listed but absent from the disk are left out, and classes without any image: a subset of the data
    works as it is.

    Parameters
    ----------
    path : the folder ``CUB_200_2011`` or the one that holds it
    split : official split; ``all`` is both

    Raises
    ------
    DataError
        No such folder or split, not laid out as CUB-200-2011, or no image on the disk.
    """
    check_official("cub", split)
    folder = existing_folder("cub", path)
    folder = folder / "CUB_200_2011" if (folder / "CUB_200_2011").is_dir() else folder
    numbers = _images(folder, split)
    label_of = dict(_rows(folder / "image_class_labels.txt", _pair))
    places: dict[str, list[str]] = {}
    for number, image_id in numbers.items():
        places.setdefault(label_of.get(number, ""), []).append(image_id)
    names = dict(_rows(folder / "classes.txt", _pair))
    if unknown := places.keys() - names.keys():
        image_id = places[min(unknown)][0]
        raise DataError(f"dataset cub: {folder} has no class for {image_id} in image_class_labels.txt and classes.txt")
    class_ids = sorted(names[label] for label in places)
    return Cub(
        name=f"cub:{folder}",
        split=split,
        root=folder / "images",
        classes=tuple(ClassInfo(class_id, index, _spoken(class_id)) for index, class_id in enumerate(class_ids)),
        places={names[label]: tuple(image_ids) for label, image_ids in places.items()},
        numbers=numbers,
    )


def _images(folder: Path, split: str) -> dict[str, str]:
    """Return number and image id of every image of a split that is on the disk."""
    numbers = dict(_rows(folder / "images.txt", _pair))
    if split != "all":
        is_train = dict(_rows(folder / "train_test_split.txt", _pair))
        wanted = "1" if split == "train" else "0"
        numbers = {number: image_id for number, image_id in numbers.items() if is_train.get(number) == wanted}
    on_disk = set(files_below(folder, "images").images)
    found = {number: image_id for number, image_id in numbers.items() if f"images/{image_id}" in on_disk}
    if not found:
        raise DataError(f"dataset cub: none of the {len(numbers)} images of split {split!r} is in {folder / 'images'}")
    return found


def _rows(file: Path, parse: Callable[[list[str]], Row]) -> list[Row]:
    """Return what ``parse`` makes of each line, split at white space."""
    if not file.is_file():
        raise DataError(f"dataset cub: {file} does not exist; expected the folder CUB_200_2011 or its parent")
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows.append(parse(line.split()))
        except (ValueError, IndexError) as error:
            raise DataError(f"{file}, line {number}: {line!r} cannot be understood ({error})") from error
    return rows


def _pair(row: list[str]) -> tuple[str, str]:
    first, second = row
    return first, second


def _location(row: list[str]) -> tuple[str, str, float, float, bool]:
    number, part, x, y, visible = row
    return number, part, float(x), float(y), visible == "1"


def _box(row: list[str]) -> tuple[str, tuple[float, ...]]:
    number, x, y, w, h = row
    return number, (float(x), float(y), float(w), float(h))


def _spoken(class_id: str) -> str:
    """Return ``"Indigo Bunting"`` for ``"014.Indigo_Bunting"``."""
    return class_id.partition(".")[2].replace("_", " ") or class_id
