"""Which output of a network stands for which class of a dataset."""

import csv
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import yaml  # type: ignore[import-untyped]

from xvcore.errors import LabelError, in_one_line
from xvcore.keys import typed_path
from xvcore.models.architecture import Output
from xvcore.models.classifier import Classifier
from xvcore.models.lean import models

WNID = re.compile(r"n\d{8}")
SHARED = {"crane bird": "crane", "maillot tank suit": "maillot"}
"""Outputs of ImageNet that torchvision renamed, since WordNet gives two of them one name: the new name and the old."""
INDEX_COLUMNS = ("index", "idx", "id", "label_id", "class_id", "class_index", "class_idx", "output", "number")
WNID_COLUMNS = ("wnid", "wordnet_id", "synset", "synset_id")
NAME_COLUMNS = ("name", "class_name", "label_name", "class", "label", "category", "words", "description")
"""What the columns of a table of labels may be called, the telling ones first."""
WRAPPERS = (
    "id2label",
    "idx_to_class",
    "label2id",
    "class_to_idx",
    "label_names",
    "class_names",
    "classes",
    "labels",
    "names",
)
"""Keys under which a model's configuration keeps its labels."""
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
    names = models.AlexNet_Weights.DEFAULT.meta["categories"]
    wnids: Sequence[str | None] = _wnids_of_timm() or [None] * len(names)
    return tuple(Output(index, wnid, name) for index, (wnid, name) in enumerate(zip(wnids, names, strict=True)))


def _wnids_of_timm() -> list[str] | None:
    """Return the WordNet ids of ImageNet-1k; from timm's file where it has one, for importing timm takes seconds."""
    timm = find_spec("timm")
    if timm is None or timm.origin is None:
        return None
    file = Path(timm.origin).parent / "data" / "_info" / "imagenet_synsets.txt"
    if file.is_file():
        return file.read_text().split()
    from timm.data.imagenet_info import ImageNetInfo

    info: Any = ImageNetInfo("imagenet-1k")
    return list(info.label_names())


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
    outputs = imagenet_outputs() if labels == "imagenet" else read_labels(typed_path(labels, "labels", LabelError))
    if len(outputs) != n_classes:
        raise LabelError(f"labels {labels} name {len(outputs)} outputs, but {classifier} has {n_classes}")
    return outputs


