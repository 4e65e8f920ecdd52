"""From the labels that stand beside images (numbers, names) to classes."""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from xvcore.data.dataset import ClassInfo
from xvcore.data.imagefolder import wnid_in_front
from xvcore.data.places import Files
from xvcore.errors import DataError

logger = logging.getLogger(__name__)

NAME_FILES = ("classnames.txt", "classes.txt", "labels.txt")
"""Files with the names of classes that are looked for beside the images; a name a line, the first is class 0."""
_MOST = 10_000_000


def classes_of(source: str, labels: Iterable[str], names: Sequence[str] | None) -> dict[str, ClassInfo]:
    """Return the class of each label.

    Parameters
    ----------
    source : what the labels are of, for messages
    labels : a number or a name each, as they stand beside the images
    names : of the classes by number, where they are known; then labels are numbers

    Raises
    ------
    DataError
        A number that has no name.
    """
    found = sorted(set(labels))
    if names is None:
        if all(label.isdecimal() for label in found):
            found.sort(key=int)
        return {label: _class(label, label, index) for index, label in enumerate(found)}
    for label in found:
        if not label.isdecimal() or int(label) >= len(names):
            raise DataError(f"{source}: label {label!r} is none of the {len(names)} classes (0 is the first)")
    counts = Counter(names)
    numbers = sorted({int(label) for label in found})
    ids = {number: names[number] + (f" ({number})" if counts[names[number]] > 1 else "") for number in numbers}
    classes = {number: _class(ids[number], names[number], index) for index, number in enumerate(numbers)}
    return {label: classes[int(label)] for label in found}


def in_order(classes: Mapping[str, ClassInfo]) -> tuple[ClassInfo, ...]:
    """Return the classes of labels, each once, in their order."""
    return tuple(sorted(set(classes.values()), key=lambda info: info.class_idx))


def read_names(files: Files, given: str | None) -> list[str] | None:
    """Return the names of classes by number, from a file that is given or lies beside the images; None for none.

    Parameters
    ----------
    files : where the images lie
    given : a file of this machine: a name a line, or JSON: a list of names, or ``{"0": "tench"}``

    Raises
    ------
    DataError
        It cannot be read, or is no such list.
    """
    if given is None:
        there = next((name for name in NAME_FILES if files.has(name)), None)
        if there is None:
            return None
        where = f"{files.url}/{there}"
    else:
        where = given
    try:
        data = files.read(there, 0, _MOST) if given is None and there else Path(where).expanduser().read_bytes()
        text = data.decode("utf-8-sig")
        names = _from_json(text) if text.lstrip().startswith(("[", "{")) else text.rstrip("\n").splitlines()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{where} cannot be read as names of classes: {error}") from error
    names = [name.strip() for name in names]
    if not all(names) or not names:
        raise DataError(f"{where}: expected a name a line, none of them empty")
    return names


def say_left_out(source: str, counts: Mapping[str, int]) -> None:
    """Say how much was left out, by its reason."""
    if shown := ", ".join(f"{number} {reason}" for reason, number in counts.items() if number):
        logger.warning("%s: left out: %s", source, shown)


def _class(class_id: str, name: str, index: int) -> ClassInfo:
    wnid, rest = wnid_in_front(name)
    return ClassInfo(class_id, index, rest or name, wnid)


def _from_json(text: str) -> list[str]:
    content = json.loads(text)
    if isinstance(content, dict):
        content = [content[str(number)] for number in range(len(content))]
    return [each if isinstance(each, str) else " ".join(each) for each in content]
