"""Which output of a network stands for which class of a dataset."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torchvision.models import AlexNet_Weights

from xvcore.errors import LabelError
from xvcore.models.architecture import Output
from xvcore.models.classifier import Classifier

WNID = re.compile(r"n\d{8}")
N_SHOWN = 5
"""Number of classes that a message spells out."""


@runtime_checkable
class LabelledClass(Protocol):
    """A class of a dataset, as far as labels go."""

    @property
    def class_id(self) -> str:
        """Identity within the dataset."""

    @property
    def class_name(self) -> str:
        """Name for people."""

    @property
    def wnid(self) -> str | None:
        """WordNet id, if the dataset knows it."""


@lru_cache
def imagenet_outputs() -> tuple[Output, ...]:
    """Return the outputs of a network trained on ImageNet-1k.

    The names are torchvision's; the WordNet ids are timm's, and None where timm is not installed.
    """
    names = AlexNet_Weights.DEFAULT.meta["categories"]
    try:
        from timm.data.imagenet_info import ImageNetInfo
    except ImportError:
        wnids: list[str | None] = [None] * len(names)
    else:
        info: Any = ImageNetInfo("imagenet-1k")
        wnids = list(info.label_names())
    return tuple(Output(index, wnid, name) for index, (wnid, name) in enumerate(zip(wnids, names, strict=True)))


def outputs_from(
    labels: str | None, n_classes: int, known: Sequence[Output], classifier: str
) -> tuple[Output, ...] | None:
    """Return what each output stands for, or None where that is not known.

    Parameters
    ----------
    labels : ``"imagenet"``, ``"none"``, a labels file (:func:`read_labels`), or None for what the weights say
    n_classes : number of outputs of the network
    known : what the weights or the architecture say
    classifier : its name, for messages

    Raises
    ------
    LabelError
        Not as many labels as outputs, or a file that is no list of labels.
    """
    if labels == "none":
        return None
    if labels is None:
        return tuple(known) if len(known) == n_classes else None
    outputs = imagenet_outputs() if labels == "imagenet" else read_labels(Path(labels).expanduser())
    if len(outputs) != n_classes:
        raise LabelError(f"labels {labels} name {len(outputs)} outputs, but {classifier} has {n_classes}")
    return outputs


def read_labels(path: Path) -> tuple[Output, ...]:
    """Return the outputs that a labels file names.

    Every line the same: ``index wnid name``, ``wnid name`` (``LOC_synset_mapping.txt``), ``index name`` (counted from
    0 or from 1), or the name alone; without an index, the line's number is the output. JSON: a list of names, or
    ``{"0": ["n01440764", "tench"], …}`` (``imagenet_class_index.json``).

    Raises
    ------
    LabelError
        No such file, an empty line, or indices that are not consecutive.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").rstrip()
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"labels {path}: cannot be read as a text file ({error})") from error
    entries = _from_json(path, text) if text.startswith(("{", "[")) else _from_lines(path, text.splitlines())
    first = min((index for index, _ in entries), default=0)
    by_index = {index - first: label for index, label in entries}
    if first not in (0, 1) or sorted(by_index) != list(range(len(entries))):
        raise LabelError(f"labels {path}: the indices are not 0, 1, 2, … or 1, 2, 3, …, each once")
    return labelled([by_index[index] for index in range(len(entries))])


def labelled(labels: Sequence[str]) -> tuple[Output, ...]:
    """Return outputs for their labels in order; a label may be ``wnid``, ``wnid name`` or a name."""
    outputs = []
    for index, label in enumerate(labels):
        found = re.fullmatch(rf"({WNID.pattern})(?:[\s,:]+(.*))?", label.strip())
        wnid, name = (found.group(1), found.group(2) or found.group(1)) if found else (None, label.strip())
        outputs.append(Output(index, wnid, name))
    return tuple(outputs)


