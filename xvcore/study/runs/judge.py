"""Let a machine judge the subjects of a study: MIS of what was found beside its controls."""

import dataclasses
import io
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from xvcore.comparison.method.resampling import interval, mean_of
from xvcore.errors import ParameterError
from xvcore.models import load
from xvcore.query import table
from xvcore.runs.images import records
from xvcore.runs.run import device_of
from xvcore.store import Store
from xvcore.study.method.question import GROUPS, Picture, Subject
from xvcore.study.method.similarity import LayerSimilarity, Lpips, Similarity
from xvcore.study.runs.build import judged_runs
from xvcore.study.runs.parts_seen import PartsSeen
from xvcore.study.runs.patches import Cutter, PictureOf
from xvcore.study.runs.score import judged_ids, settings_of, the_study
from xvcore.study.runs.subjects import subjects_of
from xvcore.study.settings import Judge
from xvcore.types import Images

LEAST = 2
"""Pictures of either side: a query and a reference."""


def similarity_of(judge: Judge, *, device: str = "auto") -> Similarity:
    """Return the similarity that a judge sees by; XvError where network or package cannot be had."""
    if not judge.trunk:
        raise ParameterError("trunk is empty: name the network that judges, e.g. trunk=squeezenet1_1@weights/s.pt")
    trunk = load(judge.trunk, device=device_of(device))
    return Lpips(trunk) if judge.similarity == "lpips" else LayerSimilarity(trunk)


def judge_study(
    store: Store,
    judge: Judge,
    *,
    study_id: str | None = None,
    picture_of: PictureOf | None = None,
    similarity: Similarity | None = None,
) -> pd.DataFrame:
    """Score every subject of a study, write ``machine_scores`` and ``machine_means``, and return the latter's new rows.

    Subjects are made again from the runs, by the study's own parameters: they have the same pictures.

    Parameters
    ----------
    store : with the study
    judge : which network judges, and how
    study_id : of the study; ``None``: the only one of the store
    picture_of : gives images as networks saw them, as for :func:`xvcore.study.runs.build.build_study`
    similarity : in the place of the judge's own

    Raises
    ------
    XvError
        No such study, or a network or package that cannot be had.
    """
    run = the_study(store, study_id)
    run_id, settings = str(run["run_id"]), settings_of(run)
    seen_by = similarity or similarity_of(judge)
    rows = []
    for judged in judged_runs(store, judged_ids(run)):
        cutter = Cutter(judged, picture_of, settings.picture_px, settings.context)
        parts = PartsSeen(store, judged)
        subjects = subjects_of(store, judged, cutter, parts, most=settings.per_run, seed=settings.seed)
        rows += [_row(each, judge, seen_by, judged) for each in subjects if _is_fit(each)]
    name = seen_by.name
    store.write("machine_scores", run_id, name, [{**row, "judge": name} for row in rows])
    means = list(_means(pd.DataFrame(rows), judge.score.seed)) if rows else []
    store.write("machine_means", run_id, name, [{**row, "judge": name} for row in means])
    store.publish(run_id)
    return table(store, "machine_means", run_id=run_id, filters={"judge": name})


def _is_fit(subject: Subject) -> bool:
    return min(len(subject.members), len(subject.others)) >= LEAST


def _row(subject: Subject, judge: Judge, similarity: Similarity, run: Mapping[str, Any]) -> dict[str, Any]:
    members = subject.members[: judge.most_members]
    others = subject.others[: judge.most_members]
    pixels = torch.stack([_pixels(each, judge.side_px) for each in (*members, *others)])
    score = judge.score(similarity(pixels), len(members))
    return {
        "subject_id": subject.subject_id,
        "judged_run_id": subject.run_id,
        "judged_model": subject.model,
        "judged_method": subject.method,
        "subject_group": subject.group,
        "control_of": subject.control_of or None,
        **dataclasses.asdict(score),
        "n_tasks": judge.score.n_tasks,
        "alpha": judge.score.alpha,
        "is_circular": similarity.weights_sha256 == run["weights_sha256"],
    }


def _pixels(picture: Picture, side: int) -> torch.Tensor:
    """Return a picture as a square of ``side`` pixels in [0, 1], as published references are."""
    with Image.open(io.BytesIO(picture.data)) as image:
        square = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    pixels: Images = torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255
    return pixels


def _means(rows: pd.DataFrame, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each network, family and group: the mean score, and how far what was found is above a control."""
    for (model, method), of_run in rows.groupby(["judged_model", "judged_method"], sort=True):
        found = of_run[of_run["subject_group"] == "found"].set_index(["judged_run_id", "subject_id"])
        for group in GROUPS:
            of_group = of_run[of_run["subject_group"] == group]
            if len(of_group):
                row = {
                    "judged_model": model,
                    "judged_method": method,
                    "subject_group": group,
                    "n_subjects": len(of_group),
                    "is_circular": bool(of_group["is_circular"].any()),
                    **_mean("mis", of_group["mis"].to_numpy(), seed),
                    **_mean("two_afc", of_group["two_afc"].to_numpy(), seed),
                }
                yield row | ({} if group == "found" else _above(found, of_group, seed))


def _mean(name: str, values: np.ndarray, seed: int) -> dict[str, Any]:
    low, high = interval(lambda places: float(values[places].mean()), len(values), seed=seed)
    ends = {f"{name}_low": low, f"{name}_high": high} if len(values) > 1 else {}
    return {name: float(values.mean()), **{key: value for key, value in ends.items() if not math.isnan(value)}}


def _above(found: pd.DataFrame, control: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Return how much higher the scores of subjects are than those of their own controls, paired."""
    known = [row for row in records(control) if (row["judged_run_id"], row["control_of"]) in found.index]
    pairs = [(float(found.loc[(row["judged_run_id"], row["control_of"]), "mis"]), row["mis"]) for row in known]
    if not pairs:
        return {}
    mean = mean_of(np.array([one - other for one, other in pairs]), seed=seed)
    values = {"above": mean.value, "above_low": mean.low, "above_high": mean.high, "p_value": mean.p_value}
    return {name: value for name, value in values.items() if not math.isnan(value)}
