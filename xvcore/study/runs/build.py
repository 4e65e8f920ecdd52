"""Make a study of runs of a store: subjects, questions, pictures, as tables, and the file for people."""

import datetime
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xvcore.errors import ParameterError, StoreError, unknown_name
from xvcore.keys import digest
from xvcore.parameters import as_dict
from xvcore.runs.images import records
from xvcore.store import Store
from xvcore.study.method.common_part import common_parts
from xvcore.study.method.compose import numbered
from xvcore.study.method.question import Picture, Question, Subject, Task
from xvcore.study.page.sheet import html
from xvcore.study.runs.explanations import check_runs, distinctions
from xvcore.study.runs.parts_seen import PartsSeen
from xvcore.study.runs.patches import Cutter, PictureOf, strip
from xvcore.study.runs.subjects import READERS, subjects_of
from xvcore.study.settings import Study

logger = logging.getLogger(__name__)
MIXED = "all"
SHEET = 9
"""Pictures of a sheet of a subject."""


@dataclass(frozen=True, slots=True)
class Built:
    """A study that was made.

    Parameters
    ----------
    study_id : its run id
    path : the file for people
    n_bytes : its size
    n_questions : main questions and catch trials
    n_subjects : subjects, controls among them
    """

    study_id: str
    path: Path
    n_bytes: int
    n_questions: int
    n_subjects: int