def outputs_for(
    classifier: Classifier, classes: Sequence[LabelledClass], class_map: Mapping[str, str]
) -> dict[str, int]:
    """Return the index of the output that stands for each class, by class id.

    In this order: the explicit map; the WordNet id, where both the class and the outputs have one; the one output whose
    name is the class's (see :func:`spellings`). Whatever is left is refused: a guess would explain the wrong output.

    Parameters
    ----------
    classifier : with its ``outputs``
    classes : of the dataset
    class_map : class (id, or name) to output (index, WordNet id or name); entries of other classes are passed over,
        so that one map serves calls with a few classes each

    Raises
    ------
    LabelError
        Names the classes whose output cannot be told, and the outputs that come near.
    """
    explicit = _explicit(class_map, classes)
    found: dict[str, int] = {}
    problems: list[str] = []
    for each in classes:
        finder = _Finder(classifier, has_hints=len(problems) < N_SHOWN)
        try:
            wanted = explicit.get(each.class_id)
            found[each.class_id] = finder.by_class(each) if wanted is None else finder.by_text(wanted)
        except LabelError as error:
            problems.append(f"{_shown(each)}: {error}")
    if problems:
        rest = f"; … and {len(problems) - N_SHOWN} more" if len(problems) > N_SHOWN else ""
        raise LabelError(
            f"cannot tell which output of {classifier.name} stands for {len(problems)} of {len(classes)} classes: "
            f"{'; '.join(problems[:N_SHOWN])}{rest}. Map them (CLASS=OUTPUT, an index, WordNet id or name) or name the "
            f"outputs ({classifier.name}?labels=FILE){_unused(class_map, classes)}"
        )
    _refuse_doubles(classifier, found, explicit)
    return found


def check_map(class_map: Mapping[str, str], classes: Sequence[LabelledClass]) -> None:
    """Refuse a class map that speaks of a class there is not, of several at once, or of one class twice.

    Parameters
    ----------
    class_map : class (id, or name) to output
    classes : all of the dataset

    Raises
    ------
    LabelError
        Names the entry, and the classes that come near.
    """
    ids = {each.class_id for each in classes}
    by_form: dict[str, set[str]] = {}
    for each in classes if class_map else ():
        for form in _spellings(each.class_name):
            by_form.setdefault(form, set()).add(each.class_id)
    said: dict[str, tuple[str, str]] = {}
    for key, output in class_map.items():
        found = {key} if key in ids else {each for form in _spellings(key) for each in by_form.get(form, ())}
        if not found:
            near = get_close_matches(key, sorted(ids.union(by_form)), n=3, cutoff=0.6)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            shown = ", ".join([*sorted(ids)[:N_SHOWN], *(["…"] if len(ids) > N_SHOWN else [])])
            raise LabelError(
                f"class map: no class of the dataset is called {key!r}{hint} ({len(ids)} classes: {shown})"
            )
        if len(found) > 1:
            raise LabelError(f"class map: {key!r} names {len(found)} classes ({', '.join(sorted(found))}); give the id")
        if not str(output).strip():
            raise LabelError(f"class map: {key!r} has no output: expected an index, WordNet id or name")
        (class_id,) = found
        other, before = said.setdefault(class_id, (key, output))
        if before != output:
            raise LabelError(f"class map: {other!r} and {key!r} are one class, but say {before!r} and {output!r}")


def spellings(text: str) -> set[str]:
    """Return the forms under which a name is compared.

    Lower case; punctuation and underscores as spaces; accents and a possessive 's dropped; without a leading number
    (CUB's ``014.Indigo_Bunting``); each synonym of a list with commas; and of ``Latin (English)`` each of the two.
    """
    text = re.sub(r"^\d+\.(?=\D)", "", text.strip())
    forms = [text, *text.split(",")]
    for form in tuple(forms):
        bracketed = re.fullmatch(r"(.+?)\s*\((.+)\)\s*", form)
        forms.extend(bracketed.groups() if bracketed else ())
    return {plain for form in forms if (plain := _plain(form))}


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    letters = "".join(sign for sign in decomposed if not unicodedata.combining(sign)).casefold()
    return " ".join(re.sub(r"[\W_]+", " ", re.sub(r"['’]s\b", "", letters)).split())