def read_labels(path: Path) -> tuple[Output, ...]:
    """Return the outputs that a labels file names.

    Every line the same: ``index wnid name``, ``wnid name`` (``LOC_synset_mapping.txt``), ``index name`` (counted from
    0 or from 1), or the name alone; without an index, the line's number is the output.

    JSON: a list of names; ``{"0": ["n01440764", "tench"], …}`` (``imagenet_class_index.json``); ``{"tench": 0, …}``
    (``class_to_idx.json``); or either under one of :data:`WRAPPERS` (``id2label`` in the ``config.json`` of a model).

    YAML (``.yaml``, ``.yml``): the same as JSON; every key and name is text, ``no`` too. TensorFlow's label map
    (``.pbtxt``): its items by their ``id``, the ``display_name`` before the ``name``.

    A table, with commas, semicolons or tabs: its header names the columns (:data:`INDEX_COLUMNS`,
    :data:`WNID_COLUMNS`, :data:`NAME_COLUMNS`); in a ``.csv`` or ``.tsv`` without a header the column of consecutive
    numbers is the index. A name with a comma stands in quotes.

    Raises
    ------
    LabelError
        No such file, an empty line or name, an index or name given twice, or indices that are not consecutive.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").rstrip()
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"labels {path}: cannot be read as a text file ({error})") from error
    if path.suffix.lower() in (".yaml", ".yml"):
        entries = _from_yaml(path, text)
    elif path.suffix.lower() == ".pbtxt":
        entries = _from_label_map(path, text)
    elif text.lstrip().startswith(("{", "[")):
        entries = _from_json(path, text)
    else:
        entries = _from_table(path, text) or _from_lines(path, text.splitlines())
    nameless = next((index for index, label in entries if not label.strip()), None)
    if nameless is not None:
        raise LabelError(f"labels {path}: output {nameless} has an empty name")
    first = min((index for index, _ in entries), default=0)
    by_index = {index - first: label for index, label in entries}
    if first not in (0, 1) or sorted(by_index) != list(range(len(entries))):
        raise LabelError(f"labels {path}: the indices are not 0, 1, 2, … or 1, 2, 3, …, each once")
    return labelled([by_index[index] for index in range(len(entries))])


def labelled(labels: Sequence[str]) -> tuple[Output, ...]:
    """Return outputs for their labels in order; a label may be ``wnid``, ``wnid name``, ``wnid-name`` or a name."""
    outputs = []
    for index, label in enumerate(labels):
        found = re.fullmatch(rf"({WNID.pattern})(?:[\s,:._-]+(.*))?", label.strip())
        wnid, name = (found.group(1), found.group(2) or found.group(1)) if found else (None, label.strip())
        outputs.append(Output(index, wnid, name))
    return tuple(outputs)


def outputs_for(
    classifier: Classifier, classes: Sequence[LabelledClass], class_map: Mapping[str, str]
) -> dict[str, int]:
    """Return the index of the output that stands for each class, by class id.

    In this order: the explicit map; the WordNet id, where both the class and the outputs have one; the one output whose
    name is the class's (see :func:`spellings`). A name by which two outputs go is nobody's, even where it is all of the
    name of one: the crane that is a machine and ``crane, a bird``. Whatever is left is refused: a guess would explain
    the wrong output.

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

    Examples
    --------
    >>> from xvcore.data import ClassInfo
    >>> from xvcore.models import load, outputs_for
    >>> outputs_for(load("squeezenet1_1@random?classes=2"), [ClassInfo("jays", 0, "jays")], {"jays": "1"})
    {'jays': 1}
    """
    explicit = _explicit(class_map, classes)
    found, problems = _told(classifier, classes, explicit, n_hints=N_SHOWN)
    if problems:
        told = [f"{_shown(each)}: {problems[each.class_id]}" for each in classes if each.class_id in problems]
        rest = f"; … and {len(told) - N_SHOWN} more" if len(told) > N_SHOWN else ""
        raise LabelError(
            f"cannot tell which output of {classifier.name} stands for {len(told)} of {len(classes)} classes: "
            f"{'; '.join(told[:N_SHOWN])}{rest}. Map them (CLASS=OUTPUT, an index, WordNet id or name) or name the "
            f"outputs ({classifier.name}?labels=FILE){_unused(class_map, classes)}"
        )
    _refuse_doubles(classifier, found, explicit)
    return found


def known_outputs(
    classifier: Classifier, classes: Sequence[LabelledClass], class_map: Mapping[str, str]
) -> dict[str, int]:
    """Return the same for those classes whose output can be told; the others are left out, without a reason.

    Two classes may share an output.

    Raises
    ------
    LabelError
        An entry of the map names several classes.
    """
    return _told(classifier, classes, _explicit(class_map, classes), n_hints=0)[0]


def _told(
    classifier: Classifier, classes: Sequence[LabelledClass], explicit: Mapping[str, str], *, n_hints: int
) -> tuple[dict[str, int], dict[str, str]]:
    """Return the output of each class, or why it cannot be told; the first ``n_hints`` reasons say what is near."""
    finder = _Finder(classifier)
    found: dict[str, int] = {}
    problems: dict[str, str] = {}
    for each in classes:
        wanted, has_hints = explicit.get(each.class_id), len(problems) < n_hints
        try:
            if wanted is None:
                found[each.class_id] = finder.by_class(each, has_hints=has_hints)
            else:
                found[each.class_id] = finder.by_text(wanted, has_hints=has_hints)
        except LabelError as error:
            problems[each.class_id] = str(error)
    return found, problems


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
    by_form = _by_form(classes) if class_map else {}
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


class _Finder:
    """Finds one output of a classifier by index, WordNet id or name; hints of what is near take time."""

    def __init__(self, classifier: Classifier) -> None:
        self.n_classes = classifier.n_classes
        self.outputs = classifier.outputs or ()
        self._of_wnid: dict[str, list[Output]] = {}
        self._of_name: dict[str, list[Output]] = {}
        for output in self.outputs:
            if output.wnid:
                self._of_wnid.setdefault(output.wnid, []).append(output)
            for name in _names(output.name):
                self._of_name.setdefault(name, []).append(output)

    def by_class(self, each: LabelledClass, *, has_hints: bool) -> int:
        if not self.outputs:
            raise LabelError("it is not known what the outputs stand for")
        if each.wnid is not None and self._of_wnid:
            return self.by_wnid(each.wnid)
        return self.by_name(each.class_name, has_hints=has_hints)

    def by_text(self, text: str, *, has_hints: bool) -> int:
        if text.strip().isdecimal():
            index = int(text)
            if index >= self.n_classes:
                raise LabelError(f"output {index} does not exist: there are {self.n_classes} (0 is the first)")
            return index
        if not self.outputs:
            raise LabelError(
                f"output {text!r} cannot be found: it is not known what the outputs stand for, give an index"
            )
        return self.by_wnid(text) if WNID.fullmatch(text) else self.by_name(text, has_hints=has_hints)

    def by_wnid(self, wnid: str) -> int:
        found = self._of_wnid.get(wnid, [])
        if len(found) != 1:
            known = "" if self._of_wnid else " (their WordNet ids are not known)"
            raise LabelError(f"{len(found)} outputs have the WordNet id {wnid}{known}")
        return found[0].index

    def by_name(self, name: str, *, has_hints: bool) -> int:
        wanted, whole = spellings(name), _plain(name)
        places = {output.index: output for form in wanted for output in self._of_name.get(form, ())}
        found = [output for _, output in sorted(places.items())]
        # A name with synonyms says more than each of them: it may be all of one output's and part of another's.
        exact = [output for output in found if _plain(output.name) == whole] if len(wanted) > 1 else []
        if len(exact) == 1 or len(found) == 1:
            return (exact if len(exact) == 1 else found)[0].index
        near = found or (self.near(wanted) if has_hints else [])
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


@lru_cache(maxsize=100_000)
def _names(text: str) -> frozenset[str]:
    """Return the names by which an output called so goes, the one that torchvision took from it included."""
    names = _spellings(text)
    return names | {SHARED[name] for name in names & SHARED.keys()}


def _explicit(class_map: Mapping[str, str], classes: Sequence[LabelledClass]) -> dict[str, str]:
    """Return the map with class ids as keys; a class may be given by its id or by a spelling of its name."""
    matches = _matches(class_map, classes)
    for key, found in matches.items():
        if len(found) > 1:
            raise LabelError(f"class map: {key!r} names {len(found)} classes ({', '.join(found)}); give the id")
    return {class_id: str(class_map[key]) for key, found in matches.items() for class_id in found}


def _matches(class_map: Mapping[str, str], classes: Sequence[LabelledClass]) -> dict[str, list[str]]:
    """Return the ids of the classes that each key of the class map means: that id itself, else those called so."""
    place = {each.class_id: index for index, each in enumerate(classes)}
    by_form = _by_form(classes) if class_map else {}
    means: dict[str, list[str]] = {}
    for key in class_map:
        named = {each for form in _spellings(key) for each in by_form.get(form, ())}
        means[key] = [key] if key in place else sorted(named, key=place.__getitem__)
    return means


def _by_form(classes: Sequence[LabelledClass]) -> dict[str, set[str]]:
    """Return the ids of the classes that go by each spelling of a name."""
    by_form: dict[str, set[str]] = {}
    for each in classes:
        for form in _spellings(each.class_name):
            by_form.setdefault(form, set()).add(each.class_id)
    return by_form


def _unused(class_map: Mapping[str, str], classes: Sequence[LabelledClass]) -> str:
    unused = [key for key, found in _matches(class_map, classes).items() if not found]
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
        content = json.loads(text, object_pairs_hook=partial(_once, path))
    except ValueError as error:
        raise LabelError(f"labels {path}: {_EXPECTED_JSON} ({error})") from error
    return _from_tree(path, content, _EXPECTED_JSON)


def _from_tree(path: Path, content: Any, expected: str) -> list[tuple[int, str]]:
    """Return the labels in what a file of mappings and lists holds."""
    if isinstance(content, dict):
        key = next((each for each in WRAPPERS if isinstance(content.get(each), dict | list)), None)
        content = content if key is None else content[key]
    items = list(content.items() if isinstance(content, dict) else enumerate(content))
    if items and isinstance(content, dict) and all(_is_whole(value) for _, value in items):
        items = [(str(index), name) for name, index in items]
    for index, label in items:
        if not (str(index).isdecimal() and _is_label(label)):
            raise LabelError(f"labels {path}: {expected} (found {index!r:.40}: {label!r:.80})")
    return [(int(index), label if isinstance(label, str) else " ".join(label)) for index, label in items]


class _TextOnly(yaml.BaseLoader):  # type: ignore[misc]
    """Reads YAML whose scalars are all text, so that ``no`` is a name and no truth; a key twice is told."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        pairs = [(self.construct_object(key), self.construct_object(value, deep=True)) for key, value in node.value]
        return _once(Path(self.name), pairs)


