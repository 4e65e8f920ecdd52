"""ImageNet (ILSVRC): folders named by WordNet id, in the layouts in which people have it on disk."""

import csv
import json
import logging
import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from xvcore.data.dataset import ClassInfo, datasets
from xvcore.data.imagefolder import ImageFolder, existing_folder, has_images, is_image, sub_folders
from xvcore.errors import DataError, unknown_name
from xvcore.keys import typed_path

logger = logging.getLogger(__name__)

SPLITS = ("train", "val")
NAME_FILES = (
    "LOC_synset_mapping.txt",
    "imagenet_wnids.txt",
    "imagenet_class_index.json",
    "synset_words.txt",
    "words.txt",
)
"""Files with class names that are looked for in the root, in this order."""
_WNID = re.compile(r"n\d{8}")
_NAME_LINE = re.compile(r"\s*(?:\d+[\s,]+)?(n\d{8})[\s,]+(\S.*)")
_Places = dict[str, list[str]]


@datasets.register("imagenet")
def imagenet(path: str | None, *, split: str = "all", names: str | None = None) -> ImageFolder:
    """Return the dataset ``imagenet:PATH[?split=train|val|all][&names=FILE]`` (Russakovsky et al., IJCV 2015).

    Layouts: ``PATH/{train,val}/WNID/``, ``PATH/WNID/``, and Kaggle's ``PATH/ILSVRC/Data/CLS-LOC/{train,val}/``. A
    flat ``val`` folder needs ``LOC_val_solution.csv`` in PATH, or ``ILSVRC2012_validation_ground_truth.txt`` with
    ``map_clsloc.txt`` (in PATH or in ``ILSVRC2012_devkit_t12/data`` or ``devkit/data`` below it).

    Parameters
    ----------
    path : see above
    split : ``all`` is everything there is
    names : file with class names, lines ``[index] WNID name`` or JSON ``{"index": [WNID, name]}``; without it, one of
        :data:`NAME_FILES` in PATH, else timm's names where timm is installed, else the WordNet id. Of synonyms, the
        first is taken.

    Raises
    ------
    DataError
        No such folder, split or names file, or no folder named by a WordNet id.
    """
    root = existing_folder("imagenet", path)
    found = _splits(root)
    if not found:
        raise DataError(
            f"dataset imagenet: {root} has no classes; expected folders named by WordNet id (n01558993) with images, "
            "in it or in its train or val; imagefolder: takes other names"
        )
    if split != "all" and split not in found:
        raise DataError(str(unknown_name(f"split of {root}:", split, ["all", *(each for each in found if each)])))
    chosen = found.values() if split == "all" else [found[split]]
    wnids = sorted({wnid for places in chosen for wnid in places})
    known = _names(root, names, wnids)
    return ImageFolder(
        name=f"imagenet:{root}",
        split=split,
        root=root,
        classes=tuple(ClassInfo(wnid, index, known.get(wnid, wnid), wnid) for index, wnid in enumerate(wnids)),
        places={wnid: tuple(place for places in chosen for place in places.get(wnid, ())) for wnid in wnids},
    )


def _splits(root: Path) -> dict[str, _Places]:
    """Return the folders (or files) of each class for each split found; the key ``""`` stands for no splits.

    A folder that is itself called train or val is that split.
    """
    if places := _class_folders(root, ""):
        return {root.name if root.name in SPLITS else "": places}
    found: dict[str, _Places] = {}
    for base in ("", "ILSVRC/Data/CLS-LOC/", "Data/CLS-LOC/"):
        for split in SPLITS:
            folder = base + split
            if split not in found and (root / folder).is_dir():
                places = _class_folders(root, f"{folder}/") or (_flat_files(root, folder) if split == "val" else {})
                if places:
                    found[split] = places
    return found


def _class_folders(root: Path, base: str) -> _Places:
    wnids = [name for name in sub_folders(root / base) if _WNID.fullmatch(name)]
    return {wnid: [base + wnid] for wnid in wnids if has_images(root, base + wnid)}


def _flat_files(root: Path, folder: str) -> _Places:
    files = sorted(each.name for each in (root / folder).iterdir() if is_image(each.name))
    if not files:
        return {}
    labels = _validation_labels(root, files)
    places: _Places = {}
    for name in files:
        if wnid := labels.get(Path(name).stem):
            places.setdefault(wnid, []).append(f"{folder}/{name}")
    if unlabelled := len(files) - sum(map(len, places.values())):
        logger.warning("%s: %d images have no label and are left out", root / folder, unlabelled)
    return places


def _validation_labels(root: Path, files: list[str]) -> Mapping[str, str]:
    """Return the WordNet id of each validation image by its name without suffix."""
    solution = root / "LOC_val_solution.csv"
    if solution.is_file():
        with solution.open(newline="", encoding="utf-8") as lines:
            rows = [row for row in csv.reader(lines) if len(row) > 1]
        return {row[0]: row[1].split()[0] for row in rows if _WNID.match(row[1])}
    for place in (root, root / "ILSVRC2012_devkit_t12/data", root / "devkit/data"):
        truth, mapping = place / "ILSVRC2012_validation_ground_truth.txt", place / "map_clsloc.txt"
        if truth.is_file() and mapping.is_file():
            wnid_of = {row[1]: row[0] for row in (line.split() for line in mapping.read_text().splitlines()) if row}
            numbers = truth.read_text().split()
            # Line i of the ground truth belongs to the image with number i.
            return {f"ILSVRC2012_val_{i:08d}": wnid_of.get(number, "") for i, number in enumerate(numbers, start=1)}
    raise DataError(
        f"dataset imagenet: {len(files)} validation images lie flat in {root}, and nothing tells their classes; "
        "expected LOC_val_solution.csv, or ILSVRC2012_validation_ground_truth.txt with map_clsloc.txt"
    )


def _names(root: Path, names: str | None, wnids: list[str]) -> Mapping[str, str]:
    if names is not None:
        given = typed_path(names, "names of classes", DataError)
        if not given.is_file():
            raise DataError(f"dataset imagenet: the file of class names {names} does not exist")
        found = _read_names(given)
        if not found:
            raise DataError(f"{given}: no class names; expected lines like 'n01558993 robin' or JSON of an index")
        return found
    for name in NAME_FILES:
        if (root / name).is_file():
            return _read_names(root / name)
    return _timm_names(wnids)


def _read_names(file: Path) -> dict[str, str]:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        try:
            pairs = [tuple(pair) for pair in json.loads(text).values()]
            return {wnid: _first(name) for wnid, name in pairs}
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{file}: expected JSON like {{'0': ['n01440764', 'tench']}} ({error})") from error
    lines = (_NAME_LINE.fullmatch(line) for line in text.splitlines())
    return {line[1]: _first(line[2]) for line in lines if line}


def _timm_names(wnids: list[str]) -> dict[str, str]:
    if find_spec("timm") is None:
        return {}
    info = import_module("timm.data").ImageNetInfo("imagenet-22k")
    known = set(info.label_names())
    return {wnid: _first(info.label_name_to_description(wnid)) for wnid in wnids if wnid in known}


def _first(names: str) -> str:
    return names.partition(",")[0].replace("_", " ").strip()
