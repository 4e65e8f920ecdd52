"""FunnyBirds: rendered birds whose class is fixed by five parts, with maps of the parts and pictures without some.

``images`` and ``parts`` serve the runs as those of any dataset. What measures of explanations need beside them:
:meth:`FunnyBirds.part_masks` (where each part is seen), :meth:`FunnyBirds.interventions` and
:meth:`FunnyBirds.without` (the same scene with parts, or an object of the background, taken away),
:meth:`FunnyBirds.differing_parts` (what tells two classes apart) and :meth:`FunnyBirds.scene`.
"""

import functools
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, UInt8

from xvcore.data.dataset import ClassInfo, ImageRecord, PartBox, datasets, find_class
from xvcore.data.decode import decode
from xvcore.data.files import has_images
from xvcore.data.imagefolder import ImageFolder, existing_folder, images_in, sub_folders
from xvcore.data.splits import check_official
from xvcore.errors import DataError, ImageError, unknown_name

SPLITS = ("train", "test")
COLOURS: Final[Mapping[str, tuple[tuple[int, int, int], ...]]] = MappingProxyType(
    {
        "beak": ((255, 255, 0),),
        "eye": ((255, 255, 253), (255, 255, 254)),
        "foot": ((255, 0, 1), (255, 0, 2)),
        "tail": ((0, 0, 255),),
        "wing": ((0, 255, 1), (0, 255, 2)),
        "body": ((170, 170, 170),),
    }
)
"""Colours of a part map, exactly: those of the two eyes, feet and wings are two. Mixed ones of edges belong to none."""
_OBJECTS = (204, 204)
"""Red and green of objects of the background; the i-th one has the blue 204 + i."""
_ABSENT = "placeholder"


@dataclass(frozen=True, slots=True)
class Intervention:
    """A picture of the same scene with something taken away.

    Parameters
    ----------
    record : the picture; the dataset reads it as it reads an image
    removed : parts that are not there, sorted; empty where an object of the background is away
    background : number of the object of the background that is away, None where parts are
    """

    record: ImageRecord
    removed: tuple[str, ...]
    background: int | None = None


