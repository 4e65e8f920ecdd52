"""Answers of simulated people as files, in the form of the page: a check of a study before people are asked."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from xvcore.store import Store
from xvcore.study.method.person import Person
from xvcore.study.method.question import NONE
from xvcore.study.page.sheet import FORMAT, FORMAT_VERSION
from xvcore.study.runs.answers import SIMULATED, Answer, Asked, checksum
from xvcore.study.runs.score import asked_of, content_of, settings_of, the_study

LATER = "1970-01-01T00:00:00+00:00"
"""When simulated people answer: files of one seed are equal."""


def simulate(  # noqa: PLR0913
    store: Store, out: Path, *, study_id: str | None = None, error: float = 0.0, people: int = 5, seed: int = 0
) -> list[Path]:
    """Write the answers of simulated people to a study, and return the files.

    They see the annotated part of each picture, mistake it with the stated probability, and answer by the parts alone
    (:class:`xvcore.study.method.person.Person`). Catch trials they always get right: these show who does not look.

    Parameters
    ----------
    store : with the study
    out : folder of the files
    study_id : of the study; ``None``: the only one of the store
    error : share of the pictures whose part is mistaken, 0 to 1; ``nan``: answers at random, catch trials too
    people : how many answer
    seed : of their errors; each person has a stream of their own

    Raises
    ------
    StoreError
        No such study.
    """
    run = the_study(store, study_id)
    run_id, content = str(run["run_id"]), content_of(run)
    asked = asked_of(store, run_id)
    names = sorted({part for each in asked.values() for parts in _parts(each) for part in parts if each.role == "main"})
    least = settings_of(run).questions.least_share
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for number in range(people):
        generator = np.random.default_rng([seed, number])
        is_random = math.isnan(error)
        person = Person(0.0 if is_random else error, least)
        answers = [
            _answer(each, place, person, names, generator, is_random=is_random)
            for place, each in enumerate(asked.values(), 1)
        ]
        says = "at random" if is_random else f"error {error:g}"
        fields = {
            "study": run_id,
            "content": content,
            "session": f"{SIMULATED}-{says.replace(' ', '-')}-{seed}-{number}",
            "participant": f"{SIMULATED}: {says}, seed {seed}, person {number}",
            "started": LATER,
        }
        path = out / f"{fields['session']}.json"
        path.write_text(json.dumps(_file(fields, answers), indent=1))
        written.append(path)
    return written


def _answer(  # noqa: PLR0913
    asked: Asked, place: int, person: Person, names: list[str], generator: np.random.Generator, *, is_random: bool
) -> Answer:
    sides = list(asked.row["sides"])
    if is_random:
        choice = str(generator.choice([*(asked.options or (NONE,))]))
    elif asked.role == "catch":
        choice = asked.truth[0]
    else:
        choice = person.answer(asked.task, sides, _parts(asked), asked.options, names=names, generator=generator)
    milliseconds = int(generator.integers(3000, 9000))
    return Answer(asked.question_id, place, choice, "", int(generator.integers(1, 4)), milliseconds)


def _parts(asked: Asked) -> list[tuple[str, ...]]:
    return [tuple(part for part in each.split("|") if part) for each in asked.row["picture_parts"]]


def _file(fields: dict[str, str], answers: list[Answer]) -> dict[str, Any]:
    rows = [{name: getattr(each, name) for name in Answer.__slots__} for each in answers]
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        **fields,
        "saved": LATER,
        "complete": True,
        "answers": rows,
        "sha256": checksum(fields, answers),
    }
