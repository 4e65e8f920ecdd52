"""A run: one method on one network and one split of a dataset, with one set of parameters, and the store it fills."""

import dataclasses
import datetime
import functools
import logging
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic

import torch

from xvcore.data import ClassInfo, Dataset, open_dataset
from xvcore.errors import StoreError, UnknownNameError, XvError, unknown_name
from xvcore.keys import digest, run_id
from xvcore.models import Classifier, load, outputs_for
from xvcore.models.labels import check_map, known_outputs
from xvcore.parameters import as_dict
from xvcore.plugins import plugins
from xvcore.runs.settings import Settings, Settings_co
from xvcore.runs.stage import DONE, import_pipeline, needed
from xvcore.runs.whole import is_whole, joined_parts, unknown_classes
from xvcore.store import Store

logger = logging.getLogger(__name__)
Progress = Callable[[int, int], None]
"""Called with the number of items done and their total."""


@dataclass(frozen=True)
class RunSpec(Generic[Settings_co]):
    """What names a run, as plain values: this, a class id and counts are all that passes between tasks.

    Parameters
    ----------
    dataset : ``KIND[:PATH][?key=value]``, see :func:`xvcore.data.open_dataset`
    model : ``NAME[@WEIGHTS][?key=value]``, see :func:`xvcore.models.load`
    store : folder or fsspec URL
    settings : every parameter of the method; their type says which method it is
    class_map : pairs (class of the dataset, output of the network) where names do not tell
    device : ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, …; does not enter the run id
    batch_size : images at once; does not move the numbers, hence not part of the run id
    """

    dataset: str
    model: str
    store: str
    settings: Settings_co
    class_map: tuple[tuple[str, str], ...] = ()
    device: str = "auto"
    batch_size: int = 16


@dataclass(frozen=True)
class Run(Generic[Settings_co]):
    """An opened run: the dataset, the frozen classifier, the store, and the id that names their results."""

    spec: RunSpec[Settings_co]
    store: Store
    dataset: Dataset
    classifier: Classifier
    run_id: str
    memo: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """What is found out once and asked often, under the function that keeps it."""

    @property
    def settings(self) -> Settings_co:
        """Every parameter of the method."""
        return self.spec.settings

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the classifier's input, in pixels."""
        return self.classifier.preprocessing.input_px

    def keys(self, class_id: str) -> dict[str, str]:
        """Return the key columns of every row of one class."""
        return {"run_id": self.run_id, "model": self.classifier.name, "class_id": class_id}

    def class_info(self, class_id: str) -> ClassInfo:
        """Return the class with this id, or raise UnknownNameError with the nearest ones."""
        found = self._classes.get(class_id)
        return found[1] if found else chosen_classes(self.dataset, [class_id])[0]

    def class_number(self, class_id: str) -> int:
        """Return the place of a class in the dataset, from 0; UnknownNameError where it has none such."""
        found = self._classes.get(class_id)
        if found is None:
            raise unknown_name("class", class_id, self._classes)
        return found[0]

    @functools.cached_property
    def classes_digest(self) -> str:
        """Digest of the ids of the dataset's classes in their order."""
        return digest(list(self._classes), 16)

    @functools.cached_property
    def _classes(self) -> dict[str, tuple[int, ClassInfo]]:
        return {info.class_id: (number, info) for number, info in enumerate(self.dataset.classes)}

    @functools.cached_property
    def targets(self) -> Mapping[str, int]:
        """Index of the output of each class of the dataset that one stands for, by class id, in the dataset's order."""
        return known_outputs(self.classifier, self.dataset.classes, dict(self.spec.class_map))

    def target(self, class_id: str) -> int:
        """Return the index of the output that stands for a class; LabelError when it cannot be told."""
        if class_id in self.targets:
            return self.targets[class_id]
        return outputs_for(self.classifier, [self.class_info(class_id)], dict(self.spec.class_map))[class_id]


def open_run(spec: RunSpec[Settings_co], classifier: Classifier | None = None) -> Run[Settings_co]:
    """Open dataset, network and store of a run; nothing is written.

    Parameters
    ----------
    spec : what is run
    classifier : the network, where it is in memory (:func:`xvcore.models.wrap`); ``spec.model`` is then only its name

    Raises
    ------
    XvError
        Whatever cannot be found or does not fit, with the value seen and the values allowed.
    """
    import_pipeline(type(spec.settings))
    dataset = open_dataset(spec.dataset)
    check_map(dict(spec.class_map), dataset.classes)
    device = device_of(spec.device)
    classifier = load(spec.model, device=device) if classifier is None else classifier.to(device)
    return Run(
        spec, Store(spec.store), dataset, classifier, run_id(spec.settings.method, _identity(spec, dataset, classifier))
    )