@dataclass(frozen=True, eq=False)
class FunnyBirds(ImageFolder):
    """Images of rendered birds; scenes and maps are read when they are first asked for.

    Parameters
    ----------
    name, split, root, classes, places : see :class:`~xvcore.data.imagefolder.ImageFolder`
    models : for each class id and part, the number of its model among those of this part
    """

    models: Mapping[str, Mapping[str, int]]

    @property
    def part_names(self) -> tuple[str, ...]:
        """The parts that classes are told by, sorted."""
        return tuple(sorted({part for models in self.models.values() for part in models}))

    def parts(self, class_id: str) -> tuple[PartBox, ...]:
        """Return the box of what is seen of each part, from the maps; none where there are no maps.

        A part of which no pixel is seen (hidden, or taken away) is not visible. Decisive is a part that is seen and
        without which the class is not told from another one of the dataset: some class differs in this part alone.
        """
        info = find_class(self.name, self.classes, class_id)
        decisive = self._decisive(info.class_id)
        found: list[PartBox] = []
        for record in self.images(class_id):
            if not self.has_map(record):
                continue
            masks = self.part_masks(record)
            found.extend(_box(record.image_id, part, masks[part], part in decisive) for part in self.part_names)
        return tuple(found)

    def has_map(self, record: ImageRecord) -> bool:
        """Say whether there is a map of the parts of an image."""
        return self._map_file(record).is_file()

    def part_map(self, record: ImageRecord) -> UInt8[np.ndarray, "height width 3"]:
        """Return the map of an image in its colours (:data:`COLOURS`), which are to be compared exactly.

        Raises
        ------
        DataError
            There is none, or it cannot be read.
        """
        return _map(self._map_file(record))

    def part_masks(self, record: ImageRecord) -> dict[str, Bool[np.ndarray, "height width"]]:
        """Return where each part is seen, and the ``body``.

        Raises
        ------
        DataError
            There is no map, or it cannot be read.
        """
        pixels = _packed(self.part_map(record))
        return {part: np.isin(pixels, [_pack(each) for each in colours]) for part, colours in COLOURS.items()}

    def background_masks(self, record: ImageRecord) -> dict[int, Bool[np.ndarray, "height width"]]:
        """Return where each object of the background is seen, by its number; objects that are hidden are left out.

        Raises
        ------
        DataError
            There is no map, or it cannot be read.
        """
        pixels = self.part_map(record)
        is_object = (pixels[..., 0] == _OBJECTS[0]) & (pixels[..., 1] == _OBJECTS[1]) & (pixels[..., 2] >= _OBJECTS[1])
        numbers = pixels[..., 2].astype(int) - _OBJECTS[1]
        return {int(number): is_object & (numbers == number) for number in np.unique(numbers[is_object])}

    def interventions(self, record: ImageRecord) -> tuple[Intervention, ...]:
        """Return the pictures there are of the scene of an image with something taken away.

        Fewest parts first, then by their names; objects of the background last, by number. Empty where there are none.
        """
        folder = self._interventions(record)
        if not (self.root / folder).is_dir():
            return ()
        found = [each for name in images_in(self.root / folder) if (each := self._intervention(record, folder, name))]
        found.sort(key=lambda each: (len(each.removed), each.removed))
        background = f"{folder}/background_interventions"
        if (self.root / background).is_dir():
            numbered = [name for name in images_in(self.root / background) if Path(name).stem.isdecimal()]
            for name in sorted(numbered, key=lambda name: int(Path(name).stem)):
                path = f"{background}/{name}"
                found.append(Intervention(self._record(path, record.class_id), (), int(Path(name).stem)))
        return tuple(found)

    def without(self, record: ImageRecord, parts: Collection[str]) -> ImageRecord:
        """Return the picture of the scene of an image without some parts and with all others.

        Raises
        ------
        DataError
            A part that there is not, or there is no such picture.
        """
        for part in parts:
            if part not in self.part_names:
                raise DataError(str(unknown_name("part of a bird", part, self.part_names)))
        wanted = tuple(sorted(set(parts)))
        there = [each for each in self.interventions(record) if each.background is None]
        for each in there:
            if each.removed == wanted:
                return each.record
        known = "; ".join(" and ".join(each.removed) or "nothing" for each in there) or "none"
        raise DataError(
            f"{self.name}: no picture of {record.image_id} without {' and '.join(wanted)} (there are: {known})"
        )

    def differing_parts(self, class_id: str, other_id: str) -> tuple[str, ...]:
        """Return the parts in which two classes differ, sorted; DataError where there is no such class."""
        one, other = (self.models[find_class(self.name, self.classes, each).class_id] for each in (class_id, other_id))
        return tuple(part for part in self.part_names if one.get(part) != other.get(part))

    def scene(self, record: ImageRecord) -> Mapping[str, Any]:
        """Return the parameters an image was rendered with: camera, light, model and colour of each part, background.

        Raises
        ------
        DataError
            There is no list of scenes, or the image is not in it.
        """
        split, _, number = self._address(record)
        scenes = self._scenes(split)
        if not number < len(scenes):
            raise DataError(f"{self.name}: {record.image_id} is not among the {len(scenes)} scenes of {split}")
        return scenes[number]

    def present_parts(self, record: ImageRecord) -> tuple[str, ...]:
        """Return the parts that the bird of an image was rendered with, seen or not: training images lack some."""
        scene = self.scene(record)
        return tuple(part for part in self.part_names if scene.get(f"{part}_model", _ABSENT) != _ABSENT)

    def _decisive(self, class_id: str) -> set[str]:
        """Return the parts that are all in which some other class differs."""
        differing = [
            self.differing_parts(class_id, each.class_id) for each in self.classes if each.class_id != class_id
        ]
        return {parts[0] for parts in differing if len(parts) == 1}

    def _address(self, record: ImageRecord) -> tuple[str, str, int]:
        """Return split, class and number of an image."""
        found = re.fullmatch(r"(train|test)/(\d+)/(\d+)\.\w+", record.image_id)
        if found is None:
            raise DataError(f"{self.name}: {record.image_id!r} is no image (expected SPLIT/CLASS/NUMBER.png)")
        return found[1], found[2], int(found[3])

    def _map_file(self, record: ImageRecord) -> Path:
        split, class_id, _ = self._address(record)
        return self.root / f"{split}_part_map" / class_id / Path(record.image_id).name

    def _interventions(self, record: ImageRecord) -> str:
        split, class_id, _ = self._address(record)
        return f"{split}_interventions/{class_id}/{Path(record.image_id).stem}"

    def _intervention(self, record: ImageRecord, folder: str, name: str) -> Intervention | None:
        words = Path(name).stem.split("_")
        kept = [word for word in words[1:] if word]
        if words[0] != "body" or not set(kept) <= set(self.part_names):
            return None
        removed = tuple(part for part in self.part_names if part not in kept)
        return Intervention(self._record(f"{folder}/{name}", record.class_id), removed)

    def _record(self, image_id: str, class_id: str) -> ImageRecord:
        return ImageRecord(image_id, str(self.root / image_id), class_id)

    @functools.cached_property
    def _read_scenes(self) -> dict[str, Sequence[Mapping[str, Any]]]:
        return {}

    def _scenes(self, split: str) -> Sequence[Mapping[str, Any]]:
        if split not in self._read_scenes:
            file = self.root / f"dataset_{split}.json"
            self._read_scenes[split] = _structs(file, _json(file))
        return self._read_scenes[split]


