"""Figures, findings and tables over all classes of a run, or over the runs of several networks.

One network: they carry the run's own id. Several: the runs stay what they are, one a network, and what compares them
carries an id of its own, a digest of theirs; ``comparisons`` says which. So comparing costs no second pass of any
network, a network can be compared with others later, and a killed request resumes class by class.

SVG goes into the table ``figures``, not into files beside it: a figure appears whole or not at all, on a disk and on
an object store alike, is published, copied and queried with the run it belongs to, and a page takes the text as it is.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pandas as pd

from xvcore.analyses.analysis import Figure, Results, analyses
from xvcore.errors import XvError
from xvcore.keys import digest, slug
from xvcore.report.findings import Finding
from xvcore.runs.images import records
from xvcore.runs.run import Run
from xvcore.runs.stage import needed
from xvcore.store import SCHEMAS


def compare(runs: Sequence[Run[Any]]) -> str:
    """Draw the figures and write the joined tables of some runs of one analysis; return the id that they carry.

    Only classes that all runs have finished count. Nothing is done where these are the same as the last time.

    Raises
    ------
    XvError
        Fewer networks than the analysis compares, or runs of different analyses, settings or datasets.
    """
    _check(runs)
    for run in runs if len(runs) > 1 else ():
        compare([run])
    analysis, owner, store = analyses[runs[0].settings.method], comparison_id(runs), runs[0].store
    results = Results(tuple(runs), tuple(_finished(runs)))
    made_of = [
        {
            "run_id": owner,
            "position": index,
            "of_run": run.run_id,
            "model": run.classifier.name,
            "n_classes": len(results.class_ids),
            "classes_digest": digest(list(results.class_ids)),
        }
        for index, run in enumerate(runs)
    ]
    if not results.class_ids or _is_made_of(runs[0], owner, made_of):
        return owner
    is_enough, is_published = len(runs) >= analysis.least_networks, store.is_published(owner)
    store.withdraw(owner)
    if is_enough:
        if analysis.join:
            results = dataclasses.replace(results, made=analysis.join(results))
        for table, frame in results.made.items():
            _write_shards(runs, owner, table, records(frame))
        figures = [_drawn(figure) for figure in analysis.figures(results)]
        _write_shards(runs, owner, "figures", figures)
    found = list(analysis.findings(results)) if analysis.findings and is_enough else []
    store.write("findings", owner, "runs", [_row(owner, *each) for each in enumerate(found)])
    store.write("comparisons", owner, "runs", made_of)
    if is_published:
        store.publish(owner, needed(runs[0].settings.method))
    return owner


def comparison_id(runs: Sequence[Run[Any]]) -> str:
    """Return the id of what compares some runs: the run's own for one, else a digest of theirs in this order."""
    if len(runs) == 1:
        return runs[0].run_id
    names = "+".join(slug(run.classifier.name) for run in runs[:3]) + ("+more" if len(runs) > 3 else "")
    return f"{names}-{slug(runs[0].settings.method)}-{digest([run.run_id for run in runs])}"


def check_number(method: str, n_networks: int) -> None:
    """Refuse fewer networks than an analysis compares."""
    least = analyses[method].least_networks
    if n_networks < least:
        raise XvError(f"analysis {method} compares networks: expected at least {least}, not {n_networks}")


def _check(runs: Sequence[Run[Any]]) -> None:
    first = runs[0]
    for run in runs:
        if (run.settings, run.dataset.name, run.dataset.split) != (
            first.settings,
            first.dataset.name,
            first.dataset.split,
        ):
            raise XvError(f"{run.run_id} and {first.run_id} cannot be compared: other settings or another dataset")


def _finished(runs: Sequence[Run[Any]]) -> list[str]:
    done = [
        {
            class_id
            for class_id in run.store.classes_of("class_runs", run.run_id)
            if run.store.record(run.run_id, class_id)["status"][0].as_py() == "complete"
        }
        for run in runs
    ]
    return sorted(set.intersection(*done))


def _is_made_of(run: Run[Any], owner: str, made_of: list[dict[str, Any]]) -> bool:
    if not run.store.has("comparisons", owner, "runs") or not run.store.has("findings", owner, "runs"):
        return False
    return records(run.store.read("comparisons", owner, "runs")) == made_of


def _row(owner: str, position: int, finding: Finding) -> dict[str, Any]:
    row = dataclasses.asdict(finding)
    return {"run_id": owner, "position": position, "holds": finding.holds, "null_value": row.pop("null"), **row}


def _drawn(figure: Figure) -> dict[str, Any]:
    try:
        return {"name": figure.name, "title": figure.title, "svg": figure.draw(), "error": None}
    except XvError as error:
        return {"name": figure.name, "title": figure.title, "svg": None, "error": str(error)}


def _write_shards(runs: Sequence[Run[Any]], owner: str, table: str, rows: list[dict[str, Any]]) -> None:
    """Write one part for each value of the table's shard, and remove those of an earlier time that are no more."""
    store, schema = runs[0].store, SCHEMAS[table]
    shard = schema.shard or "run_id"
    network = {"model": " + ".join(run.classifier.name for run in runs)} if "model" in schema else {}
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        plain = {name: None if _is_missing(value) else value for name, value in row.items()}
        found.setdefault(str(row[shard]), []).append({**network, **plain, "run_id": owner})
    for name, part in found.items():
        store.write(table, owner, name, part)
    for name in set(store.classes_of(table, owner)) - set(found):
        store.remove(table, owner, name)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and pd.isna(value))
