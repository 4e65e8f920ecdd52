"""WebDataset: images and their labels in tar files; nothing is unpacked, images are read where they lie in the file."""

import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xvcore.data.dataset import ImageRecord, datasets
from xvcore.data.decode import MAX_BYTES
from xvcore.data.files import SUFFIXES
from xvcore.data.labelling import classes_of, in_order, read_names, say_left_out
from xvcore.data.places import Files, Images, files_at
from xvcore.data.splits import split_in, split_of
from xvcore.errors import DataError, ImageError, unknown_name

LABEL_FIELDS = ("label", "cls", "class", "class_id", "class_name", "label_name", "wnid", "category", "target")
"""Fields of a JSON that may hold the label; the first that is there is taken."""
_KEY = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")
_BRACES = re.compile(r"(.*)\{(\d+)\.\.(\d+)\}(.*)")
_NO_LABEL = ("", "-1")
_MOST = 1_000_000
"""Bytes of a label that is read."""


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a file lies inside a shard, in bytes."""

    shard: str
    start: int
    size: int


@dataclass(frozen=True, eq=False)
class Shards(Images):
    """Images in tar files; an image id is the shard, the key and the suffix.

    Parameters
    ----------
    name, split, classes, records : see :class:`~xvcore.data.places.Images`
    files : where the shards lie
    spans : where each image lies
    """

    files: Files
    spans: Mapping[str, _Span]

    def read(self, record: ImageRecord) -> bytes:
        """Return the file of an image.

        Raises
        ------
        OSError, ImageError
            It cannot be read, is too large, or is cut off.
        DataError
            Nothing is left where the shards were: it is not the image's fault.
        """
        self._check_known(record)
        span = self.spans[record.image_id]
        if span.size > MAX_BYTES:
            raise ImageError(f"too large: {span.size} bytes, the limit is {MAX_BYTES}")
        try:
            data = self.files.read(span.shard, span.start, span.start + span.size)
        except FileNotFoundError as error:
            if not self.files.is_there():
                raise DataError(f"{self.files.url} is empty now, or away; is the disk there?") from error
            raise
        if len(data) != span.size:
            raise ImageError(f"cut off: the shard holds {len(data)} of its {span.size} bytes")
        return data


@dataclass(slots=True)
class _Sample:
    """The files of one key of a shard: images by suffix, the label as far as it is told."""

    images: dict[str, _Span] = field(default_factory=dict)
    cls: str | None = None
    json: dict[str, Any] = field(default_factory=dict)


@datasets.register("webdataset")
def webdataset(
    path: str | None,
    *,
    split: str | None = None,
    image: str | None = None,
    label: str | None = None,
    names: str | None = None,
) -> Shards:
    """Return the dataset ``webdataset:PATH[?split=&image=SUFFIX&label=FIELD&names=FILE]`` of tar shards.

    A sample is the files of one key: a picture (``.jpg``, ``.png`` …) and its label, which is the text of ``.cls``, or
    a field of ``.json``. The shards are listed once, when the dataset is opened.

    Parameters
    ----------
    path : folder of ``.tar`` files, one such file, or ``shard-{000..012}.tar``; also as a fsspec URL
    split : train, val or test, as names of shards and folders say it; None: all shards
    image : suffix of the pictures, where samples have several
    label : field of the JSON; None: ``.cls`` where there is one, else one of :data:`LABEL_FIELDS`
    names : file with the names of the classes, see :func:`~xvcore.data.labelling.read_names`; None: ``classnames.txt``
        and the like beside the shards, if there is one and labels are numbers

    Raises
    ------
    DataError
        No shards or labels, a shard that is damaged or compressed, or a member whose name leads out of it.
    """
    files, shards, address = _shards(path)
    if split is not None:
        wanted = split_of(split) or split
        known = {each: split_in(each) for each in shards}
        shards = [each for each in shards if known[each] == wanted]
        if not shards:
            found = {each for each in known.values() if each}
            raise DataError(str(unknown_name(f"split of {files.address}:", split, found)))
    spans: dict[str, _Span] = {}
    label_of: dict[str, str] = {}
    missing: Counter[str] = Counter()
    for shard in shards:
        for key, sample in _samples(files, shard).items():
            told = _label(sample, label)
            if not sample.images or told is None:
                missing["samples without image" if not sample.images else "samples without label"] += 1
                continue
            suffix = _suffix(f"{files.url}/{shard}", key, sample, image)
            image_id = f"{shard}/{key}.{suffix}"
            spans[image_id], label_of[image_id] = sample.images[suffix], told
    say_left_out(files.address, missing)
    if not spans:
        raise DataError(f"{files.address}: no image with a label in {len(shards)} shards (.cls, or a field of .json)")
    are_numbers = all(each.isdecimal() for each in label_of.values())
    classes = classes_of(files.address, label_of.values(), read_names(files, names) if are_numbers or names else None)
    image_ids: dict[str, list[str]] = {}
    for image_id, told in label_of.items():
        image_ids.setdefault(classes[told].class_id, []).append(image_id)
    return Shards(
        name=f"webdataset:{address}",
        split=split_of(split) or split if split else "all",
        classes=in_order(classes),
        records={class_id: files.records(found, class_id) for class_id, found in image_ids.items()},
        files=files,
        spans=spans,
    )


def _shards(path: str | None) -> tuple[Files, list[str], str]:
    """Return where the shards lie, their names, and how all of them are called."""
    folder, slash, pattern = (path or "").rpartition("/")
    if braces := _BRACES.fullmatch(pattern):
        files = files_at("webdataset", folder or ("/" if slash else "."))
        before, first, last, after = braces.groups()
        expected = [f"{before}{number:0{len(first)}d}{after}" for number in range(int(first), int(last) + 1)]
        there = set(files.names())
        if away := next((each for each in expected if each not in there), None):
            raise DataError(f"dataset webdataset: {files.url} has no {away}")
        return files, expected, f"{files.url}/{pattern}"
    files = files_at("webdataset", path)
    names = files.names()
    shards = [name for name in names if name.endswith(".tar")] if files.only is None else names
    if not shards:
        packed = [name for name in names if name.endswith((".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz"))]
        why = f"; {packed[0]} is compressed: shards are read where images lie in them, unpack it" if packed else ""
        raise DataError(f"dataset webdataset: {files.address} has no .tar files{why}")
    return files, shards, files.address


def _samples(files: Files, shard: str) -> dict[str, _Sample]:
    """Return the samples of a shard by key."""
    where = f"{files.url}/{shard}"
    samples: dict[str, _Sample] = {}
    try:
        with files.opened(shard) as opened:
            for name, member, content in _members(where, opened):
                found = _KEY.fullmatch(name)
                if found is None:
                    continue
                sample, suffix = samples.setdefault(found[1], _Sample()), found[2].lower()
                if f".{suffix}" in SUFFIXES:
                    if suffix in sample.images:
                        raise DataError(f"{where}: {name} is there twice")
                    sample.images[suffix] = _Span(shard, member.offset_data, member.size)
                elif suffix == "cls":
                    sample.cls = _text(where, name, content, member)
                elif suffix == "json":
                    sample.json = _fields(where, name, _text(where, name, content, member))
    except (tarfile.TarError, EOFError, ValueError) as error:
        problem = "damaged, or compressed (shards are read where images lie in them)"
        raise DataError(f"{where} cannot be read as a tar file: {problem}: {error}") from error
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error}") from error
    return samples


def _members(where: str, opened: Any) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
    """Yield the plain files of a shard with their names; links, devices and files with holes are none."""
    with tarfile.open(fileobj=opened, mode="r:") as content:
        for member in content:
            name = member.name.removeprefix("./")
            parts = name.split("/")
            if name.startswith("/") or ".." in parts or "\0" in name:
                raise DataError(f"{where}: member {member.name!r} leads out of the shard")
            if member.isreg() and not member.issparse() and not any(part.startswith(".") for part in parts):
                # A name that is not UTF-8 becomes one that is: it is written into tables.
                yield name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"), member, content


def _text(where: str, name: str, content: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = content.extractfile(member)
    if file is None or member.size > _MOST:
        raise DataError(f"{where}: {name} has {member.size} bytes, the limit of a label is {_MOST}")
    return file.read().decode("utf-8").strip()


def _fields(where: str, name: str, text: str) -> dict[str, Any]:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise DataError(f"{where}: {name} holds {type(content).__name__}; expected an object")
    return content


def _label(sample: _Sample, field_name: str | None) -> str | None:
    """Return the label of a sample as a text; None where it has none."""
    if field_name is None and sample.cls is not None:
        return None if sample.cls in _NO_LABEL else sample.cls
    wanted: Sequence[str] = LABEL_FIELDS if field_name is None else (field_name,)
    found = next((sample.json[name] for name in wanted if sample.json.get(name) is not None), None)
    is_label = isinstance(found, str | int) and not isinstance(found, bool)
    return str(found).strip() if is_label and str(found).strip() not in _NO_LABEL else None


def _suffix(where: str, key: str, sample: _Sample, asked: str | None) -> str:
    suffixes = sorted(sample.images)
    if asked is not None:
        asked = asked.lower().lstrip(".")
        if asked not in suffixes:
            raise DataError(f"{where}: {key} has no picture .{asked} (it has: {', '.join(suffixes)})")
        return asked
    if len(suffixes) > 1:
        raise DataError(
            f"{where}: {key} has several pictures ({', '.join(suffixes)}); choose one: ?image={suffixes[0]}"
        )
    return suffixes[0]
