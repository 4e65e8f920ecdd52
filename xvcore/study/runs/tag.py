"""Names for the subjects of a study: by annotated parts, by people, by the user, by a text-image model; who agrees."""

import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from xvcore.comparison.method.resampling import interval
from xvcore.errors import ParameterError, StoreError, unknown_name
from xvcore.query import table
from xvcore.runs.images import records
from xvcore.store import Store
from xvcore.study.method.agreement import cohen_kappa
from xvcore.study.method.common_part import common_parts
from xvcore.study.method.question import NONE, Subject
from xvcore.study.runs.build import judged_runs
from xvcore.study.runs.part_maps import PartMaps
from xvcore.study.runs.parts_seen import PartsSeen
from xvcore.study.runs.patches import Cutter, PictureOf
from xvcore.study.runs.score import judged_ids, settings_of, the_study
from xvcore.study.runs.subjects import subjects_of
from xvcore.study.runs.text_image import TextImage

PARTS, MAPS, PEOPLE, USER = "parts", "maps", "people", "user"
OWN = (PARTS, MAPS, PEOPLE, USER)
"""Taggers that need no model."""
_SUBJECT = ("subject_id", "judged_run_id", "judged_model", "judged_method", "subject_group")


def tag_study(  # noqa: PLR0913
    store: Store,
    tagger: str = PARTS,
    *,
    study_id: str | None = None,
    path: Path | None = None,
    model: TextImage | None = None,
    picture_of: PictureOf | None = None,
) -> pd.DataFrame:
    """Name the subjects of a study, compare with all who named them before, and return the agreement.

    Parameters
    ----------
    store : with the study
    tagger : ``parts``: the annotated part whose box most of its pictures contain; ``maps``: the same by the dataset's
        maps of parts, pixel by pixel, where it has some: what a name is right by; ``people``: their most frequent
        answer to the question of a name, of files that count; ``user``: a table; a text-image model's own name
        otherwise
    study_id : of the study; ``None``: the only one of the store
    path : of the user: a CSV file with the columns subject_id and tag
    model : of a text-image tagger
    picture_of : gives images as networks saw them, for a text-image tagger

    Raises
    ------
    XvError
        No such study, a table that names other subjects or none, no answers, or a tagger that is not known.
    """
    run = the_study(store, study_id)
    run_id = str(run["run_id"])
    subjects = records(table(store, "study_subjects", run_id=run_id))
    if tagger == PARTS:
        rows = list(_by_parts(subjects))
    elif tagger == MAPS:
        rows = list(_by_maps(store, run, picture_of))
    elif tagger == PEOPLE:
        rows = list(_by_people(store, run_id, subjects))
    elif tagger == USER:
        rows = list(_by_user(subjects, path))
    elif model is not None:
        rows = list(_by_model(store, run, model, picture_of))
    else:
        raise unknown_name("tagger", tagger, OWN)
    store.write("study_tags", run_id, tagger, [{**row, "tagger": tagger} for row in rows])
    _compare(store, run_id)
    store.publish(run_id)
    return table(store, "tagger_agreement", run_id=run_id)