def announce(run: Run[Settings], class_ids: Sequence[str]) -> None:
    """Record the run and the classes asked for, before anything is computed; they add up over all attempts.

    What the dataset says of these classes is completed where an earlier attempt was stopped while it wrote that.
    """
    known = known_row(run)
    before = [] if known.get("class_ids") is None else list(known["class_ids"])
    if known.get("status") != "running" or not set(class_ids) <= set(before):
        row = {**_run_row(run), "created_at": known.get("created_at") or _now(), "joined": known.get("joined")}
        run.store.write_run({**row, "status": "running", "class_ids": sorted({*before, *class_ids})})
    missing = set(unknown_classes(run, class_ids))
    for info in run.dataset.classes:
        if info.class_id in missing:
            _write_class(run, info)


def is_concluded(run: Run[Settings], class_ids: Sequence[str]) -> bool:
    """Say whether an earlier attempt has completed these classes and joined and published what they gave.

    And nothing of it was lost or damaged since: every file of the classes is read.
    """
    known = known_row(run)
    is_ended = known.get("status") == "complete" and bool(known["published"])
    return is_ended and set(class_ids) <= set(known["class_ids"]) and is_whole(run, class_ids, known)


def has_ended(run: Run[Settings]) -> bool:
    """Say whether each class asked for, by whomever, is done, has failed or was stopped."""
    return set(_ends(run)) == set(known_row(run)["class_ids"])


def conclude(run: Run[Settings], *, joined: bool = True) -> str:
    """Set the run's status from the records of its classes, publish its tables, and return the status.

    ``complete`` when every class asked for is complete or skipped, ``failed`` when one failed or what the classes left
    could not be joined (``joined``), ``stopped`` when one was, else ``running``: other shards are still at work. When
    the last of them ends meanwhile, it is all done again: what was joined here without its classes may have replaced
    what it joined.

    Raises
    ------
    StoreError
        A complete class has lost a part: nothing is published, and the run counts as failed.
    """
    known = known_row(run)
    ends = _ends(run)
    done = [record for record in ends.values() if record["status"] in DONE]
    n_stopped = sum(record["status"] == "stopped" for record in ends.values())
    tables = needed(run.settings.method)
    has_lost = not run.store.lacking(run.run_id, tables).keys().isdisjoint(ends)
    has_failed = len(done) + n_stopped < len(ends) or not joined or has_lost
    is_complete = len(done) == len(known["class_ids"])
    status = "failed" if has_failed else "stopped" if n_stopped else "complete" if is_complete else "running"
    row = {
        **_run_row(run),
        "created_at": known["created_at"],
        "class_ids": sorted(known["class_ids"]),
        "n_classes": len(known["class_ids"]),
        "n_images": int(sum(record["n_images"] for record in done)),
        "joined": joined_parts(run) if joined and len(ends) == len(known["class_ids"]) else known.get("joined"),
        "finished_at": None if status == "running" else _now(),
        "status": status,
    }
    run.store.write_run(row)
    if ends:
        run.store.publish(run.run_id, tables)
    now = _ends(run)
    is_outdated = _states(now) != _states(ends) and set(now) == set(known_row(run)["class_ids"])
    return conclude(run, joined=joined) if is_outdated else status


@contextmanager
def watched(runs: Iterable[Run[Settings]]) -> Iterator[None]:
    """Record that runs are stopped where the block ends by an error or a signal before they were concluded.

    Whoever else is at work on one of them concludes it in the end.
    """
    try:
        yield
    except BaseException:
        for run in runs:
            _stop(run)
        raise


def _stop(run: Run[Settings]) -> None:
    try:
        known = known_row(run)
        if known.get("status") == "running":
            kept = {
                "created_at": known["created_at"],
                "joined": known["joined"],
                "class_ids": sorted(known["class_ids"]),
            }
            run.store.write_run({**_run_row(run), **kept, "status": "stopped", "finished_at": _now()})
    except StoreError as error:  # what ended the block is raised, and not this
        logger.warning("%s: it cannot be recorded that it was stopped: %s", run.run_id, error)


def _ends(run: Run[Settings]) -> dict[str, Any]:
    """Return the records of the classes asked for that are complete, skipped, failed or stopped."""
    asked = set(known_row(run)["class_ids"])
    rows = run.store.class_runs(run.run_id).to_dict("records")
    return {row["class_id"]: row for row in rows if row["class_id"] in asked and row["status"] != "running"}