def _from_yaml(path: Path, text: str) -> list[tuple[int, str]]:
    loader = _TextOnly(text)
    loader.name = str(path)
    try:
        content = loader.get_single_data()
    except (yaml.YAMLError, TypeError) as error:
        raise LabelError(f"labels {path}: {_EXPECTED_JSON} ({in_one_line(error)})") from error
    finally:
        loader.dispose()
    if isinstance(content, dict):
        key = next((each for each in WRAPPERS if isinstance(content.get(each), dict | list)), None)
        content = content if key is None else content[key]
    if not isinstance(content, dict | list):
        raise LabelError(f"labels {path}: {_EXPECTED_JSON} (found {content!r:.80})")
    if (
        isinstance(content, dict)
        and not all(str(key).isdecimal() for key in content)
        and all(isinstance(value, str) and value.isdecimal() for value in content.values())
    ):
        content = {name: int(index) for name, index in content.items()}
    return _from_tree(path, content, _EXPECTED_JSON)


_QUOTED = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_ITEM = re.compile(rf"item\s*:?\s*\{{((?:[^{{}}\"']|{_QUOTED})*)\}}")
_FIELD = re.compile(rf"(\w+)\s*:\s*({_QUOTED}|[\w.+-]+)")


def _from_label_map(path: Path, text: str) -> list[tuple[int, str]]:
    """Return the items of a label map of TensorFlow's object detection."""
    entries = []
    plain = re.sub(rf"({_QUOTED})|#[^\n]*", lambda found: found.group(1) or "", text)
    rest = _ITEM.sub("", plain).strip(" \t\r\n,;")
    for number, body in enumerate(_ITEM.findall(plain), 1):
        fields = dict(_FIELD.findall(body))
        label = [_unquoted(fields[name]) for name in ("name", "display_name") if name in fields]
        if not fields.get("id", "").isdecimal() or not label:
            raise LabelError(f"labels {path}: item {number} of a label map needs an id and a name, found {body!r:.80}")
        kept = label if WNID.fullmatch(label[0]) else label[-1:]
        entries.append((int(fields["id"]), " ".join(kept)))
    if rest or not entries:
        raise LabelError(f'labels {path}: expected items like item {{ id: 1 name: "tench" }}, found {rest!r:.80}')
    return entries


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value[:1] in ("'", '"') else value