def judged_runs(store: Store, run_ids: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return the rows of the runs that are judged: those named, else all that a study can be made of.

    Raises
    ------
    StoreError
        A run that there is not, or none that has anything to be judged.
    ParameterError
        A run of a family that no study is made of, or runs of several datasets.
    """
    rows = records(store.runs())
    known = {str(row["run_id"]): row for row in rows}
    for each in run_ids or ():
        if each not in known:
            raise StoreError(str(unknown_name(f"run in {store.url}:", each, known)))
        if known[each]["method"] not in READERS:
            raise ParameterError(f"run {each} is of {known[each]['method']}: a study is of {', '.join(READERS)}")
    chosen = [known[each] for each in run_ids] if run_ids else [row for row in rows if row["method"] in READERS]
    if not chosen:
        raise StoreError(f"{store.url} has no run of {', '.join(READERS)}: nothing to ask about")
    datasets = {(str(row["dataset"]), row["split"]) for row in chosen}
    if len(datasets) > 1:
        shown = ", ".join(sorted(f"{dataset} {split or ''}".strip() for dataset, split in datasets))
        raise ParameterError(f"runs of {len(datasets)} datasets ({shown}): a study is of one; name runs by --run")
    return chosen


def build_study(
    store: Store,
    out: Path,
    settings: Study,
    *,
    run_ids: Sequence[str] | None = None,
    picture_of: PictureOf | None = None,
) -> Built:
    """Make a study, write its tables and its HTML file, and return what was made.

    The same store, runs and settings give the same study, byte for byte.

    Parameters
    ----------
    store : with the runs; the study's tables are written there
    out : file for people
    settings : every parameter
    run_ids : what is judged; ``None``: all that can be
    picture_of : gives images as networks saw them; without it there is no control of raw regions, and no context

    Raises
    ------
    XvError
        Runs that no study can be made of, or none that has subjects enough for a task.
    """
    runs = judged_runs(store, run_ids)
    subjects: list[Subject] = []
    names: set[str] = set()
    for run in runs:
        seen = PartsSeen(store, run)
        cutter = Cutter(run, picture_of, settings.picture_px, settings.context)
        subjects += subjects_of(store, run, cutter, seen, most=settings.per_run, seed=settings.seed)
        names.update(seen.names)
    if subjects and not any(each.group == "raw_region" for each in subjects):
        logger.warning("the images cannot be had: the study has no control of raw regions")
    wanted = _shares(settings)
    of_pictures: dict[Task, int] = {task: number for task, number in wanted.items() if task != "distinction"}
    questions = settings.questions.tasks(subjects, of_pictures, seed=settings.seed, names=sorted(names))
    if "distinction" in wanted:
        questions = _with_distinctions(store, runs, subjects, questions, wanted["distinction"], settings)
    _check(questions, wanted, subjects)
    study_id = f"study-{digest([as_dict(settings), Study.version, _facts(runs), _content(questions)])}"
    text = html(study_id, _content(questions), questions, _title(runs), settings)
    _write(store, study_id, runs, settings, subjects, questions)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    n_counted = sum(each.role != "practice" for each in questions)
    return Built(study_id, out, len(text.encode()), n_counted, len(subjects))


def _with_distinctions(  # noqa: PLR0913, PLR0917
    store: Store,
    runs: Sequence[Mapping[str, Any]],
    subjects: Sequence[Subject],
    questions: Sequence[Question],
    number: int,
    settings: Study,
) -> list[Question]:
    """Return the questions and those of distinction, with practice and catch trials of their own."""
    usable = check_runs(runs)
    around = settings.questions.tasks(subjects, {"distinction": 0}, seed=settings.seed + 1, names=())
    n_catch = round(number * settings.questions.catch_share)
    catch = settings.questions.caught("distinction", subjects, n_catch, seed=settings.seed + 1)
    main = number - n_catch
    asked = itertools.chain.from_iterable(
        distinctions(
            store,
            run,
            (main + place) // len(usable),
            n_classes=settings.n_explanations,
            side=max(160, settings.picture_px),
            seed=settings.seed,
        )
        for place, run in enumerate(usable)
    )
    return numbered([*questions, *around, *asked, *catch])


def _shares(settings: Study) -> dict[Task, int]:
    n = len(settings.tasks)
    return {task: (settings.trials + place) // n for place, task in enumerate(settings.tasks)}  # type: ignore[misc]


def _check(questions: Sequence[Question], wanted: Mapping[Task, int], subjects: Sequence[Subject]) -> None:
    for task in wanted:
        if not any(each.task == task and each.role == "main" for each in questions):
            n = sum(each.group == "found" for each in subjects)
            raise ParameterError(
                f"task {task} can be asked of none of the {n} subjects: too few pictures; leave it out of tasks, or "
                "lower questions.n_items"
            )


def _content(questions: Sequence[Question]) -> str:
    """Return a digest of all that is asked, pictures included."""
    return digest(
        [
            [each.question_id, each.block, each.task, each.role, each.options, each.truth]
            + [[placed.side, _picture_id(placed.picture)] for placed in each.pictures]
            for each in questions
        ],
        24,
    )


def _picture_id(picture: Picture) -> str:
    return digest([picture.data.hex(), (picture.projection or b"").hex()], 16)


def _facts(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(str(run["run_id"]) for run in runs)


def _title(runs: Sequence[Mapping[str, Any]]) -> str:
    return " + ".join(dict.fromkeys(str(run["model"]) for run in runs))


def _write(  # noqa: PLR0913, PLR0917
    store: Store,
    study_id: str,
    runs: Sequence[Mapping[str, Any]],
    settings: Study,
    subjects: Sequence[Subject],
    questions: Sequence[Question],
) -> None:
    now = datetime.datetime.now(datetime.UTC)
    classes = sorted({str(each) for run in runs for each in ([] if run["class_ids"] is None else run["class_ids"])})
    row = {
        "run_id": study_id,
        "model": _title(runs),
        "method": Study.method,
        "created_at": now,
        "dataset": runs[0]["dataset"],
        "split": runs[0]["split"],
        "input_px": runs[0]["input_px"],
        "class_ids": classes,
        "n_classes": len(classes),
        "seed": settings.seed,
        "params": as_dict(settings),
        "params_hash": digest(as_dict(settings)),
        "env": {"judged": _facts(runs), "content": _content(questions)},
    }
    store.write_run({**row, "status": "running"})
    for method in sorted({each.method for each in subjects}):
        rows = [_subject_row(each, settings) for each in subjects if each.method == method]
        store.write("study_subjects", study_id, method, rows)
    for task in sorted({each.task for each in questions}):
        of_task = [each for each in questions if each.task == task]
        store.write("study_questions", study_id, task, [_question_row(each) for each in of_task])
        pictures = {_picture_id(placed.picture): placed.picture for each in of_task for placed in each.pictures}
        shown = [{"task": task, "picture_id": name, "picture": _cell(each.data)} for name, each in pictures.items()]
        store.write("study_pictures", study_id, task, shown)
    for class_id in classes:
        n = sum(each.class_id == class_id and each.group == "found" for each in subjects)
        record = {
            "status": "complete",
            "attempt": 1,
            "n_images": 0,
            "n_subjects": n,
            "seconds": 0.0,
            "finished_at": now,
        }
        store.write("class_runs", study_id, class_id, [record])
    store.write_run({**row, "status": "complete", "finished_at": now})
    store.publish(study_id)


def _subject_row(subject: Subject, settings: Study) -> dict[str, Any]:
    parts, share = common_parts([each.parts for each in subject.members], least_share=settings.questions.least_share)
    return {
        "subject_id": subject.subject_id,
        "judged_run_id": subject.run_id,
        "judged_model": subject.model,
        "judged_method": subject.method,
        "class_id": subject.class_id or None,
        "scope": subject.scope,
        "label": subject.label,
        "subject_group": subject.group,
        "control_of": subject.control_of or None,
        "n_members": len(subject.members),
        "n_others": len(subject.others),
        "common_parts": list(parts),
        "part_share": share if parts else None,
        "image_ids": [each.image_id for each in subject.members],
        "sheet": _cell(strip([each.data for each in subject.members[:SHEET]], columns=SHEET, side=64)),
    }


def _question_row(question: Question) -> dict[str, Any]:
    subject = question.subject
    shown = [each.picture for each in question.pictures]
    return {
        "task": question.task,
        "question_id": question.question_id,
        "role": question.role,
        "subject_id": subject.subject_id or None if subject else None,
        "judged_run_id": subject.run_id if subject else None,
        "judged_model": subject.model if subject else None,
        "judged_method": subject.method if subject else None,
        "subject_group": question.group,
        "prediction": question.prediction or None,
        "options": list(question.options),
        "truth": list(question.truth),
        "chance": question.chance,
        "sides": [each.side for each in question.pictures],
        "image_ids": [each.image_id for each in shown],
        "picture_parts": ["|".join(each.parts) for each in shown],
        "pictures": [_picture_id(each) for each in shown],
        "sheet": _cell(strip([each.data for each in shown], columns=10, side=48)),
    }


def _cell(data: bytes) -> dict[str, Any]:
    return {"bytes": data, "path": None}