def _states(ends: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {class_id: (record["status"], record["attempt"]) for class_id, record in ends.items()}


@functools.lru_cache(maxsize=2)
def opened(spec: RunSpec[Settings]) -> Run[Settings]:
    """Return the run of a spec, opened once per process: consecutive stages share the network in memory."""
    return open_run(spec)


def chosen_classes(dataset: Dataset, classes: Sequence[str] | None) -> tuple[ClassInfo, ...]:
    """Return the classes asked for by id or name, all where none is named.

    Raises
    ------
    UnknownNameError
        A class that the dataset does not have, with the nearest ones.
    """
    return tuple(_chosen(dataset.classes, classes)) if classes else tuple(dataset.classes)


def _chosen(classes: Iterable[ClassInfo], names: Sequence[str]) -> Iterable[ClassInfo]:
    by_name: dict[str, list[ClassInfo]] = {}
    for info in classes:
        for name in {info.class_id, info.class_name}:
            by_name.setdefault(name, []).append(info)
    for name in names:
        found = by_name.get(name, [])
        if len(found) != 1:
            if found:
                raise UnknownNameError(f"class {name!r} is ambiguous: {', '.join(each.class_id for each in found)}")
            raise unknown_name("class", name, by_name)
        yield found[0]


def device_of(name: str) -> str:
    """Return the device that a name stands for, ``auto`` included; XvError where this machine has none such."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda", "mps"):
        raise XvError(f"unknown device {name!r} (allowed: auto, cpu, cuda, cuda:N, mps)")
    if kind == "cuda" and not torch.cuda.is_available():
        raise XvError(f"device {name!r} asked for, but this machine has no CUDA device (allowed here: auto, cpu)")
    return name


def _identity(spec: RunSpec[Settings], dataset: Dataset, classifier: Classifier) -> Mapping[str, Any]:
    preprocessing = classifier.preprocessing
    outputs = classifier.outputs
    return {
        "model": classifier.name,
        "architecture": classifier.architecture.identity,
        "weights_sha256": classifier.weights_sha256,
        **({"state": classifier.state} if classifier.state else {}),
        "preprocessing": {
            **preprocessing.key(),
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            **({"channels": preprocessing.channels} if preprocessing.channels != "rgb" else {}),
        },
        "outputs": digest([output.wnid or output.name for output in outputs]) if outputs else None,
        "class_map": dict(spec.class_map),
        "dataset": dataset.name,
        "split": dataset.split,
        "params": as_dict(spec.settings),
        "method_version": spec.settings.version,
        **(
            {"networks": [f"{each.weights_sha256}{each.state and '#'}{each.state}" for each in map(load, networks)]}
            if (networks := spec.settings.networks)
            else {}
        ),
    }


def known_row(run: Run[Settings]) -> dict[str, Any]:
    """Return the run's row of ``runs``; empty where none was written."""
    rows: list[dict[str, Any]] = run.store.run(run.run_id).to_pylist()
    return rows[0] if rows else {}


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _write_class(run: Run[Settings], info: ClassInfo) -> None:
    """Write the class and the annotations of its parts, the class last."""
    keys = {"dataset": run.dataset.name, "class_id": info.class_id}
    parts = [{**keys, **dataclasses.asdict(part)} for part in run.dataset.parts(info.class_id)]
    if parts:
        run.store.write("parts", run.dataset.name, info.class_id, parts)
    row = {**keys, "class_idx": info.class_idx, "class_name": info.class_name, "wnid": info.wnid}
    run.store.write("classes", run.dataset.name, info.class_id, [row])


def _run_row(run: Run[Settings]) -> dict[str, Any]:
    params = as_dict(run.settings)
    return {
        "run_id": run.run_id,
        "method": run.settings.method,
        "model": run.classifier.name,
        "weights": run.classifier.weights,
        "weights_sha256": run.classifier.weights_sha256,
        "dataset": run.dataset.name,
        "split": run.dataset.split,
        "input_px": run.size[0],
        "seed": run.settings.seed,
        "params": params,
        "params_hash": digest(params),
        "env": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "device": str(run.classifier.device),
            "dataset_spec": run.spec.dataset,
            "model_spec": run.spec.model,
            "class_map": dict(run.spec.class_map),
            "preprocessing": dataclasses.asdict(run.classifier.preprocessing),
            **({"plugins": [each.package for each in plugins()]} if plugins() else {}),
            **({"state": run.classifier.state} if run.classifier.state else {}),
            **({"also_fits": list(run.classifier.also_fits)} if run.classifier.also_fits else {}),
        },
    }