_EXPECTED_JSON = (
    "expected a list of names, index to name or to [wnid, name], name to index, or one of these under "
    f"{', '.join(WRAPPERS)}"
)


def _once(path: Path, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; what is there twice would else be taken once without a word."""
    twice = [key for key, number in Counter(key for key, _ in pairs).items() if number > 1]
    if twice:
        raise LabelError(f"labels {path}: {twice[0]!r} is there twice")
    return dict(pairs)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_label(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)
    )


def _from_table(path: Path, text: str) -> list[tuple[int, str]] | None:
    """Return the labels of a table; None for what is none."""
    lines = text.splitlines() or [""]
    delimiter = max(",;\t", key=lines[0].count)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True)]
    except csv.Error as error:
        raise LabelError(f"labels {path}: not a table that can be read ({error})") from error
    header = [re.sub(r"\W+", "_", cell.lower()) for cell in rows[0]] if rows else []
    known = [cell in (*INDEX_COLUMNS, *WNID_COLUMNS, *NAME_COLUMNS) for cell in header]
    if path.suffix.lower() in (".csv", ".tsv"):
        return _by_header(path, header, rows[1:]) if any(known) else _by_content(path, rows)
    # In any other file two column names may as well be the synonyms of the first output, hence all have to be known.
    return _by_header(path, header, rows[1:]) if len(known) > 1 and all(known) else None


def _by_header(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise LabelError(f"labels {path}: row {number} has {len(row)} cells, its header {len(header)}")
    if not rows:
        raise LabelError(f"labels {path}: a header without rows")
    columns = dict(zip(header, zip(*rows, strict=True), strict=False))
    whole = [name for name in columns if _is_numbered(columns[name])]
    # A column of numbers that is called class or label is the index where another one has the names.
    index = next((name for name in (*INDEX_COLUMNS, *reversed(NAME_COLUMNS)) if name in whole), None)
    if index in NAME_COLUMNS and len(columns) == 1:
        index = None
    wnid = next((name for name in columns if _is_wnid(columns[name])), None)
    name = next((each for each in NAME_COLUMNS if each in columns and each not in (index, wnid)), None)
    left = [each for each in columns if each not in (index, wnid)]
    name = left[0] if name is None and len(left) == 1 else name
    kept = [columns[each] for each in (wnid, name) if each is not None]
    if not kept:
        raise LabelError(
            f"labels {path}: none of the columns {', '.join(header)} has the names; expected one called "
            f"{' or '.join(NAME_COLUMNS)}, or of WordNet ids"
        )
    return _numbered(None if index is None else columns[index], kept)


def _by_content(path: Path, rows: Sequence[Sequence[str]]) -> list[tuple[int, str]] | None:
    """Return the labels of a table without a header; None where lines differ in length, as lists of synonyms do."""
    if len({len(row) for row in rows}) != 1:
        return None
    columns = list(zip(*rows, strict=True))
    index = next((column for column in columns if _is_numbered(column) and _is_count(list(map(int, column)))), None)
    wnids = next((column for column in columns if _is_wnid(column)), None)
    names = [column for column in columns if column is not index and column is not wnids]
    if len(names) > 1 or not (names or wnids):
        raise LabelError(
            f"labels {path}: {len(columns)} columns, of which it cannot be told which has the names: give a header "
            f"({', '.join((INDEX_COLUMNS[0], WNID_COLUMNS[0], NAME_COLUMNS[0]))})"
        )
    return _numbered(index, [column for column in (wnids, *names) if column is not None])


def _numbered(index: Sequence[str] | None, columns: Iterable[Sequence[str]]) -> list[tuple[int, str]]:
    labels = [" ".join(cells) for cells in zip(*columns, strict=True)]
    return list(zip(range(len(labels)) if index is None else map(int, index), labels, strict=True))


def _is_numbered(cells: Sequence[str]) -> bool:
    return all(cell.isdecimal() for cell in cells)


def _is_wnid(cells: Sequence[str]) -> bool:
    return all(WNID.fullmatch(cell) for cell in cells)


def _is_count(numbers: Sequence[int]) -> bool:
    return sorted(numbers) in (list(range(len(numbers))), list(range(1, len(numbers) + 1)))


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
