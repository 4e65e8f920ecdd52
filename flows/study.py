"""A study as a flow: made of what a store holds, answers scored, subjects named and judged, networks specialised."""

import logging
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from flows.flags import opened
from flows.forms import form, in_order, settings_of
from flows.orchestration import flow, is_reported, task
from xvcore.errors import ParameterError
from xvcore.runs.images import records
from xvcore.runs.originals import Originals
from xvcore.study.runs.build import build_study
from xvcore.study.runs.score import score_study, the_study
from xvcore.study.runs.tag import OWN, PARTS, tag_study
from xvcore.study.settings import Judge, Specialise, Study

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("flows.study")
JudgeForm = form(Judge, "JudgeSettings")
SpecialiseForm = form(Specialise, "SpecialiseSettings")
StudyForm = form(Study, "StudySettings")


class Step(StrEnum):
    """What is done with a study."""

    BUILD = "build"
    SCORE = "score"
    TAG = "tag"
    JUDGE = "judge"
    SPECIALISE = "specialise"


class StudyRequest(BaseModel):
    """A store, what is done with a study of it, and every parameter of that."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=in_order)

    store: Annotated[str, Field(description="Folder or fsspec URL of the results", min_length=1)] = "xv-store"
    steps: Annotated[
        list[Step],
        Field(description="What is done, in this order: build, score, tag, judge, specialise", min_length=1),
    ] = [Step.BUILD, Step.TAG]
    study: Annotated[str, Field(description="Id of the study; empty = the one built now, or the store's only one")] = ""
    runs: Annotated[list[str], Field(description="Of build: ids of the runs to be judged; empty = all")] = []
    out: Annotated[str, Field(description="Of build: the file for people", min_length=1)] = "study.html"
    answers: Annotated[list[str], Field(description="Of score: files of answers, or folders of them")] = []
    tagger: Annotated[str, Field(description=f"Of tag: {', '.join(OWN)}", pattern=f"^({'|'.join(OWN)})$")] = PARTS
    tags: Annotated[str, Field(description="Of tag by the user: CSV file, columns subject_id and tag")] = ""
    device: Annotated[str, Field(description="auto, cpu, cuda, cuda:N")] = "auto"
    settings: Annotated[StudyForm, Field(description="Every parameter of the study")] = StudyForm()  # type: ignore[valid-type]
    judge: Annotated[JudgeForm, Field(description="The machine that judges")] = JudgeForm()  # type: ignore[valid-type]
    specialise: Annotated[SpecialiseForm, Field(description="How networks are specialised")] = SpecialiseForm()  # type: ignore[valid-type]

    @property
    def asked(self) -> str:
        """What is asked for, in words; the name of the flow run."""
        return " · ".join(filter(None, [", ".join(self.steps), self.study, self.store]))


@flow(name="study", flow_run_name="study · {request.asked}")
def study(request: StudyRequest) -> str:
    """Do the steps of a study in their order, and return its id; on a server a table shows what came of them.

    Args:
        request: store, steps, and every parameter of them.
    """
    logger.info("asked for: %s, of the store %s", ", ".join(request.steps), request.store)
    if Step.SCORE in request.steps and not request.answers:
        raise ParameterError("answers is empty: name the files of answers that are to be scored")
    study_id = request.study or None
    if Step.BUILD in request.steps:
        if study_id:
            raise ParameterError(f"study {study_id}: a study that is built now gets its id from what it asks")
        study_id = build(request)
    for step, work in ((Step.SCORE, score), (Step.TAG, tag), (Step.JUDGE, judge), (Step.SPECIALISE, specialise)):
        if step in request.steps:
            study_id = work(request, study_id)
    return str(study_id)


@task
def build(request: StudyRequest) -> str:
    """Make the file for people and the tables of a study, and return its id."""
    store, settings = opened(request.store), settings_of(request.settings, Study)
    built = build_study(store, Path(request.out), settings, run_ids=request.runs or None, picture_of=Originals())
    _show("study-built", f"{built.n_questions} questions, {built.n_bytes / 1e6:.2f} MB: {request.out}", [])
    return built.study_id


@task
def score(request: StudyRequest, study_id: str | None) -> str:
    """Score files of answers."""
    scored = score_study(opened(request.store), [Path(each) for each in request.answers], study_id=study_id)
    columns = ["task", "judged_model", "subject_group", "population", "n_answers", "accuracy", "kappa", "above"]
    _show("study-scores", "Scores", _rows(scored.scores, columns))
    return scored.study_id


@task
def tag(request: StudyRequest, study_id: str | None) -> str:
    """Name what the study is about."""
    path = Path(request.tags) if request.tags else None
    found = tag_study(opened(request.store), request.tagger, study_id=study_id, path=path, picture_of=Originals())
    _show("study-tags", "Who gives the same names", _rows(found, ["tagger", "other", "n_subjects", "agreement"]))
    return _id(request, study_id)


@task
def judge(request: StudyRequest, study_id: str | None) -> str:
    """Let a network judge."""
    from xvcore.study.runs.judge import judge_study

    settings = settings_of(request.judge, Judge)
    found = judge_study(opened(request.store), settings, study_id=study_id, picture_of=Originals())
    _show("study-judged", "Machine scores", _rows(found, ["judge", "judged_model", "subject_group", "mis", "above"]))
    return _id(request, study_id)


@task
def specialise(request: StudyRequest, study_id: str | None) -> str:
    """Add classifiers of regions to their network's scores."""
    from xvcore.study.runs.specialise import specialise_study

    settings = settings_of(request.specialise, Specialise)
    found = specialise_study(opened(request.store), settings, study_id=study_id, device=request.device)
    columns = ["judged_model", "added", "n_held_out", "accuracy_alone", "gain", "gain_low", "gain_high", "p_value"]
    _show("study-specialised", "What classifiers of regions add", _rows(found, columns))
    return _id(request, study_id)


def _id(request: StudyRequest, study_id: str | None) -> str:
    return str(the_study(opened(request.store), study_id)["run_id"])


def _rows(frame: "pd.DataFrame", columns: list[str]) -> list[dict[str, Any]]:
    """Return the cells of some columns, rounded, as an artifact takes them: NaN is no JSON."""
    return [
        {
            name: (None if math.isnan(value) else round(value, 3)) if isinstance(value, float) else value
            for name, value in row.items()
        }
        for row in records(frame[columns])
    ]


def _show(key: str, said: str, rows: list[dict[str, Any]]) -> None:
    """Leave a table, or a line, beside the run on a server."""
    if not is_reported():
        return
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    if rows:
        create_table_artifact(rows, key=key, description=said)
    else:
        create_markdown_artifact(said, key=key)
