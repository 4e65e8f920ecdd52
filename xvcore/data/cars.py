"""Stanford Cars: 196 models of cars, with official split and bounding boxes, in its old and its new layout."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xvcore.data.dataset import ClassInfo, ObjectBox, datasets, find_class
from xvcore.data.files import files_below
from xvcore.data.imagefolder import ImageFolder, existing_folder
from xvcore.data.matlab import read_mat, structs, texts, variable
from xvcore.data.splits import check_official
from xvcore.errors import DataError

_CORNERS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
_TEST = "cars_test_annos_withlabels.mat"


@dataclass(frozen=True, eq=False)
class Cars(ImageFolder):
    """Images of cars.

    Parameters
    ----------
    name, split, root, classes, places : see :class:`~xvcore.data.imagefolder.ImageFolder`
    box_of : the box of the car of each image
    """

    box_of: Mapping[str, ObjectBox]

    def boxes(self, class_id: str) -> tuple[ObjectBox, ...]:
        """Return the boxes of the cars of a class, sorted by image id; DataError where there is no such class."""
        info = find_class(self.name, self.classes, class_id)
        return tuple(
            self.box_of[image_id] for image_id in sorted(self.places[info.class_id]) if image_id in self.box_of
        )


@dataclass(frozen=True, slots=True)
class _Row:
    """An annotation: the image relative to the root, its split, the number of its class from 1, its box."""

    image_id: str
    split: str
    number: int
    box: ObjectBox | None


@datasets.register("cars")
def cars(path: str | None, *, split: str = "all") -> Cars:
    """Return the dataset ``cars:PATH[?split=train|test|all]`` (Krause et al., 3D object representations, 3DRR 2013).

    A class is called by number and name, ``001.AM_General_Hummer_SUV_2000``. Images that are listed but absent from
    the disk are left out, and classes without any image: a subset of the data works as it is.

    Parameters
    ----------
    path : folder with ``car_ims`` and ``cars_annos.mat``; or with ``cars_train``, ``cars_test``, a development kit of
        ``cars_meta.mat`` and ``cars_train_annos.mat``, and ``cars_test_annos_withlabels.mat`` (in the kit or beside)
    split : official split; ``all`` is both, or the training images alone where those of the test have no labels

    Raises
    ------
    DataError
        No such folder or split, not laid out as Stanford Cars, or no image on the disk.
    """
    check_official("cars", split)
    root = existing_folder("cars", path)
    root = root / "stanford_cars" if (root / "stanford_cars").is_dir() else root
    old = _find(root, "cars_annos.mat")
    if old is not None and (root / "car_ims").is_dir():
        rows, names = _old(old)
    else:
        rows, names = _new(root, split)
    wanted = [row for row in rows if split in (row.split, "all")]
    on_disk = {each for folder in {row.image_id.partition("/")[0] for row in wanted} for each in _files(root, folder)}
    found = [row for row in wanted if row.image_id in on_disk]
    if not found:
        raise DataError(f"dataset cars: none of the {len(wanted)} images of split {split!r} is in {root}")
    unknown = next((row for row in found if not 1 <= row.number <= len(names)), None)
    if unknown is not None:
        raise DataError(f"dataset cars: {unknown.image_id} is of class {unknown.number}, but there are {len(names)}")
    numbers = sorted({row.number for row in found})
    class_ids = {number: f"{number:03d}.{names[number - 1].replace(' ', '_').replace('/', '-')}" for number in numbers}
    places: dict[str, list[str]] = {class_id: [] for class_id in class_ids.values()}
    for row in found:
        places[class_ids[row.number]].append(row.image_id)
    return Cars(
        name=f"cars:{root}",
        split=split,
        root=root,
        classes=tuple(ClassInfo(class_ids[each], at, names[each - 1]) for at, each in enumerate(numbers)),
        places={class_id: tuple(image_ids) for class_id, image_ids in places.items()},
        box_of={row.image_id: row.box for row in found if row.box is not None},
    )


def _old(file: Path) -> tuple[list[_Row], list[str]]:
    content = read_mat(file)
    names = texts(variable(file, content, "class_names"))
    rows = []
    for each in structs(file, variable(file, content, "annotations")):
        split = "test" if _field(file, each, "test") else "train"
        rows.append(_row(file, each, str(_field(file, each, "relative_im_path")), split))
    return rows, names


def _new(root: Path, split: str) -> tuple[list[_Row], list[str]]:
    meta = _find(root, "cars_meta.mat")
    if meta is None:
        raise DataError(
            f"dataset cars: {root} has neither car_ims with cars_annos.mat nor cars_meta.mat (in it or in its devkit)"
        )
    names = texts(variable(meta, read_mat(meta), "class_names"))
    files = {"train": _find(root, "cars_train_annos.mat"), "test": _find(root, _TEST)}
    if split != "all" and files[split] is None:
        missing = "cars_train_annos.mat" if split == "train" else f"{_TEST} (cars_test_annos.mat has no classes)"
        raise DataError(f"dataset cars: split {split!r} of {root} needs {missing}")
    rows: list[_Row] = []
    for name, file in files.items():
        if file is None or split not in (name, "all"):
            continue
        folder = f"cars_{name}/cars_{name}" if (root / f"cars_{name}" / f"cars_{name}").is_dir() else f"cars_{name}"
        annotations = structs(file, variable(file, read_mat(file), "annotations"))
        rows.extend(_row(file, each, f"{folder}/{_field(file, each, 'fname')}", name) for each in annotations)
    return rows, names


def _row(file: Path, fields: Mapping[str, Any], image_id: str, split: str) -> _Row:
    """Return an annotation."""
    try:
        number = int(_field(file, fields, "class"))
        box = None
        if all(each in fields for each in _CORNERS):
            box = ObjectBox.between(image_id, *(float(fields[each]) for each in _CORNERS))
    except (TypeError, ValueError) as error:
        raise DataError(f"{file}: {image_id}: {error}") from error
    return _Row(image_id, split, number, box)


def _field(file: Path, fields: Mapping[str, Any], name: str) -> Any:
    if name not in fields:
        raise DataError(f"{file}: its annotations have no {name} (they have: {', '.join(fields)})")
    return fields[name]


def _find(root: Path, name: str) -> Path | None:
    places = (root, root / "devkit", root / "car_devkit", root / "car_devkit" / "devkit", root / "cars_devkit")
    return next((each / name for each in places if (each / name).is_file()), None)


def _files(root: Path, folder: str) -> Iterator[str]:
    """Yield the images of a folder of the root; a name that leads out of it is none of its folders."""
    if folder not in ("", ".", "..") and (root / folder).is_dir():
        yield from files_below(root, folder).images
