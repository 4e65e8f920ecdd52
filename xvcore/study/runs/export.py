"""The 2-AFC questions of a study in the layout of the published experiment's trials, answers beside them.

A folder ``task_1`` with ``index.json`` (name, number of references, trials and catch trials) and, for each trial,
``trials/trial_K/queries/{max,min}.png`` and ``trials/trial_K/references/{max,min}_{0…8}.png`` (Zimmermann, Klein,
Brendel, NeurIPS 2023; github brendel-group/imi). What the published files do not have is in ``trials.csv`` and
``answers.csv``.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from xvcore.errors import StoreError
from xvcore.query import table
from xvcore.runs.images import records
from xvcore.store import Store
from xvcore.store.encode import encoded
from xvcore.study.method.compose import SIDES
from xvcore.study.runs.score import the_study

TASK = "two_afc"


def export_trials(store: Store, out: Path, *, study_id: str | None = None) -> int:
    """Write the trials of a study below a folder and return their number.

    Parameters
    ----------
    store : with the study
    out : folder; ``task_1`` and the CSV files are written there
    study_id : of the study; ``None``: the only one of the store

    Raises
    ------
    StoreError
        No such study, or one without 2-AFC questions.
    """
    run_id = str(the_study(store, study_id)["run_id"])
    questions = records(table(store, "study_questions", run_id=run_id, filters={"task": TASK}))
    if not questions:
        raise StoreError(f"study {run_id} has no questions of task {TASK}: there are no trials to export")
    pictures = {
        row["picture_id"]: encoded(row["picture"])
        for row in records(table(store, "study_pictures", run_id=run_id, filters={"task": TASK}))
    }
    folder = out / "task_1"
    questions.sort(key=lambda row: (row["role"] != "practice", row["question_id"]))
    rows = [_trial(folder / "trials" / f"trial_{n}", n, row, pictures) for n, row in enumerate(questions, 1)]
    index = {
        "task_name": f"{run_id}/task_1",
        "n_reference_images": max(row["n_references"] for row in rows),
        "n_trials": len(rows),
        "catch_trials": [row["trial"] for row in rows if row["catch_trial"]],
        "demo_trials": [row["trial"] for row in rows if row["is_demo"]],
    }
    (folder / "index.json").write_text(json.dumps(index, indent=1))
    trials = pd.DataFrame(rows)
    trials.to_csv(out / "trials.csv", index=False)
    answers = table(store, "study_answers", run_id=run_id, filters={"task": TASK})
    told = answers.merge(trials[["question_id", "trial", "catch_trial", "is_demo"]], on="question_id")
    told = told.assign(correct=told["is_right"], rt=told["seconds"] * 1000, participant=told["session"])
    columns = ["participant", "trial", "catch_trial", "is_demo", "choice", "correct", "confidence", "rt", "is_counted"]
    told[columns].to_csv(out / "answers.csv", index=False)
    return len(rows)


def _trial(folder: Path, number: int, row: Mapping[str, Any], pictures: Mapping[str, bytes | None]) -> dict[str, Any]:
    by_side: dict[str, list[bytes | None]] = {}
    for side, name in zip(row["sides"], row["pictures"], strict=True):
        by_side.setdefault(side, []).append(pictures[name])
    right = SIDES.index(row["truth"][0])
    queries = {"max": by_side["query"][right], "min": by_side["query"][1 - right]}
    for side, data in queries.items():
        _png(folder / "queries" / f"{side}.png", data)
        for place, each in enumerate(by_side[side]):
            _png(folder / "references" / f"{side}_{place}.png", each)
    return {
        "trial": number,
        "question_id": row["question_id"],
        "catch_trial": row["role"] == "catch",
        "is_demo": row["role"] == "practice",
        "n_references": len(by_side["max"]),
        "correct_query": SIDES[right],
        "model": row["judged_model"],
        "unit": row["subject_id"],
        "group": row["subject_group"],
    }


def _png(path: Path, data: bytes | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(data or b"")) as image:
        image.convert("RGB").save(path, "PNG")
