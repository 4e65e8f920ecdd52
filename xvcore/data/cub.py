"""CUB-200-2011: bird species with the locations of 15 parts, or any subset of its pictures."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from xvcore.data.dataset import ClassInfo, ImageRecord, PartBox, datasets, find_class
from xvcore.data.folders import chosen_split, existing_folder, read_file
from xvcore.errors import DataError


@dataclass(frozen=True)
class Cub:
    """Pictures that are listed **and** on disk; classes without any are left out.

    Parameters
    ----------
    root : folder ``CUB_200_2011``
    split : ``train``, ``test`` (the official split) or ``all``
    name : identity for run ids and tables
    """

    root: Path
    split: str
    name: str

    @cached_property
    def classes(self) -> tuple[ClassInfo, ...]:
        """Species in the order of their numbers; the id is the folder's name, e.g. ``014.Indigo_Bunting``."""
        names = _table(self.root / "classes.txt")
        present = {class_id for _, class_id, _ in self._listed}
        listed = [(int(number) - 1, name) for number, (name,) in names.items() if name in present]
        return tuple(ClassInfo(name, index, name.partition(".")[2].replace("_", " ") or name) for index, name in listed)

    def images(self, class_id: str) -> tuple[ImageRecord, ...]:
        """Return the pictures of a class; their id is their path below ``images``."""
        find_class(self.name, self.classes, class_id)
        records = [
            ImageRecord(path, str(self.root / "images" / path), class_id)
            for _, each, path in self._listed
            if each == class_id
        ]
        return tuple(sorted(records, key=lambda record: record.image_id))

    def read(self, record: ImageRecord) -> bytes:
        """Return the bytes of a picture's file."""
        return read_file(record)

    def parts(self, class_id: str) -> tuple[PartBox, ...]:
        """Return the part locations of the pictures of a class, as points in pixels of the original picture."""
        path_of = {number: path for number, each, path in self._listed if each == class_id}
        names = {number: " ".join(words) for number, words in _table(self.root / "parts" / "parts.txt").items()}
        found = []
        for line in (self.root / "parts" / "part_locs.txt").read_text().splitlines():
            number, part, x, y, visible = line.split()
            if number in path_of:
                place = float(x), float(y), 0.0, 0.0
                found.append(PartBox(path_of[number], names[part], *place, visible=visible == "1"))
        return tuple(sorted(found, key=lambda each: (each.image_id, each.part)))

    def boxes(self, class_id: str) -> dict[str, tuple[float, float, float, float]]:
        """Return the bird's bounding box in each picture of a class: x, y, w, h in pixels of the original picture."""
        path_of = {number: path for number, each, path in self._listed if each == class_id}
        found = {}
        for number, place in _table(self.root / "bounding_boxes.txt").items():
            if number in path_of:
                x, y, w, h = map(float, place)
                found[path_of[number]] = (x, y, w, h)
        return found

    @cached_property
    def _listed(self) -> list[tuple[str, str, str]]:
        """Number, class and path of each picture of the split that is on disk."""
        is_train = {number: flag == "1" for number, (flag,) in _table(self.root / "train_test_split.txt").items()}
        wanted = {"train": (True,), "test": (False,), "all": (True, False)}[self.split]
        listed = _table(self.root / "images.txt")
        rows = [(number, path.split("/")[0], path) for number, (path,) in listed.items() if is_train[number] in wanted]
        return [row for row in rows if (self.root / "images" / row[2]).is_file()]


@datasets.register("cub")
def cub(path: str | None, *, split: str = "all") -> Cub:
    """Open ``cub:PATH?split=train|test|all``; PATH is ``CUB_200_2011`` or the folder that holds it.

    Raises
    ------
    DataError
        A file of the dataset is missing, or none of its pictures is there.
    """
    folder = existing_folder("cub", path)
    root = folder / "CUB_200_2011" if (folder / "CUB_200_2011").is_dir() else folder
    chosen_split("cub", split, ("train", "test", "all"))
    for name in ("images.txt", "classes.txt", "train_test_split.txt", "bounding_boxes.txt", "parts/part_locs.txt"):
        if not (root / name).is_file():
            raise DataError(f"cub: {root} has no {name}; is it a CUB-200-2011 folder?")
    found = Cub(root, split, f"cub:{root}")
    if not found.classes:
        raise DataError(f"cub: none of the pictures of split {split!r} is in {root / 'images'}")
    return found


def _table(file: Path) -> dict[str, list[str]]:
    """Return the words of each line after its first word, which is a number."""
    rows = (line.split() for line in file.read_text().splitlines() if line.strip())
    return {number: words for number, *words in rows}