@datasets.register("funnybirds")
def funnybirds(path: str | None, *, split: str = "all") -> FunnyBirds:
    """Return the dataset ``funnybirds:PATH[?split=train|test|all]`` (Hesse, Schaub-Meyer, Roth, FunnyBirds, ICCV 2023).

    A class is called by its number, and named after the models of its parts. Classes without any image on the disk are
    left out, and so may be maps and interventions: a subset of the data works as it is.

    Parameters
    ----------
    path : folder with ``classes.json``, ``parts.json`` and ``train/CLASS/``, ``test/CLASS/``; beside them
        ``train_part_map``, ``test_interventions``, ``dataset_train.json`` and the like
    split : ``all`` is both

    Raises
    ------
    DataError
        No such folder or split, not laid out as FunnyBirds, or no image on the disk.
    """
    check_official("funnybirds", split)
    root = existing_folder("funnybirds", path)
    file = root / "classes.json"
    models = {}
    for each in _structs(file, _json(file)):
        number, parts = each.get("class_idx"), each.get("parts")
        is_named = isinstance(number, int) and isinstance(parts, dict) and set(parts) <= set(COLOURS)
        if not is_named or not isinstance(parts, dict) or not all(isinstance(each, int) for each in parts.values()):
            raise DataError(f"{file}: {each!r:.120} is no class; expected class_idx and parts ({', '.join(COLOURS)})")
        models[str(number)] = dict(parts)
    places: dict[str, tuple[str, ...]] = {}
    for class_id in sorted(models, key=int):
        folders = (f"{each}/{class_id}" for each in SPLITS if split in (each, "all"))
        if found := tuple(each for each in folders if (root / each).is_dir() and has_images(root, each)):
            places[class_id] = found
    if not places:
        known = [each for each in sub_folders(root) if each in SPLITS]
        raise DataError(
            f"{root}: no image of the {len(models)} classes in split {split!r} (folders: {known or 'none'})"
        )
    names = _model_names(root / "parts.json")
    return FunnyBirds(
        name=f"funnybirds:{root}",
        split=split,
        root=root,
        classes=tuple(ClassInfo(each, at, _spoken(models[each], names)) for at, each in enumerate(places)),
        places=places,
        models={each: models[each] for each in places},
    )


def _spoken(models: Mapping[str, int], names: Mapping[str, Sequence[str]]) -> str:
    """Return ``"beak01 eye03 foot03 tail03-red wing02-red"``."""
    parts = sorted(models)
    for part in parts:
        if not 0 <= models[part] < len(names.get(part, ())):
            raise DataError(
                f"parts.json has {len(names.get(part, ()))} models of {part}, but a class wants {models[part]}"
            )
    return " ".join(names[part][models[part]] for part in parts)


def _model_names(file: Path) -> dict[str, list[str]]:
    """Return what the models of each part are called; a colour is said where a part comes in several."""
    content = _json(file)
    if not isinstance(content, dict):
        raise DataError(f"{file}: expected an object with a list of models for each part")
    names = {}
    for part, models in content.items():
        rows = _structs(file, models)
        has_colours = len({row.get("color") for row in rows}) > 1
        names[part] = [
            Path(str(row.get("model"))).stem + (f"-{row['color']}" if has_colours and "color" in row else "")
            for row in rows
        ]
    return names


def _map(file: Path) -> UInt8[np.ndarray, "height width 3"]:
    try:
        return np.asarray(decode(file.read_bytes()))
    except FileNotFoundError as error:
        raise DataError(f"there is no map of the parts {file}") from error
    except (OSError, ImageError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error


def _pack(colour: Sequence[int]) -> int:
    return (colour[0] << 16) + (colour[1] << 8) + colour[2]


def _packed(pixels: UInt8[np.ndarray, "height width 3"]) -> np.ndarray:
    wide = pixels.astype(np.uint32)
    packed: np.ndarray = (wide[..., 0] << 16) + (wide[..., 1] << 8) + wide[..., 2]
    return packed


def _box(image_id: str, part: str, mask: Bool[np.ndarray, "height width"], is_decisive: bool) -> PartBox:  # noqa: FBT001
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return PartBox(image_id, part, 0.0, 0.0, 0.0, 0.0, visible=False)
    x, y = float(columns[0]), float(rows[0])
    w, h = float(columns[-1] + 1) - x, float(rows[-1] + 1) - y
    return PartBox(image_id, part, x, y, w, h, visible=True, decisive=is_decisive)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"dataset funnybirds: {file} does not exist; expected the folder of FunnyBirds") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as JSON: {error}") from error


def _structs(file: Path, value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise DataError(f"{file}: expected a list of objects, found {value!r:.60}")
    return value
