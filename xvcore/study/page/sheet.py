"""A study as one HTML file: it needs no network, and what is right is not in it, but for practice."""

import base64
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import jinja2

from xvcore.runs.thumbnails import extension
from xvcore.study.method.question import Question
from xvcore.study.settings import Study
from xvcore.version import VERSION

FORMAT = "xv-study-answers"
FORMAT_VERSION = 1
SECONDS = {"name": 15, "intruder": 8, "two_afc": 12, "distinction": 15}
"""Of a question, as it is announced; ours."""
_MEDIA = {"jpg": "image/jpeg", "png": "image/png"}


def html(study_id: str, content: str, questions: Sequence[Question], title: str, settings: Study) -> str:
    """Return the file.

    Parameters
    ----------
    study_id, content : go into each file of answers: of which study, and that its questions are these
    questions : all of them; main and catch trials cannot be told from each other in the file
    title : of the networks, not shown to people: only in the file's first comment
    settings : of the study
    """
    pictures: dict[bytes, int] = {}

    def number(data: bytes | None) -> int | None:
        return None if data is None else pictures.setdefault(data, len(pictures))

    asked = [
        {
            "id": each.question_id,
            "block": each.block,
            "task": each.task,
            "options": each.options,
            "shown": [
                [placed.side, number(placed.picture.data), number(placed.picture.projection)]
                for placed in each.pictures
            ],
            **({"practice": each.truth} if each.role == "practice" else {}),
        }
        # In the order of their ids main questions would come before catch trials.
        for each in sorted(questions, key=lambda each: (each.role != "practice", each.question_id[::-1]))
    ]
    seconds = sum(SECONDS[each.task] for each in questions)
    data = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "study": study_id,
        "content": content,
        "seed": settings.seed,
        "minutes": max(1, round(seconds / 60)),
        "questions": asked,
        "pictures": [_address(each) for each in pictures],
    }
    folder = files(__package__)
    return (
        jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        .from_string(folder.joinpath("templates", "study.html").read_text())
        .render(
            data=_script(data),
            style=folder.joinpath("static", "study.css").read_text(),
            script=folder.joinpath("static", "study.js").read_text(),
            title=title,
            study=study_id,
            version=VERSION,
        )
    )


def _address(data: bytes) -> str:
    return f"data:{_MEDIA[extension(data)]};base64,{base64.b64encode(data).decode()}"


def _script(value: Any) -> str:
    """Return JSON that may stand in a script element: nothing in it can end the element."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
