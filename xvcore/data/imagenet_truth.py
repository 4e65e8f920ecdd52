"""Which class a flat validation image of ImageNet shows: read from the lists that people have of it.

Looked for in the folder of the images, in those above it up to the root, and in a development kit (``…devkit…``,
``caffe_ilsvrc12`` and the like) below these. A line tells a class in one of these ways, all lines of a file in the
same one:

* an image and a WordNet id: ``LOC_val_solution.csv`` of Kaggle, ``valprep.sh``, Tiny ImageNet's ``val_annotations.txt``
* an image and a number: ``val.txt`` of Caffe; the number counts the classes from 0 in the order of their WordNet ids,
  or as a list beside it says (:data:`ORDERS`)
* a WordNet id: ``imagenet_2012_validation_synset_labels.txt`` of TensorFlow; line i is of the image with number i
* a number: ``ILSVRC2012_validation_ground_truth.txt`` of the development kit, and that of 2015; which class it is, is
  said by ``map_clsloc.txt`` or ``meta.mat`` beside it; line i is of the image with number i
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xvcore.data.imagefolder import sub_folders
from xvcore.data.matlab import read_mat, structs, variable
from xvcore.errors import DataError

ORDERS = (
    "synsets.txt",
    "synset_words.txt",
    "imagenet_lsvrc_2015_synsets.txt",
    "LOC_synset_mapping.txt",
    "imagenet_class_index.json",
    "imagenet_wnids.txt",
    "imagenet_synsets.txt",
    "wnids.txt",
)
"""Files that list the classes in the order that numbers count them in."""
N_ILSVRC = 1000
_LISTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"LOC_val_solution\.csv",
        r"ILSVRC20\d\d_(\w+_)?validation_ground_truth\.txt",
        r"(imagenet_)?(\w+_)?validation_synset_labels\.txt|synset_labels\.txt",
        r"valprep\.sh",
        r"(ilsvrc(20\d\d)?_|imagenet_)?(val|valid|validation)(_?(list|labels?|map|annotations?|truth|gt|solution|images))?"
        r"\.(txt|csv|tsv|lst|json)",
    )
)
_KITS = re.compile(r"(.*[\W_])?devkit.*|(caffe_)?ilsvrc_?(20)?12|meta(data)?|labels?|truth|annotations?", re.IGNORECASE)
_IMAGE = re.compile(r"ILSVRC20\d\d_val_(\d{8})", re.IGNORECASE)
_WNID = re.compile(r"(?<![A-Za-z0-9])n\d{8}(?!\d)")
_ID = re.compile(r"ILSVRC20\d\d(_\w+)?_ID")


@dataclass(frozen=True, slots=True)
class _Line:
    """What a line tells: an image (its name without suffix), a WordNet id, a number; None for what it does not."""

    image: str | None
    wnid: str | None
    number: int | None

    @property
    def shape(self) -> tuple[bool, bool]:
        return self.image is not None, self.wnid is not None


@dataclass(frozen=True, slots=True)
class Near:
    """Flat validation images, and where lists of their classes are looked for.

    Parameters
    ----------
    root : of the dataset
    folder : that the images lie in
    files : their names
    order : gives the WordNet ids of the training images, sorted: what numbers count where there are as many
    """

    root: Path
    folder: Path
    files: tuple[str, ...]
    order: Callable[[], list[str]]

    def labels(self, hint: str = "") -> Mapping[str, str]:
        """Return the WordNet id of each image, by its name without suffix, from the nearest list that tells.

        Raises
        ------
        DataError
            There is no such list, or none that can be understood; the message says why, and ends with the hint.
        """
        problems = []
        for file in self._lists():
            try:
                return self.labels_of(file)
            except DataError as error:
                problems.append(str(error))
        reasons = f"; found, but not understood: {'; '.join(problems)}" if problems else ""
        raise DataError(
            f"dataset imagenet: {len(self.files)} validation images lie flat in {self.folder}, and nothing tells their "
            "classes; expected LOC_val_solution.csv, ILSVRC2012_validation_ground_truth.txt with map_clsloc.txt or "
            "meta.mat, val.txt, imagenet_2012_validation_synset_labels.txt, or any of them by ?truth=FILE"
            f"{reasons}{hint}"
        )

    def labels_of(self, file: Path) -> Mapping[str, str]:
        """Return the WordNet id of each image by its name without suffix, as a list tells it.

        Raises
        ------
        DataError
            It cannot be read, its lines tell different things, or a number is no class.
        """
        stems = {Path(name).stem for name in self.files}
        lines = _lines(file, stems)
        shapes = {line.shape for line in lines}
        if len(shapes) != 1:
            raise DataError(f"{file}: {'its lines tell different things' if shapes else 'no line tells a class'}")
        ((has_image, has_wnid),) = shapes
        if has_wnid:
            wnids = [line.wnid or "" for line in lines]
        else:
            numbers = [-1 if line.number is None else line.number for line in lines]
            wnids = self._by_index(file, numbers) if has_image else self._by_id(file, numbers)
        if has_image:
            return _once(file, [(line.image or "", wnid) for line, wnid in zip(lines, wnids, strict=True)])
        numbered = {stem: int(found[1]) for stem in stems if (found := _IMAGE.fullmatch(stem))}
        if not numbered:
            raise DataError(f"{file}: line i is of image number i, but the names of the images have no number")
        by_number = dict(enumerate(wnids, start=1))
        return {stem: by_number.get(number, "") for stem, number in numbered.items()}

    def _places(self) -> Iterator[Path]:
        """Yield the folders that are looked into, the nearest first."""
        top = self.root.parent if self.folder == self.root else self.root
        for place in (self.folder, *(each for each in self.folder.parents if each == top or top in each.parents)):
            kits = [place / each for each in sub_folders(place) if _KITS.fullmatch(each)]
            yield from (place, *kits, *(each / "data" for each in kits if (each / "data").is_dir()))

    def _lists(self) -> Iterator[Path]:
        """Yield the lists near the images; those of one folder in the order of :data:`_LISTS`."""
        for place in self._places():
            names = sorted(each.name for each in place.iterdir() if any(like.fullmatch(each.name) for like in _LISTS))
            for pattern in _LISTS:
                found = (place / name for name in names if pattern.fullmatch(name))
                yield from (file for file in found if file.is_file())

    def _by_index(self, file: Path, numbers: Sequence[int]) -> list[str]:
        """Return the classes that numbers from 0 mean."""
        most = max(numbers)
        source = next(
            (each / name for each in (file.parent, *self._places()) for name in ORDERS if (each / name).is_file()), None
        )
        if source is not None:
            wnid_of, counted = _read_order(source), str(source)
        elif len(training := self.order()) == most + 1:
            wnid_of, counted = dict(enumerate(training)), "the training folders"
        elif most == N_ILSVRC - 1 and find_spec("timm") is not None:
            wnids = import_module("timm.data").ImageNetInfo("imagenet-1k").label_names()
            wnid_of, counted = dict(enumerate(wnids)), "ImageNet-1k"
        else:
            expected = f"expected {ORDERS[0]} or {ORDERS[1]} beside it"
            raise DataError(f"{file}: numbers up to {most}, and nothing tells which class each is; {expected}")
        return _looked_up(file, numbers, wnid_of, counted)

    def _by_id(self, file: Path, numbers: Sequence[int]) -> list[str]:
        """Return the classes that numbers of a development kit mean."""
        for place in (file.parent, *self._places()):
            if (mapping := place / "map_clsloc.txt").is_file():
                rows = [line.split() for line in _text(mapping).splitlines() if line.strip()]
                wnid_of = {int(row[1]): row[0] for row in rows if len(row) > 1 and row[1].isdecimal()}
                return _looked_up(file, numbers, wnid_of, str(mapping))
            if tables := sorted(each for each in place.iterdir() if re.fullmatch(r"meta\w*\.mat", each.name)):
                return _looked_up(file, numbers, _ids(tables[0]), str(tables[0]))
        raise DataError(f"{file}: its numbers are those of map_clsloc.txt or meta.mat, and neither lies beside it")


def _looked_up(file: Path, numbers: Sequence[int], wnid_of: Mapping[int, str], source: str) -> list[str]:
    unknown = next((number for number in numbers if number not in wnid_of), None)
    if unknown is not None:
        raise DataError(f"{file}: number {unknown} is none of the {len(wnid_of)} classes of {source}")
    return [wnid_of[number] for number in numbers]


def _lines(file: Path, stems: set[str]) -> list[_Line]:
    """Return what the lines of a list tell; of a script only those that name an image."""
    text = _text(file)
    if file.suffix.lower() == ".json":
        written = [f"{image} {label}" for image, label in _json(file, text).items()]
    else:
        written = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    lines = [_line(line, stems) for line in written]
    if file.suffix.lower() == ".sh":
        return [line for line in lines if line is not None and line.image is not None]
    if lines and lines[0] is None:
        del written[0], lines[0]  # a header
    for words, line in zip(written, lines, strict=True):
        if line is None:
            raise DataError(f"{file}: {words[:80]!r} tells no class")
    return [line for line in lines if line is not None]


def _line(line: str, stems: set[str]) -> _Line | None:
    words = re.split(r"[\s,;\"']+", line.strip())
    image = next((word for word in words if Path(word).stem in stems or _IMAGE.search(word)), None)
    stem = None
    if image is not None:
        numbered = _IMAGE.search(image)
        stem = numbered[0] if numbered else Path(image).stem
    wnid = _WNID.search(line)
    if wnid:
        return _Line(stem, wnid[0], None)
    numbers = [word for word in words if word != image and re.fullmatch(r"\d+(\.0*)?", word)]
    # MXNet's lists have a running number in front.
    if len(numbers) == 1 or (len(numbers) == 2 and words[-1] == image):
        return _Line(stem, None, int(float(numbers[-1])))
    return None


def _ids(file: Path) -> dict[int, str]:
    """Return the WordNet id of each number of a development kit's table."""
    synsets = structs(file, variable(file, read_mat(file), "synsets"))
    key = next((name for name in synsets[0] if _ID.fullmatch(name)), None) if synsets else None
    if key is None or "WNID" not in synsets[0]:
        raise DataError(f"{file}: its synsets have no ILSVRC2012_ID and WNID")
    return {int(each[key]): str(each["WNID"]) for each in synsets}


def _read_order(file: Path) -> dict[int, str]:
    """Return the WordNet id of each number, which is the line's own where it has one, else counts the lines from 0."""
    text = _text(file)
    if file.suffix == ".json":
        numbered = [(number, str(label)) for number, label in _json(file, text).items()]
    else:
        lines = [line for line in text.splitlines() if line.strip()]
        own = [re.match(r"\s*(\d+)[\s,]", line) for line in lines]
        numbered = [
            (found[1] if found else str(at), line) for at, (found, line) in enumerate(zip(own, lines, strict=True))
        ]
    labels = {int(number): wnid[0] for number, line in numbered if number.isdecimal() and (wnid := _WNID.search(line))}
    if len(labels) != len(numbered) or not labels:
        raise DataError(f"{file}: expected a number and a WordNet id for each class")
    return labels


def _once(file: Path, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for image, wnid in pairs:
        if labels.setdefault(image, wnid) != wnid:
            raise DataError(f"{file}: image {image} is both {labels[image]} and {wnid}")
    return labels


def _json(file: Path, text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DataError(f"{file}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{file}: expected a JSON object, found {type(content).__name__}")
    return content


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as a text: {error}") from error
