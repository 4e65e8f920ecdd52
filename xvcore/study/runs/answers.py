"""Files of answers: read, checked against the study, and judged whether they count."""

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xvcore.errors import StoreError
from xvcore.study.page.sheet import FORMAT, FORMAT_VERSION

SIMULATED = "simulated"
"""How the name of a participant begins that is a program."""
MOST_BYTES = 2**24
"""Of a file of answers."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as the file has it."""

    question: str
    place: int
    choice: str
    words: str
    confidence: int
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Sitting:
    """A file of answers.

    Parameters
    ----------
    file : its name
    session : id of the sitting; the name of the file where that cannot be read
    study, content : of which study it says to be
    participant : as they called themselves
    answers : in the order of the file
    marks : why it does not count, as far as the file alone tells
    error : what is wrong with it
    started, saved, screen : as it says
    """

    file: str
    session: str
    study: str = ""
    content: str = ""
    participant: str = ""
    answers: tuple[Answer, ...] = ()
    marks: tuple[str, ...] = ()
    error: str | None = None
    started: datetime.datetime | None = None
    saved: datetime.datetime | None = None
    screen: str | None = None

    @property
    def is_simulated(self) -> bool:
        """Whether a program answered."""
        return self.participant.startswith(SIMULATED)

    def marked(self, mark: str, error: str) -> "Sitting":
        """Return the sitting with one more reason why it does not count."""
        return dataclasses.replace(
            self, marks=(*self.marks, mark), error=f"{self.error}; {error}" if self.error else error
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of a question when answers are judged."""

    question_id: str
    task: str
    role: str
    options: tuple[str, ...]
    truth: tuple[str, ...]
    row: Mapping[str, Any] = field(repr=False)

    def is_right(self, choice: str) -> bool | None:
        """Say whether a choice is right; ``None`` where no annotation tells."""
        return choice in self.truth if self.truth else None

    def takes(self, answer: Answer) -> bool:
        """Say whether the page of the study can give this answer."""
        if self.task == "two_afc" and answer.confidence not in (1, 2, 3):
            return False
        return answer.choice in self.options if self.options else bool(answer.choice)


def read_answers(paths: Sequence[Path]) -> list[Sitting]:
    """Return the files, in the order of their names; what cannot be read is one too, and says so.

    A folder stands for the files ``*.json`` in it.

    Raises
    ------
    StoreError
        A path that is not there, or a folder without such files.
    """
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.json")) if path.is_dir() else [path] if path.is_file() else []
        if not found:
            raise StoreError(f"no answers at {path}: expected a file, or a folder with files *.json")
        files += found
    return [_read(path) for path in sorted(dict.fromkeys(files), key=lambda path: (path.name, str(path)))]


def checksum(fields: Mapping[str, Any], answers: Sequence[Answer]) -> str:
    """Return the checksum that the page puts into a file: it shows that a file was edited, not who wrote it."""
    head = [FORMAT, str(FORMAT_VERSION)]
    head += [str(fields[name]) for name in ("study", "content", "session", "participant", "started")]
    rows = [
        "\t".join(map(str, (each.question, each.place, each.choice, each.words, each.confidence, each.milliseconds)))
        for each in answers
    ]
    return hashlib.sha256("\n".join([*head, *rows]).encode()).hexdigest()


def _read(path: Path) -> Sitting:
    sitting = Sitting(path.name, path.name)
    try:
        said = _said(path)
    except (OSError, ValueError, RecursionError) as error:
        return sitting.marked("unreadable", str(error))
    try:
        answers = tuple(_answer(each) for each in said["answers"])
        texts = {
            name: _text(said[name]) for name in ("study", "content", "session", "participant", "started", "sha256")
        }
    except (KeyError, TypeError, ValueError) as error:
        return sitting.marked("edited", f"not as the page writes it: {type(error).__name__}: {error}")
    read = Sitting(
        path.name,
        texts["session"] or path.name,
        texts["study"],
        texts["content"],
        texts["participant"],
        answers,
        started=_time(texts["started"]),
        saved=_time(said.get("saved")),
        screen=str(said["screen"]) if "screen" in said else None,
    )
    if checksum(texts, answers) != texts["sha256"]:
        return read.marked("edited", "the checksum is not that of the answers")
    return read


def _said(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.stat().st_size} bytes: expected at most {MOST_BYTES}")
    said = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise ValueError(f"not a file of answers: expected an object with format {FORMAT!r}")
    if said.get("version") != FORMAT_VERSION:
        raise ValueError(f"version {said.get('version')!r}: expected {FORMAT_VERSION}")
    return said


def _answer(said: Mapping[str, Any]) -> Answer:
    for name in ("place", "confidence", "milliseconds"):
        if not isinstance(said[name], int) or isinstance(said[name], bool):
            raise TypeError(f"{name} = {said[name]!r}: expected a whole number")
    texts = [_text(said[name]) for name in ("question", "choice", "words")]
    return Answer(texts[0], said["place"], texts[1], texts[2], said["confidence"], said["milliseconds"])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r}: expected a text")
    return value


def _time(value: Any) -> datetime.datetime | None:
    try:
        found = datetime.datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
