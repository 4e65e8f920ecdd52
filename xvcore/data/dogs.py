"""Stanford Dogs: 120 breeds that are classes of ImageNet, with official split and bounding boxes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from xvcore.data.dataset import ObjectBox, datasets
from xvcore.data.files import files_below
from xvcore.data.imagefolder import ImageFolder, class_of_folder, existing_folder
from xvcore.data.matlab import read_mat, texts, variable
from xvcore.data.splits import check_official
from xvcore.errors import DataError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_MOST = 1_000_000
"""Bytes of an annotation that is read."""


@dataclass(frozen=True, eq=False)
class Dogs(ImageFolder):
    """Images of dogs; annotations are read when they are asked for."""

    def boxes(self, class_id: str) -> tuple[ObjectBox, ...]:
        """Return the bounding boxes of the dogs of a class, sorted by image id; an image may have several, or none.

        Raises
        ------
        DataError
            No such class, or an annotation that cannot be understood.
        """
        above = self.root.parent
        places = (above / "Annotation", above.parent / "annotations" / "Annotation")
        folder = next((each for each in places if each.is_dir()), places[0])
        files = ((record.image_id, folder / Path(record.image_id).with_suffix("")) for record in self.images(class_id))
        return tuple(box for image_id, file in files if file.is_file() for box in _boxes(file, image_id))


@datasets.register("dogs")
def dogs(path: str | None, *, split: str = "all") -> Dogs:
    """Return the dataset ``dogs:PATH[?split=train|test|all]`` (Khosla et al., Stanford Dogs, FGVC workshop 2011).

    A class is a folder, as ``n02085620-Chihuahua``. Images that are listed but absent from the disk are left out, and
    classes without any image: a subset of the data works as it is.

    Parameters
    ----------
    path : folder that holds ``Images``, ``Annotation``, and ``train_list.mat`` and ``test_list.mat`` (in it or in its
        ``lists``)
    split : official split; ``all`` is every image on the disk

    Raises
    ------
    DataError
        No such folder or split, not laid out as Stanford Dogs, or no image on the disk.
    """
    check_official("dogs", split)
    folder = existing_folder("dogs", path)
    root = next(
        (each for each in (folder / "Images", folder / "images" / "Images", folder / "images") if each.is_dir()), None
    )
    if root is None:
        raise DataError(
            f"dataset dogs: {folder} has no folder Images; expected Stanford Dogs: Images, Annotation, lists"
        )
    on_disk = [each.removeprefix("./") for each in files_below(root, ".").images]
    if split == "all":
        image_ids = on_disk
    else:
        listed = _listed(folder, f"{split}_list.mat")
        image_ids = [each for each in on_disk if each in listed]
    places: dict[str, list[str]] = {}
    for image_id in image_ids:
        breed, slash, _ = image_id.partition("/")
        if slash:
            places.setdefault(breed, []).append(image_id)
    if not places:
        raise DataError(f"dataset dogs: none of the images of split {split!r} is in {root}")
    return Dogs(
        name=f"dogs:{folder}",
        split=split,
        root=root,
        classes=tuple(class_of_folder(breed, index) for index, breed in enumerate(sorted(places))),
        places={breed: tuple(found) for breed, found in places.items()},
    )


def _listed(folder: Path, name: str) -> set[str]:
    file = next((each for each in (folder / name, folder / "lists" / name) if each.is_file()), None)
    if file is None:
        raise DataError(f"dataset dogs: {folder} has no {name}, neither in itself nor in its folder lists")
    return set(texts(variable(file, read_mat(file), "file_list")))


def _boxes(file: Path, image_id: str) -> Iterator[ObjectBox]:
    """Yield the boxes of an annotation."""
    try:
        with file.open("rb") as opened:
            data = opened.read(_MOST + 1)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error
    if len(data) > _MOST:
        raise DataError(f"{file}: more than {_MOST} bytes are no annotation")
    text = data.decode("utf-8", "replace")
    if re.search(r"<!(DOCTYPE|ENTITY)", text):
        raise DataError(f"{file}: an annotation defines no entities")
    try:
        for box in ElementTree.fromstring(text).iter("bndbox"):
            yield ObjectBox.between(image_id, *(float(box.findtext(each, "")) for each in _CORNERS))
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{file} is no annotation that can be understood: {error}") from error
