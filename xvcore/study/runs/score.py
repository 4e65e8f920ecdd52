"""Score a study: files of answers to sessions, answers and scores; what does not count is kept and set apart."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xvcore.comparison.method.resampling import interval
from xvcore.errors import StoreError, unknown_name
from xvcore.parameters import replaced
from xvcore.query import table
from xvcore.runs.images import records
from xvcore.store import Store
from xvcore.study.method.agreement import counts_of, fleiss_kappa, modal_share
from xvcore.study.method.intervals import by_chance, difference_interval, share_interval
from xvcore.study.method.question import GROUPS, NONE
from xvcore.study.runs.answers import Asked, Sitting, read_answers
from xvcore.study.runs.params import flat_params
from xvcore.study.settings import Study

ALL = "all"
EITHER = "either"


@dataclass(frozen=True, slots=True)
class Scored:
    """What came of the files.

    Parameters
    ----------
    study_id : the study
    sessions : rows of ``study_sessions``
    scores : rows of ``study_scores``
    """

    study_id: str
    sessions: pd.DataFrame
    scores: pd.DataFrame


def the_study(store: Store, study_id: str | None) -> dict[str, Any]:
    """Return the row of a study, the only one where none is named.

    Raises
    ------
    StoreError
        There is none, there are several, or none of that id.
    """
    rows = [row for row in records(store.runs()) if row["method"] == Study.method]
    ids = [str(row["run_id"]) for row in rows]
    if study_id is None and len(rows) != 1:
        known = ", ".join(ids) if ids else "none: make one with xv study build"
        raise StoreError(f"{store.url} has {len(rows)} studies ({known}): name one by --study")
    found = next((row for row in rows if study_id in (None, row["run_id"])), None)
    if found is None:
        raise StoreError(str(unknown_name(f"study in {store.url}:", str(study_id), ids)))
    return found


def judged_ids(run: Mapping[str, Any]) -> list[str]:
    """Return the ids of the runs that a study is about."""
    return [str(each) for each in json.loads(run["env"])["judged"]]


def settings_of(run: Mapping[str, Any]) -> Study:
    """Return the parameters of a study."""
    return replaced(Study(), flat_params(run["params"]))


def asked_of(store: Store, study_id: str) -> dict[str, Asked]:
    """Return the questions of a study by their ids."""
    columns = [
        "question_id", "task", "role", "subject_id", "judged_run_id", "judged_model", "judged_method", "subject_group",
        "prediction", "options", "truth", "chance", "sides", "picture_parts",
    ]  # fmt: skip
    rows = records(table(store, "study_questions", run_id=study_id, columns=columns))
    return {
        row["question_id"]: Asked(
            row["question_id"], row["task"], row["role"], tuple(row["options"]), tuple(row["truth"]), row
        )
        for row in rows
    }


def score_study(store: Store, paths: Sequence[Path], *, study_id: str | None = None) -> Scored:
    """Read files of answers, write what they hold and what they are worth, and return it.

    All files of the study are given at once: sessions of an earlier call that are not among them go.

    Parameters
    ----------
    store : with the study
    paths : files, or folders of files ``*.json``
    study_id : of the study; ``None``: the only one of the store

    Raises
    ------
    StoreError
        No such study, or nothing at a path. What is wrong inside a file raises nothing: the file is marked.
    """
    run = the_study(store, study_id)
    run_id = str(run["run_id"])
    settings, asked = settings_of(run), asked_of(store, run_id)
    content = content_of(run)
    sittings = _judged(read_answers(paths), asked, settings, run_id, content)
    for name in ("study_sessions", "study_answers"):
        for session in store.classes_of(name, run_id):
            store.remove(name, run_id, session)
    sessions, answers = [], []
    for name, sitting in sittings.items():
        rows = list(_answer_rows(name, sitting, asked, settings))
        of_session = _session_row(name, sitting, asked, rows)
        store.write("study_sessions", run_id, name, [of_session])
        store.write("study_answers", run_id, name, rows)
        sessions.append(of_session)
        answers += rows
    frame = pd.DataFrame(answers)
    scores = list(_scores(frame, asked, settings.seed)) if len(frame) else []
    tasks = sorted({each.task for each in asked.values()})
    for task in tasks:
        store.write("study_scores", run_id, task, [row for row in scores if row["task"] == task])
    store.publish(run_id)
    return Scored(run_id, table(store, "study_sessions", run_id=run_id), table(store, "study_scores", run_id=run_id))


def content_of(run: Mapping[str, Any]) -> str:
    """Return the digest of all that a study asks."""
    return str(json.loads(run["env"])["content"])


def _judged(
    sittings: Sequence[Sitting], asked: Mapping[str, Asked], settings: Study, run_id: str, content: str
) -> dict[str, Sitting]:
    """Return the sittings by the names they get, with every reason why one does not count."""
    found: dict[str, Sitting] = {}
    # Of several files of one sitting the most complete counts: people save on the way, too.
    for each in sorted(sittings, key=lambda each: (-len(each.answers), each.file)):
        name, number = each.session, 1
        while name in found:
            number += 1
            name = f"{each.session}~{number}"
        judged = _marked(each, asked, settings, run_id, content)
        if number > 1:
            judged = judged.marked("doubled", f"the sitting is in {found[each.session].file} too")
        found[name] = judged
    named: dict[str, str] = {}
    for name, each in found.items():
        if each.participant and not each.marks:
            if each.participant in named:
                found[name] = each.marked("doubled", f"{each.participant!r} answered in {named[each.participant]} too")
            named.setdefault(each.participant, each.file)
    return found


def _marked(sitting: Sitting, asked: Mapping[str, Asked], settings: Study, run_id: str, content: str) -> Sitting:
    if "unreadable" in sitting.marks:
        return sitting
    if (sitting.study, sitting.content) != (run_id, content):
        if "edited" not in sitting.marks or sitting.study:
            return sitting.marked("foreign", f"answers to {sitting.study or 'no study'}, not to {run_id}")
        return sitting
    names = [each.question for each in sitting.answers]
    wrong = [each for each in sitting.answers if each.question not in asked or not asked[each.question].takes(each)]
    if wrong or len(set(names)) < len(names):
        what = f"{wrong[0].question}: {wrong[0].choice!r}" if wrong else "a question is answered twice"
        sitting = sitting.marked("edited", f"the page gives no such answer: {what}")
    known = [each for each in sitting.answers if each.question in asked]
    n_main = sum(each.role == "main" for each in asked.values())
    n_answered = len({each.question for each in known if asked[each.question].role == "main"})
    if n_answered < n_main:
        sitting = sitting.marked("unfinished", f"{n_answered} of {n_main} questions answered")
    counted = [each for each in known if asked[each.question].role != "practice"]
    hasty = sum(each.milliseconds < 1000 * settings.least_seconds for each in counted)
    if counted and hasty / len(counted) > settings.most_hasty:
        sitting = sitting.marked("hasty", f"{hasty} of {len(counted)} answers in under {settings.least_seconds:g} s")
    caught = [asked[each.question].is_right(each.choice) for each in known if asked[each.question].role == "catch"]
    if caught and sum(map(bool, caught)) / len(caught) < settings.least_caught:
        sitting = sitting.marked("inattentive", f"{sum(map(bool, caught))} of {len(caught)} catch trials right")
    return sitting


def _answer_rows(name: str, sitting: Sitting, asked: Mapping[str, Asked], settings: Study) -> Iterable[dict[str, Any]]:
    seen: set[str] = set()
    for answer in sitting.answers:
        # What is asked in another study has no row: its number means another question.
        if answer.question not in asked or answer.question in seen or "foreign" in sitting.marks:
            continue
        seen.add(answer.question)
        question = asked[answer.question]
        row = question.row
        yield {
            "session": name,
            "question_id": answer.question,
            "task": question.task,
            "role": question.role,
            **{each: row[each] for each in ("subject_id", "judged_run_id", "judged_model", "judged_method")},
            "subject_group": row["subject_group"],
            "prediction": row["prediction"],
            "place": min(max(answer.place, 0), 32767),
            "choice": answer.choice,
            "words": answer.words or None,
            "confidence": answer.confidence if answer.confidence in (1, 2, 3) else None,
            "seconds": answer.milliseconds / 1000,
            "is_right": question.is_right(answer.choice),
            "is_hasty": answer.milliseconds < 1000 * settings.least_seconds,
            "is_counted": not sitting.marks,
        }


def _session_row(
    name: str, sitting: Sitting, asked: Mapping[str, Asked], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    catch = [row for row in rows if row["role"] == "catch"]
    counted = [row for row in rows if row["role"] != "practice"]
    return {
        "session": name,
        "file": sitting.file,
        "participant": sitting.participant or None,
        "is_simulated": sitting.is_simulated,
        "marks": list(sitting.marks),
        "is_counted": not sitting.marks,
        "n_questions": sum(each.role == "main" for each in asked.values()),
        "n_answered": sum(row["role"] == "main" for row in rows),
        "n_catch": len(catch),
        "n_caught": sum(bool(row["is_right"]) for row in catch),
        "hasty_share": float(np.mean([row["is_hasty"] for row in counted])) if counted else None,
        "seconds": float(sum(row["seconds"] for row in rows)) if rows else None,
        "started_at": sitting.started,
        "saved_at": sitting.saved,
        "screen": sitting.screen,
        "error": sitting.error,
    }


def _scores(answers: pd.DataFrame, asked: Mapping[str, Asked], seed: int) -> Iterable[dict[str, Any]]:
    """Yield a row for each task, network, family, group, prediction and population that has answers."""
    main = answers[(answers["role"] == "main") & answers["subject_group"].notna()]
    for is_counted, population in ((True, "counted"), (False, "marked")):
        of_population = main[main["is_counted"] == is_counted]
        for (task, model, method), rows in _views(of_population):
            predictions = [EITHER, *sorted(rows["prediction"].dropna().unique())]
            for prediction in predictions:
                of_kind = rows if prediction == EITHER else rows[rows["prediction"] == prediction]
                keys = {
                    "task": task,
                    "judged_model": model,
                    "judged_method": method,
                    "prediction": prediction,
                    "population": population,
                }
                found = of_kind[of_kind["subject_group"] == "found"]
                for group in GROUPS:
                    of_group = of_kind[of_kind["subject_group"] == group]
                    if len(of_group):
                        control = {} if group == "found" else _above(found, of_group, seed)
                        yield {**keys, "subject_group": group, **_score(of_group, asked, seed), **control}


def _views(answers: pd.DataFrame) -> Iterable[tuple[tuple[str, str, str], pd.DataFrame]]:
    """Yield the answers to each task: of all, of each network, of each family, and of each pair, where several are."""
    for task, rows in answers.groupby("task", sort=True):
        models, methods = (sorted(rows[each].unique()) for each in ("judged_model", "judged_method"))
        for model in [ALL, *models]:
            for method in [ALL, *methods]:
                chosen = rows[
                    ((rows["judged_model"] == model) | (model == ALL))
                    & ((rows["judged_method"] == method) | (method == ALL))
                ]
                if len(chosen):
                    yield (str(task), str(model), str(method)), chosen


def _score(rows: pd.DataFrame, asked: Mapping[str, Asked], seed: int) -> dict[str, Any]:
    judged = rows[rows["is_right"].notna()]
    right = judged["is_right"].to_numpy(bool)
    low, high = share_interval(right, *_labels(judged), seed=seed) if len(judged) else (math.nan, math.nan)
    counts = counts_of(zip(rows["question_id"], rows["choice"], strict=True))
    kappa_low, kappa_high = interval(lambda places: fleiss_kappa(counts[places]), len(counts), n_draws=500, seed=seed)
    chances = [asked[each].row["chance"] for each in judged["question_id"]]
    known = [float(each) for each in chances if each is not None and not pd.isna(each)]
    chance = float(np.mean(known)) if known and len(known) == len(judged) else math.nan
    is_named = rows["task"].iloc[0] == "name"
    sure = rows["confidence"].dropna()
    return _plain({
        "n_questions": int(rows["question_id"].nunique()),
        "n_sessions": int(rows["session"].nunique()),
        "n_answers": len(rows),
        "n_judged": len(judged),
        "n_right": int(right.sum()),
        "accuracy": float(right.mean()) if len(judged) else math.nan,
        "accuracy_low": low,
        "accuracy_high": high,
        "chance": chance,
        "p_chance": by_chance(int(right.sum()), len(judged), chance) if math.isfinite(chance) else math.nan,
        "modal_share": modal_share(counts),
        "kappa": fleiss_kappa(counts),
        "kappa_low": kappa_low,
        "kappa_high": kappa_high,
        "none_share": float((rows["choice"] == NONE).mean()) if is_named else math.nan,
        "confidence": float(sure.mean()) if len(sure) else math.nan,
        "seconds": float(rows["seconds"].median()),
    })  # fmt: skip


def _above(found: pd.DataFrame, control: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Return how much more of what was found was answered rightly than of a control."""
    both = [each[each["is_right"].notna()] for each in (found, control)]
    if not all(map(len, both)):
        return {}
    sessions = {each: place for place, each in enumerate(sorted(set(both[0]["session"]) | set(both[1]["session"])))}
    arrays = [
        (each["is_right"].to_numpy(bool), each["session"].map(sessions).to_numpy(np.int64), _labels(each)[1])
        for each in both
    ]
    low, high = difference_interval(arrays[0], arrays[1], seed=seed)
    return {"above": float(arrays[0][0].mean() - arrays[1][0].mean()), "above_low": low, "above_high": high}


def _labels(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    people, questions = (pd.factorize(rows[each], sort=True)[0] for each in ("session", "question_id"))
    return np.asarray(people, np.int64), np.asarray(questions, np.int64)


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
