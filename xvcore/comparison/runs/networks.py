"""The networks of a comparison, each as the run of its visual summaries; and what of these is missing."""

import dataclasses
import functools
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from xvcore.comparison.settings import Comparison
from xvcore.errors import StoreError, XvError
from xvcore.models import Classifier, load
from xvcore.parameters import as_dict, replaced
from xvcore.runs import pipeline
from xvcore.runs.images import records
from xvcore.runs.run import Run, RunSpec, device_of, open_run
from xvcore.store import Store
from xvcore.visual_summaries.settings import VisualSummaries


def summary_runs(run: Run[Comparison]) -> tuple[Run[VisualSummaries], ...]:
    """Return the visual summaries of each network of a comparison, opened; the run's own network comes first."""
    return opened_summaries(run.spec)


@functools.lru_cache(maxsize=2)
def opened_summaries(spec: RunSpec[Comparison]) -> tuple[Run[VisualSummaries], ...]:
    """Return the same for a spec; opened once per process."""
    settings = settings_in_store(Store(spec.store), spec.settings.summaries)
    return tuple(
        open_run(dataclasses.replace(spec, model=model, settings=settings), classifier)  # type: ignore[arg-type]
        for model, classifier in zip(_models(spec), _classifiers(_models(spec), spec.device), strict=True)
    )


def settings_in_store(store: Store, params_hash: str) -> VisualSummaries:
    """Return the parameters of the visual summaries that have this hash in a store.

    Raises
    ------
    StoreError
        No run has it.
    """
    known = {row["params_hash"]: row["params"] for row in _summary_rows(store)}
    if params_hash not in known:
        raise StoreError(
            f"no visual summaries with params_hash {params_hash!r} in {store.url}"
            f" (there: {', '.join(sorted(map(str, known))) or 'none'})"
        )
    settings: VisualSummaries = replaced(VisualSummaries(), _flat(json.loads(known[params_hash])))
    return settings


def resolved(spec: RunSpec[Comparison]) -> RunSpec[Comparison]:
    """Return the spec with the visual summaries named that it compares, where it leaves them open.

    Those that all its networks have of this dataset: the only ones, or the only ones that are complete in all.

    Raises
    ------
    StoreError
        None, or several: they are listed.
    """
    for cache in (opened_summaries, _classifiers):
        cache.cache_clear()  # weights may have been written anew since the last comparison of this process
    if spec.settings.summaries:
        settings_in_store(Store(spec.store), spec.settings.summaries)
        return spec
    store = Store(spec.store)
    names = {classifier.name for classifier in _classifiers(_models(spec), spec.device)}
    having: dict[str, dict[str, str]] = {}
    for row in _summary_rows(store):
        having.setdefault(row["params_hash"], {})[row["model"]] = row["status"]
    of_all = [params_hash for params_hash, models in having.items() if names <= set(models)]
    complete = [each for each in of_all if all(having[each][name] == "complete" for name in names)]
    chosen = complete if complete else of_all
    if len(chosen) != 1:
        raise StoreError(_choice(store, chosen, having, sorted(names)))
    return dataclasses.replace(spec, settings=dataclasses.replace(spec.settings, summaries=chosen[0]))


def check_seeds(settings: Comparison, names: Sequence[str]) -> None:
    """Refuse names of networks in ``seeds`` that are not compared."""
    for group in settings.seeds:
        for name in group.split("+"):
            if name not in names:
                raise XvError(f"seeds = {group!r}: {name!r} is none of the compared networks ({', '.join(names)})")


def check_summaries(runs: Sequence[Run[VisualSummaries]], class_ids: Sequence[str]) -> None:
    """Refuse classes whose visual summaries are not complete, by naming the commands that compute them.

    Raises
    ------
    StoreError
        Names every command.
    """
    missing = {run.run_id: [each for each in class_ids if not pipeline.is_complete(run, each)] for run in runs}
    commands = [command_for(run, missing[run.run_id]) for run in runs if missing[run.run_id]]
    if commands:
        of = ", ".join(f"{run.classifier.name} ({len(missing[run.run_id])})" for run in runs if missing[run.run_id])
        raise StoreError(f"classes without visual summaries: {of}; compute them first: {'; '.join(commands)}")


def command_for(run: Run[VisualSummaries], class_ids: Sequence[str]) -> str:
    """Return the command line that computes the visual summaries of some classes."""
    changes = _changes(as_dict(run.settings), as_dict(VisualSummaries()))
    quoted = ",".join(f'"{each}"' if "," in each else each for each in class_ids)
    words = ["xv", "summarise", "--dataset", run.spec.dataset, "--model", run.spec.model, "--store", run.spec.store]
    words += ["--classes", quoted]
    for class_id, output in run.spec.class_map:
        words += ["--class-map", f"{class_id}={output}"]
    for name, value in changes.items():
        words += ["--set", f"{name}={value}"]
    return shlex.join(words)


def _models(spec: RunSpec[Comparison]) -> tuple[str, ...]:
    return (spec.model, *spec.settings.others)


@functools.lru_cache(maxsize=1)
def _classifiers(models: tuple[str, ...], device: str) -> tuple[Classifier, ...]:
    """Return the networks of a comparison, loaded once for choosing its visual summaries and for reading them."""
    return tuple(load(model, device=device_of(device)) for model in models)


def _summary_rows(store: Store) -> list[dict[str, Any]]:
    rows = store.runs()
    return records(rows[rows["method"] == VisualSummaries.method])


def _choice(store: Store, chosen: Sequence[str], having: Mapping[str, Mapping[str, str]], names: list[str]) -> str:
    if chosen:
        return f"several visual summaries of {', '.join(names)} in {store.url}; choose one: " + ", ".join(
            f"--set summaries={each}" for each in sorted(chosen)
        )
    seen = "; ".join(f"{each}: {', '.join(sorted(models))}" for each, models in sorted(having.items())) or "none"
    return (
        f"no visual summaries with equal parameters of {', '.join(names)} in {store.url} (there, by params_hash: "
        f"{seen}); compute them first with xv summarise"
    )


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{path}{name}.") if isinstance(value, dict) else {f"{path}{name}": value}
    return found


def _changes(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters that differ from the defaults, as the command line takes them."""
    flat, known = _flat(values), _flat(defaults)
    return {
        name: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in flat.items()
        if value != known[name]
    }