@dataclass(frozen=True)
class _Finder:
    """Finds one output of a classifier by index, WordNet id or name; hints of what is near take time."""

    classifier: Classifier
    has_hints: bool = True

    @property
    def outputs(self) -> tuple[Output, ...]:
        return self.classifier.outputs or ()

    def by_class(self, each: LabelledClass) -> int:
        if not self.outputs:
            raise LabelError("it is not known what the outputs stand for")
        if each.wnid is not None and any(output.wnid for output in self.outputs):
            return self.by_wnid(each.wnid)
        return self.by_name(each.class_name)

    def by_text(self, text: str) -> int:
        if text.strip().isdecimal():
            index = int(text)
            if index >= self.classifier.n_classes:
                raise LabelError(
                    f"output {index} does not exist: there are {self.classifier.n_classes} (0 is the first)"
                )
            return index
        if not self.outputs:
            raise LabelError(
                f"output {text!r} cannot be found: it is not known what the outputs stand for, give an index"
            )
        return self.by_wnid(text) if WNID.fullmatch(text) else self.by_name(text)

    def by_wnid(self, wnid: str) -> int:
        found = [output.index for output in self.outputs if output.wnid == wnid]
        if len(found) != 1:
            known = "" if any(output.wnid for output in self.outputs) else " (their WordNet ids are not known)"
            raise LabelError(f"{len(found)} outputs have the WordNet id {wnid}{known}")
        return found[0]

    def by_name(self, name: str) -> int:
        wanted, whole = spellings(name), _plain(name)
        found = [output for output in self.outputs if wanted & _spellings(output.name)]
        exact = [output for output in found if _plain(output.name) == whole]
        if len(exact) == 1 or len(found) == 1:
            return (exact if len(exact) == 1 else found)[0].index
        near = found or (self.near(wanted) if self.has_hints else [])
        candidates = ", ".join(f"{output.index} {output.name}" for output in near[:6])
        many = f"{len(found)} outputs are" if found else "no output is"
        raise LabelError(f"{many} named {name!r}" + (f" (near: {candidates})" if candidates else ""))

    def near(self, wanted: set[str]) -> list[Output]:
        """Return the outputs that share most words with a name, or else look like it, the nearest first."""
        words = {word for form in wanted for word in form.split() if len(word) > 2}

        def likeness(output: Output) -> float:
            forms = _spellings(output.name)
            shared = len(words & {word for form in forms for word in form.split()})
            alike = max((SequenceMatcher(None, a, b).ratio() for a in wanted for b in forms), default=0.0)
            return shared + alike

        ranked = sorted(((likeness(output), -output.index, output) for output in self.outputs), reverse=True)
        return [output for score, _, output in ranked if score > 0.6][:6]


@lru_cache(maxsize=100_000)
def _spellings(text: str) -> frozenset[str]:
    return frozenset(spellings(text))


def _explicit(class_map: Mapping[str, str], classes: Sequence[LabelledClass]) -> dict[str, str]:
    """Return the map with class ids as keys; a class may be given by its id or by a spelling of its name."""
    explicit = {}
    for key, output in class_map.items():
        matches = _matches(key, classes)
        if len(matches) > 1:
            raise LabelError(f"class map: {key!r} names {len(matches)} classes ({', '.join(matches)}); give the id")
        explicit.update(dict.fromkeys(matches, str(output)))
    return explicit


def _matches(key: str, classes: Sequence[LabelledClass]) -> list[str]:
    """Return the id of the class that a key of the class map means: that id itself, else a spelling of the name."""
    ids = [each.class_id for each in classes]
    if key in ids:
        return [key]
    return [each.class_id for each in classes if _spellings(key) & _spellings(each.class_name)]


def _unused(class_map: Mapping[str, str], classes: Sequence[LabelledClass]) -> str:
    unused = [key for key in class_map if not _matches(key, classes)]
    return f"; the class map speaks of other classes: {', '.join(unused[:N_SHOWN])}" if unused else ""


def _refuse_doubles(classifier: Classifier, found: Mapping[str, int], explicit: Mapping[str, str]) -> None:
    """Refuse two classes on one output, unless the user said so."""
    counts = Counter(found.values())
    double = [key for key, index in found.items() if counts[index] > 1 and key not in explicit]
    if double:
        shown = ", ".join(f"{key} (output {found[key]})" for key in double[:5])
        raise LabelError(f"several classes fall on one output of {classifier.name}: {shown}; map them explicitly")


def _shown(each: LabelledClass) -> str:
    return each.class_id if each.class_name in ("", each.class_id) else f"{each.class_id} ({each.class_name})"


def _from_json(path: Path, text: str) -> list[tuple[int, str]]:
    try:
        content = json.loads(text)
        items = content.items() if isinstance(content, dict) else enumerate(content)
        return [(int(index), " ".join([label] if isinstance(label, str) else label)) for index, label in items]
    except (ValueError, TypeError) as error:
        raise LabelError(f"labels {path}: expected a list of names, or index to [wnid, name] ({error})") from error


def _from_lines(path: Path, lines: Sequence[str]) -> list[tuple[int, str]]:
    empty = next((number for number, line in enumerate(lines, 1) if not line.strip()), None)
    if empty is not None or not lines:
        raise LabelError(f"labels {path}: line {empty or 1} is empty")
    numbered = [re.fullmatch(r"(\d+)[\s,:]+(\S.*)", line.strip()) for line in lines]
    if all(numbered):
        return [(int(found.group(1)), found.group(2)) for found in numbered if found]
    header = ("imageid,", "wnid,", "index,")
    if lines[0].lower().startswith(header):
        raise LabelError(f"labels {path}: line 1 {lines[0]!r} is a table's header; expected one label a line")
    return list(enumerate(lines))
