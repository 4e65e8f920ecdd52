"""ImageNet (ILSVRC): folders named by WordNet id, in the layouts in which people have it on disk."""

import functools
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from xvcore.data.dataset import ClassInfo, datasets
from xvcore.data.files import has_images
from xvcore.data.imagefolder import ImageFolder, existing_folder, images_in, sub_folders, wnid_in_front
from xvcore.data.imagenet_truth import Near
from xvcore.data.splits import split_of
from xvcore.errors import DataError, unknown_name
from xvcore.keys import typed_path

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
TIMM_NAMES = ("data", "_info", "imagenet_synset_to_lemma.txt")
NAME_FILES = (
    "LOC_synset_mapping.txt",
    "imagenet_wnids.txt",
    "imagenet_class_index.json",
    "synset_words.txt",
    "words.txt",
    "imagenet_metadata.txt",
)
"""Files with class names that are looked for in the root, in this order."""
_ILSVRC = re.compile(r"ILSVRC(20\d\d)?", re.IGNORECASE)
_NAME_LINE = re.compile(r"\s*(?:\d+[\s,]+)?(n\d{8})[\s,]+(\S.*)")
_Places = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class _Split:
    """A split on the disk: a folder relative to the root, with a folder for each class or with flat images."""

    folder: str
    class_folders: dict[str, list[str]]
    flat: tuple[str, ...] = ()


@datasets.register("imagenet")
def imagenet(
    path: str | None, *, split: str = "all", names: str | None = None, truth: str | None = None
) -> ImageFolder:
    """Return the dataset ``imagenet:PATH[?split=train|val|all][&names=FILE][&truth=FILE]`` (Russakovsky et al., 2015).

    Layouts: ``PATH/{train,val}/WNID/``, ``PATH/WNID/`` (also ``WNID-name/``), and ``ILSVRC/Data/CLS-LOC/{train,val}/``
    below PATH; splits by any of their usual names, as ``ILSVRC2012_img_val``, in any case. The validation images may
    lie flat in their folder (which may be PATH itself) where a list tells their classes: see
    :mod:`xvcore.data.imagenet_truth`. A split that is not asked for is not looked at.

    Parameters
    ----------
    path : see above
    split : ``all`` is everything there is
    names : file with class names, lines ``[index] WNID name`` or JSON ``{"index": [WNID, name]}``; without it, one of
        :data:`NAME_FILES` in PATH, else what follows the WordNet id in the name of the folder, else timm's names where
        timm is installed, else the WordNet id. Of synonyms, the first is taken.
    truth : list of the classes of flat validation images; None: it is looked for near them

    Raises
    ------
    DataError
        No such folder, split or file, no folder named by a WordNet id, or flat images without a list of their classes.
    """
    root = existing_folder("imagenet", path)
    found = _splits(root, SPLITS if split == "all" else (split,)) or _splits(root, SPLITS)
    if not found:
        raise DataError(
            f"dataset imagenet: {root} has no classes; expected folders named by WordNet id (n01558993) with images, "
            "in it or in its train or val; imagefolder: takes other names"
        )
    if split != "all" and split not in found:
        raise DataError(str(unknown_name(f"split of {root}:", split, ["all", *(each for each in found if each)])))
    asked = found if split == "all" else {split: found[split]}
    if truth is not None and not any(each.flat for each in asked.values()):
        raise DataError(f"dataset imagenet: truth={truth} is given, but no images lie flat in {root}")
    chosen = [_places(root, each, truth) for each in asked.values()]
    wnids = sorted({wnid for places in chosen for wnid in places})
    known = _names(root, names, wnids, _spoken(asked.values()))
    return ImageFolder(
        name=f"imagenet:{root}",
        split=split,
        root=root,
        classes=tuple(ClassInfo(wnid, index, known.get(wnid, wnid), wnid) for index, wnid in enumerate(wnids)),
        places={wnid: tuple(place for places in chosen for place in places.get(wnid, ())) for wnid in wnids},
    )


def _splits(root: Path, wanted: Sequence[str]) -> dict[str, _Split]:
    """Return each split that is wanted and has images, the others not looked at; the key ``""`` stands for no splits.

    A folder that is itself called train or val is that split. Of several folders of one split that which is called
    exactly so is taken, or the first; the log says so.
    """
    here = split_of(root.name)
    here = here if here in SPLITS else ""
    if folders := _class_folders(root, ""):
        return {here: _Split("", folders)}
    found: dict[str, _Split] = {}
    for split in wanted:
        filled = [each for place in _candidates(root, split) if (each := _split(root, place, split))]
        if filled:
            found[split] = filled[0]
        if len(filled) > 1:
            more = ", ".join(each.folder for each in filled[1:])
            logger.warning("%s: split %s is taken from %s; left out: %s", root, split, filled[0].folder, more)
    is_split = any(_candidates(root, split) for split in SPLITS)
    if not is_split and (flat := _flat(root, "")):
        found[here or "val"] = flat
    return found


