"""What the page of a study shows, read from its tables."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from xvcore.errors import StoreError
from xvcore.query import table
from xvcore.report.chapters import Network
from xvcore.report.draft import Draft
from xvcore.report.wording import records
from xvcore.store.encode import encoded
from xvcore.study.settings import Study

logger = logging.getLogger(__name__)

TABLES = (
    "study_subjects",
    "study_questions",
    "study_sessions",
    "study_answers",
    "study_scores",
    "study_tags",
    "tagger_agreement",
    "machine_scores",
    "machine_means",
    "specialisations",
    "specialised_parts",
)
MOST_QUESTIONS = 400
"""Shown on the page, the main ones first; all are in the table."""
ADDED = {"summaries": "summaries", "random_regions": "random regions", "whole_images": "whole images"}
WORDS = {"found": "what was found", "random_cluster": "random clusters", "raw_region": "raw regions"}
ASKED = {"name": "name", "intruder": "intruder", "two_afc": "2-AFC", "distinction": "distinction"}

Row = Mapping[str, Any]


def write_study(draft: Draft, network: Network, class_names: Mapping[str, str]) -> dict[str, Any]:
    """Write the page of a study and its pictures, and return what the first page shows of it."""
    problem, frames = None, {name: pd.DataFrame() for name in TABLES}
    try:
        frames = {name: table(draft.store, name, run_id=network.run_id) for name in TABLES}
    except StoreError as error:
        problem = str(error)
        logger.warning("%s: %s", network.title, problem)
    page = f"{network.folder}/index.html"
    rows = {name: records(frame) for name, frame in frames.items()}
    together = [each for each in rows["study_scores"] if each["judged_model"] == each["judged_method"] == "all"]
    sessions = rows["study_sessions"]
    card = {
        "page": page,
        "problem": problem,
        "n_questions": sum(each["role"] == "main" for each in rows["study_questions"]),
        "n_subjects": sum(each["subject_group"] == "found" for each in rows["study_subjects"]),
        "n_counted": sum(each["is_counted"] for each in sessions),
        "n_sessions": len(sessions),
    }
    text = draft.renderer.render(
        f"{Study.method}/run.html",
        page,
        network=network,
        card=card,
        problem=problem,
        populations=_populations(together),
        sessions=sessions,
        subjects=_subjects(draft, network, rows, class_names),
        taggers=sorted({each["tagger"] for each in rows["study_tags"]}),
        judges=sorted({each["judge"] for each in rows["machine_scores"]}),
        means=rows["machine_means"],
        specialisations=rows["specialisations"],
        agreement=[each for each in rows["tagger_agreement"] if each["tagger"] < each["other"]],
        questions=_questions(draft, network, rows),
        words=WORDS,
        added=ADDED,
        asked=ASKED,
    )
    draft.site.write(page, text)
    return card


def _populations(scores: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Return the scores of those who count, then of those who were set apart; never together."""
    found = [(name, [each for each in scores if each["population"] == name]) for name in ("counted", "marked")]
    return [(name, rows) for name, rows in found if rows]


def _subjects(
    draft: Draft, network: Network, rows: Mapping[str, Sequence[Row]], class_names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return what the study is about: the pictures, and what people, taggers and machines said of them."""
    tags: dict[str, dict[str, Row]] = {}
    for each in rows["study_tags"]:
        tags.setdefault(each["subject_id"], {})[each["tagger"]] = each
    scores: dict[str, dict[str, Row]] = {}
    for each in rows["machine_scores"]:
        scores.setdefault(each["subject_id"], {})[each["judge"]] = each
    aucs = {each["subject_id"]: each["auc"] for each in rows["specialised_parts"]}
    right: dict[str, list[bool]] = {}
    for each in rows["study_answers"]:
        if each["is_counted"] and each["role"] == "main" and each["is_right"] is not None and each["subject_id"]:
            right.setdefault(each["subject_id"], []).append(each["is_right"])
    found = []
    for row in rows["study_subjects"]:
        given = right.get(row["subject_id"], [])
        found.append(
            {
                **row,
                "file": _picture(draft, network, f"subject-{row['subject_id']}", row["sheet"]),
                "class_name": class_names.get(row["class_id"], row["class_id"] or row["scope"]),
                "tags": tags.get(row["subject_id"], {}),
                "scores": scores.get(row["subject_id"], {}),
                "auc": aucs.get(row["subject_id"]),
                "n_answers": len(given),
                "right": sum(given) / len(given) if given else None,
            }
        )
    return found


def _questions(draft: Draft, network: Network, rows: Mapping[str, Sequence[Row]]) -> list[dict[str, Any]]:
    answers: dict[str, Counter[str]] = {}
    for each in rows["study_answers"]:
        if each["is_counted"]:
            answers.setdefault(each["question_id"], Counter())[each["choice"]] += 1
    order = sorted(rows["study_questions"], key=lambda row: (row["role"] != "main", row["task"], row["question_id"]))
    return [
        {
            **row,
            "file": _picture(draft, network, f"question-{row['question_id']}", row["sheet"]),
            "answers": answers.get(row["question_id"], Counter()).most_common(),
        }
        for row in order[:MOST_QUESTIONS]
    ]


def _picture(draft: Draft, network: Network, name: str, cell: Any) -> str | None:
    data = encoded(cell)
    if data is None:
        return None
    path = f"{network.folder}/pictures/{name}.jpg"
    draft.site.write(path, data)
    return path