def _by_parts(subjects: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in subjects:
        if len(row["common_parts"]):
            yield {**_keys(row), "tag": row["common_parts"][0], "share": row["part_share"], "n": row["n_members"]}


def _by_maps(store: Store, run: Mapping[str, Any], picture_of: PictureOf | None) -> Iterator[dict[str, Any]]:
    settings = settings_of(run)
    maps: dict[str, PartMaps] = {}
    for judged, subject in _subjects(store, run, picture_of):
        run_id = str(judged["run_id"])
        if run_id not in maps:
            maps[run_id] = PartMaps(judged, PartsSeen(store, judged).names)
        shown = maps[run_id]
        seen = [shown(each.class_id, each.image_id, each.box) for each in subject.members if each.box]
        parts, share = common_parts(seen, least_share=settings.questions.least_share)
        if parts:
            yield {**_of(subject), "tag": parts[0], "share": share, "n": len(seen)}


def _by_people(store: Store, run_id: str, subjects: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    answers = table(store, "study_answers", run_id=run_id, filters={"task": "name", "role": "main", "is_counted": True})
    if not len(answers):
        raise StoreError(f"study {run_id} has no answers to a name that count: score some first (xv study score)")
    by_subject = {row["subject_id"]: row for row in subjects}
    for subject_id, rows in answers.groupby("subject_id", sort=True):
        # Of equals the first by name: the order of files must not decide.
        tag, count = min(Counter(rows["choice"]).items(), key=lambda item: (-item[1], item[0]))
        yield {**_keys(by_subject[subject_id]), "tag": tag, "share": count / len(rows), "n": len(rows)}


def _by_user(subjects: Sequence[Mapping[str, Any]], path: Path | None) -> Iterator[dict[str, Any]]:
    if path is None:
        raise ParameterError("tagger user: name the table, a CSV file with the columns subject_id and tag")
    try:
        said = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ParameterError(f"{path}: no table of tags: {error}") from error
    if missing := [name for name in ("subject_id", "tag") if name not in said]:
        raise ParameterError(f"{path}: no column {missing[0]} (there are: {', '.join(said.columns)})")
    by_subject = {row["subject_id"]: row for row in subjects}
    for row in said.to_dict("records"):
        if row["subject_id"] not in by_subject:
            raise ParameterError(f"{path}: {unknown_name('subject', row['subject_id'], by_subject)}")
    told = [row for row in said.to_dict("records") if row["tag"].strip()]
    if not told or len({row["subject_id"] for row in told}) < len(told):
        raise ParameterError(f"{path}: expected a tag for some subject, and one for each at most")
    for row in told:
        yield {
            **_keys(by_subject[row["subject_id"]]),
            "tag": " ".join(row["tag"].split()).casefold(),
            "share": None,
            "n": 1,
        }


def _by_model(
    store: Store, run: Mapping[str, Any], model: TextImage, picture_of: PictureOf | None
) -> Iterator[dict[str, Any]]:
    """Yield for each subject the part whose words lie nearest to its pictures, on the average of these."""
    names: dict[str, tuple[str, ...]] = {}
    for judged, subject in _subjects(store, run, picture_of):
        run_id = str(judged["run_id"])
        if run_id not in names:
            names[run_id] = PartsSeen(store, judged).names
        known = names[run_id]
        if not known:
            raise ParameterError(f"run {run_id}: no part of its dataset is annotated, there is no name to choose")
        images = []
        for each in subject.members:
            with Image.open(io.BytesIO(each.data)) as image:
                images.append(image.convert("RGB"))
        shares = model(images, known)
        best = int(shares.mean(axis=0).argmax())
        yield {**_of(subject), "tag": known[best], "share": float(shares.mean(axis=0)[best]), "n": len(images)}


def _subjects(
    store: Store, run: Mapping[str, Any], picture_of: PictureOf | None
) -> Iterator[tuple[Mapping[str, Any], Subject]]:
    """Yield the subjects of a study, made again from its runs, each with the row of its run."""
    settings = settings_of(run)
    for judged in judged_runs(store, judged_ids(run)):
        cutter = Cutter(judged, picture_of, settings.picture_px, settings.context)
        seen = PartsSeen(store, judged)
        for subject in subjects_of(store, judged, cutter, seen, most=settings.per_run, seed=settings.seed):
            yield judged, subject


def _of(subject: Subject) -> dict[str, Any]:
    return {
        "subject_id": subject.subject_id,
        "judged_run_id": subject.run_id,
        "judged_model": subject.model,
        "judged_method": subject.method,
        "subject_group": subject.group,
    }


def _keys(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _SUBJECT}


def _compare(store: Store, run_id: str) -> None:
    """Write the agreement of each two taggers, on what was found and on all; one part a tagger."""
    taggers = store.classes_of("study_tags", run_id)
    tags = {each: store.read("study_tags", run_id, each).set_index("subject_id") for each in taggers}
    for one in taggers:
        rows = []
        for other in taggers:
            if other == one:
                continue
            both = tags[one].merge(tags[other][["tag"]], on="subject_id", suffixes=("", "_other")).sort_index()
            for group in ("found", "any"):
                chosen = both if group == "any" else both[both["subject_group"] == "found"]
                if len(chosen):
                    rows.append({"tagger": one, "other": other, "subjects": group, **_agreement(chosen)})
        store.write("tagger_agreement", run_id, one, rows)


def _agreement(rows: pd.DataFrame) -> dict[str, Any]:
    one, other = rows["tag"].to_list(), rows["tag_other"].to_list()
    equal = (rows["tag"] == rows["tag_other"]).to_numpy(bool)
    low, high = interval(lambda places: float(equal[places].mean()), len(equal))
    kappa = cohen_kappa(one, other)
    values = {"agreement": float(equal.mean()), "agreement_low": low, "agreement_high": high, "kappa": kappa}
    named = sum(each != NONE for each in one)
    known = {name: value for name, value in values.items() if not math.isnan(value)}
    return {"n_subjects": len(rows), "n_named": named, **known}