def _candidates(root: Path, split: str) -> list[str]:
    """Return the folders that are called like a split, that of just this name first."""
    ilsvrc = [each for each in sub_folders(root) if _ILSVRC.fullmatch(each)]
    bases = ["", *(f"{each}/Data/CLS-LOC/" for each in ilsvrc), "Data/CLS-LOC/", *(f"{each}/" for each in ilsvrc)]
    return [
        base + name
        for base in bases
        if (root / base).is_dir()
        for name in sorted(sub_folders(root / base), key=lambda name: (name != split, name))
        if split_of(name) == split
    ]


def _split(root: Path, folder: str, split: str) -> _Split | None:
    if folders := _class_folders(root, f"{folder}/"):
        return _Split(folder, folders)
    return _flat(root, folder) if split == "val" else None


def _class_folders(root: Path, base: str) -> _Places:
    found: _Places = {}
    for name in sub_folders(root / base):
        wnid, _ = wnid_in_front(name)
        if wnid and has_images(root, base + name):
            found.setdefault(wnid, []).append(base + name)
    return dict(sorted(found.items()))


def _flat(root: Path, folder: str) -> _Split | None:
    """Return the images that lie in a folder, or in its ``images`` as those of Tiny ImageNet do."""
    for place in (folder, f"{folder}/images" if folder else "images"):
        if (root / place).is_dir() and (files := images_in(root / place)):
            return _Split(place, {}, tuple(files))
    return None


def _places(root: Path, split: _Split, truth: str | None) -> _Places:
    """Return the folders, or the files, of each class of a split."""
    if not split.flat:
        return split.class_folders
    near = Near(root, root / split.folder, split.flat, lambda: _training_order(root))
    if truth is not None:
        labels = near.labels_of(Path(truth).expanduser())
    else:
        others = [each for each in SPLITS if each != "val" and _candidates(root, each)]
        labels = near.labels(hint=f"; ?split={others[0]} does without them" if others else "")
    places: _Places = {}
    for name in split.flat:
        if wnid := labels.get(Path(name).stem):
            places.setdefault(wnid, []).append(f"{split.folder}/{name}" if split.folder else name)
    if unlabelled := len(split.flat) - sum(map(len, places.values())):
        logger.warning("%s: %d images have no label and are left out", root / split.folder, unlabelled)
    if not places:
        raise DataError(f"{root / split.folder}: none of the {len(split.flat)} images is in the list of their classes")
    return places


def _training_order(root: Path) -> list[str]:
    """Return the WordNet ids of the training images, sorted."""
    train = _splits(root, ("train",)).get("train")
    return list(train.class_folders) if train else []


def _spoken(splits: Iterable[_Split]) -> dict[str, str]:
    """Return the names that stand behind the WordNet id in the names of folders."""
    folders = [(wnid, place) for split in splits for wnid, places in split.class_folders.items() for place in places]
    names = ((wnid, wnid_in_front(place.rpartition("/")[2])[1]) for wnid, place in folders)
    return {wnid: name for wnid, name in names if name}


def _names(root: Path, names: str | None, wnids: list[str], spoken: Mapping[str, str]) -> Mapping[str, str]:
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
    return {**_timm_names(wnids), **spoken}


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
    known = _every_name()
    return {wnid: _first(known[wnid]) for wnid in wnids if wnid in known}


@functools.cache
def _every_name() -> Mapping[str, str]:
    """Return timm's names of the classes of ImageNet-22k; none where it is not installed.

    They are read from its file: to import timm is to import all of its networks, and with them torch's compiler.
    """
    found = find_spec("timm")
    if found is None or not found.submodule_search_locations:
        return {}
    file = Path(found.submodule_search_locations[0], *TIMM_NAMES)
    if not file.is_file():
        return {}
    lines = (line.partition("\t") for line in file.read_text(encoding="utf-8").splitlines())
    return {wnid: name for wnid, _, name in lines}


def _first(names: str) -> str:
    return names.partition(",")[0].replace("_", " ").strip()
