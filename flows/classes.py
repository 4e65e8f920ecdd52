"""Runs over whole classes, whatever the family: one flow run per shard, in it one task per minute of classes.

The flows of a family follow from its settings (:mod:`flows.family`).
"""

import logging
import re
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from itertools import zip_longest
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from flows.allocator import giving_back, keep_memory
from flows.artifacts import announce_end, show
from flows.fanout import FanOut, Place, place_of, run_shards
from flows.flags import shard_of
from flows.forms import dotted, filled_from, in_order, settings_of
from flows.orchestration import Bar, Flow, State, task, tried
from flows.progress import watch
from flows.shards import in_tasks, rounds, seconds_of
from xvcore.errors import ClassesFailedError, XvError
from xvcore.parameters import as_dict
from xvcore.runs import pipeline
from xvcore.runs.ahead import in_turn
from xvcore.runs.joining import told
from xvcore.runs.run import (
    Run,
    RunSpec,
    announce,
    chosen_classes,
    conclude,
    has_ended,
    is_concluded,
    opened,
    watched,
)
from xvcore.runs.settings import Settings
from xvcore.runs.stage import pipelines

logger = logging.getLogger("flows.classes")
MOST_NAMED = 3
"""Networks in the name of a flow run."""
_look: ContextVar[Callable[[], None]] = ContextVar("look", default=lambda: None)
"""Moves the bar of the run that this shard is of, where that is in this process."""


class ClassesRequest(BaseModel):
    """Classes of a dataset, one network or several, a store; a method adds the form of its parameters."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=in_order)

    settings_type: ClassVar[type[Settings]]
    """Of the method; ``settings`` is its form."""

    dataset: Annotated[
        str,
        Field(
            description="KIND[:PATH][?key=value], e.g. imagenet:/data/imagenet?split=val, cub:/data/CUB_200_2011, "
            "imagefolder:/data/pictures, partbirds",
            min_length=1,
        ),
    ] = "partbirds"
    models: Annotated[
        list[str],
        Field(description="NAME[@WEIGHTS][?key=value] each, e.g. squeezenet1_1, timm/resnet50", min_length=1),
    ]
    classes: Annotated[list[str], Field(description="Ids or names of classes; empty = all")] = []
    store: Annotated[str, Field(description="Folder or fsspec URL of the results", min_length=1)] = "xv-store"
    class_map: Annotated[
        dict[str, str], Field(description="Class of the dataset → output of the network, where names do not tell")
    ] = {}
    device: Annotated[str, Field(description="auto, cpu, cuda, cuda:N; does not change what is computed")] = "auto"
    batch_size: Annotated[int, Field(description="Images at once; does not change the numbers", ge=1, le=4096)] = 16
    fan_out: Annotated[
        FanOut, Field(title="Fan Out", description="Where it is computed; does not change what is computed")
    ] = FanOut()
    shard: Annotated[
        str,
        Field(
            description="K/N: of the classes only the K-th and every N-th after it; other processes take the others, "
            "on one store, and whoever ends last joins the results",
            pattern=r"^[1-9]\d*/[1-9]\d*$",
        ),
    ] = "1/1"

    @field_validator("shard")
    @classmethod
    def _is_one_of(cls, shard: str) -> str:
        shard_of(shard)
        return shard

    def mine(self, classes: list[str]) -> list[str]:
        """Return the classes of this shard."""
        index, count = shard_of(self.shard)
        return classes[index - 1 :: count]

    def specs(self) -> list[RunSpec[Settings]]:
        """Return what the library needs to open each run."""
        settings = self.chosen()
        return [
            RunSpec(
                dataset=self.dataset,
                model=model,
                store=self.store,
                settings=settings,
                class_map=tuple(sorted(self.class_map.items())),
                device=self.device,
                batch_size=self.batch_size,
            )
            for model in self.models
        ]

    def ready(self) -> Self:
        """Return the request as it is run, what it leaves open told; what only files tell to be wrong is refused here.

        Raises
        ------
        XvError
            Weights that do not fit, two networks of one name, one that the method is not for, a class that no output
            stands for.
        """
        checked(self)
        return self

    def chosen(self) -> Settings:
        """Return the settings that the form was filled in with."""
        filled: BaseModel = getattr(self, "settings")  # noqa: B009  a field of each subclass
        settings: Settings = settings_of(filled, self.settings_type)
        return settings

    @classmethod
    def filled(cls, settings: Settings, **fields: Any) -> Self:
        """Return a request whose form is filled in with settings of the family."""
        form: Any = cls.model_fields["settings"].annotation
        return cls.model_validate({"settings": filled_from(settings, form), **fields})

    @property
    def title(self) -> str:
        """First network and first class, without the paths, and how many more: the name of a child flow run."""
        more = f" and {len(self.classes) - 1} more" if len(self.classes) > 1 else ""
        return f"{re.split('[@?]', self.models[0])[0]} · {self.classes[0]}{more}"

    @property
    def asked(self) -> str:
        """What is asked for, in words: networks, data and classes, without paths; the name of a parent flow run."""
        models = " and ".join(re.split("[@?]", each)[0] for each in self.models[:MOST_NAMED])
        more = f" and {len(self.models) - MOST_NAMED} more" if len(self.models) > MOST_NAMED else ""
        kind, _, path = self.dataset.partition("?")[0].partition(":")
        data = " ".join([kind, *re.findall(r"[^/]+$", path.rstrip("/"))])
        number = f"{len(self.classes)} classes" if len(self.classes) > 1 else "".join(self.classes) or "all classes"
        return f"{models}{more} · {data} · {number}"

    def of_shard(self: "Request", model: str, classes: Sequence[str]) -> "Request":
        """Return the same request for one network and some classes, computed where it arrives."""
        changes = {"models": [model], "classes": list(classes), "shard": "1/1", "fan_out": FanOut()}
        return self.model_copy(update=changes)


Request = TypeVar("Request", bound=ClassesRequest)


@task
def do_some(spec: RunSpec[Settings], class_ids: Sequence[str]) -> None:
    """Do what is left to do of some classes, one after the other; the store, not Prefect, knows what is done.

    Raises
    ------
    ClassesFailedError
        At the end, if any failed.
    """
    run = opened(spec)
    errors: dict[str, Exception] = {}
    for class_id in class_ids:
        try:
            _do_class(run, class_id)
        except Exception as error:  # noqa: BLE001  whatever it was, it is recorded and raised when the others are done
            errors[class_id] = error
        _look.get()()
    if errors:
        reasons = {class_id: f"{type(error).__name__}: {error}" for class_id, error in errors.items()}
        raise _failed(reasons, class_ids) from ExceptionGroup("what failed", list(errors.values()))


@task
def gather(spec: RunSpec[Settings]) -> None:
    """Join what the classes left into the tables of the whole run."""
    run = opened(spec)
    with watch(f"{run.classifier.name} · join") as progress, told(giving_back(progress)):
        pipeline.gather(run)


def do_shard(request: ClassesRequest, *, join: bool) -> list[str]:
    """Do what is left to do of some classes for one network, and return them: the body of the flow of a shard.

    Parameters
    ----------
    request : one network and some classes
    join : join what the classes of the run left, instead of computing them

    Raises
    ------
    XvError
        At the end, if any class failed, with all reasons.
    """
    keep_memory()
    (spec,) = request.specs()
    run = opened(spec)
    if join:
        gather(spec, title=f"gather {run.classifier.name}")
        return request.classes
    announce(run, request.classes)
    reasons: dict[str, str] = {}
    with in_turn(run, request.classes):
        for class_ids in in_tasks(request.classes):
            try:
                do_some(spec, class_ids, title=request.of_shard(request.models[0], class_ids).title)
            except ClassesFailedError as error:
                reasons |= error.reasons
    if reasons:
        raise _failed(reasons, request.classes)
    return request.classes


def _failed(reasons: dict[str, str], class_ids: Sequence[str]) -> ClassesFailedError:
    said = "; ".join(f"{class_id}: {reason}" for class_id, reason in reasons.items())
    return ClassesFailedError(f"{len(reasons)} of {len(class_ids)} classes failed: {said}", reasons)


def _do_class(run: Run[Settings], class_id: str) -> None:
    if pipeline.is_complete(run, class_id):
        return
    pipeline.begin(run, class_id)
    try:
        for stage in pipeline.stages_of(run):
            title = f"{run.classifier.name} · {run.class_info(class_id).class_name} · {stage.verb}"
            with watch(title) as report:
                tried(title, partial(pipeline.run_stage, run, class_id, stage.verb, report))
        pipeline.finish(run, class_id)
    except BaseException as error:
        pipeline.fail(run, class_id, error)
        raise


def words_of(settings: Settings) -> str:
    """Return what is computed, in words: the method, and the parameters that are not the usual ones."""
    given, usual = dotted("", as_dict(settings)), dotted("", as_dict(type(settings)()))
    changed = [f"{name}={value}" for name, value in given.items() if value != usual.get(name)]
    return f"{settings.method} ({', '.join(changed)})" if changed else settings.method


def do_classes(
    request: Request, shard_flow: Flow, after: Callable[[list[RunSpec[Settings]]], object] | None = None
) -> dict[str, list[str]]:
    """Run a child flow for each shard, publish the tables, and fail at the end if any class failed.

    Parameters
    ----------
    request : dataset, networks, classes, store, where to compute, and every parameter of the method
    shard_flow : the flow of a shard, see :func:`do_shard`
    after : called when the tables of every network are published, also where classes failed
    """
    specs = request.specs()
    runs, classes = checked(request)
    mapped = f", {len(request.class_map)} of them mapped to outputs" if request.class_map else ""
    logger.info(
        "asked for: %s of %s on %s, %d classes%s, into %s",
        words_of(request.chosen()),
        ", ".join(request.models),
        request.dataset,
        len(classes),
        mapped,
        request.store,
    )
    unfinished = {spec.model: run for spec, run in zip(specs, runs, strict=True) if not is_concluded(run, classes)}
    with watched(unfinished.values()):
        with place_of(request.fan_out, shard_flow) as place:
            for run in unfinished.values():
                announce(run, classes)
            todo = {
                model: [class_id for class_id in request.mine(classes) if not pipeline.is_complete(run, class_id)]
                for model, run in unfinished.items()
            }
            failures = _do_each(place, request, unfinished, todo)
            joins = [
                request.of_shard(model, classes)
                for model, run in unfinished.items()
                if pipeline.has_gather(run) and has_ended(run)
            ]
            not_joined = {
                shard.models[0]: f"{unfinished[shard.models[0]].classifier.name} join: {state.message}"
                for shard, state in run_shards(place, joins, request.fan_out, join=True)
                if not state.is_completed()
            }
        for model, run in unfinished.items():
            announce_end(run, conclude(run, joined=model not in not_joined))
    if after:
        after(specs)
    problems = [*failures, *not_joined.values()]
    if request.mine(classes):
        show(runs, request.mine(classes), problems)
    if problems:
        raise ClassesFailedError(
            f"{len(failures)} of {sum(map(len, todo.values()))} classes failed: " + "; ".join(problems)
        )
    return {run.run_id: classes for run in runs}


def _do_each(place: Place, request: Request, runs: dict[str, Run[Settings]], todo: dict[str, list[str]]) -> list[str]:
    """Compute the classes of each network, in shards, move the bar, and return what failed."""
    cuts = (rounds(classes, request.fan_out, partial(seconds_of, runs[model])) for model, classes in todo.items())
    total = sum(map(len, todo.values()))
    failures: list[str] = []
    done = {model: set[str]() for model in todo}
    bar = Bar("classes-done", "Classes done, over all networks")

    def look() -> None:
        if bar.is_due:
            bar.move(sum(len(done[model] | _at_their_end(run, todo[model])) for model, run in runs.items()), total)

    token = _look.set(look)
    try:
        for cut in zip_longest(*cuts, fillvalue=()):
            shards = [request.of_shard(model, each) for model, found in zip(todo, cut, strict=True) for each in found]
            for shard, state in run_shards(place, shards, request.fan_out, meanwhile=look):
                done[shard.models[0]].update(shard.classes)
                logger.info("%s: %s, %d of %d classes", shard.title, state.name, sum(map(len, done.values())), total)
                if not state.is_completed():
                    failures += _failures(runs[shard.models[0]], shard.classes, state)
    finally:
        _look.reset(token)
    bar.move(total, total)
    return failures


def _at_their_end(run: Run[Settings], classes: Sequence[str]) -> set[str]:
    """Return those of some classes whose last stage is done, wherever that was: one look into a folder."""
    tables = [stage.table for stage in pipeline.stages_of(run) if stage.table]
    return set(run.store.classes_of(tables[-1], run.run_id)).intersection(classes) if tables else set()


def _failures(run: Run[Settings], classes: Sequence[str], state: State) -> list[str]:
    """Return a line for each class of a shard that is not complete: its own reason, or how the shard ended."""
    lines = []
    for class_id in classes:
        if not pipeline.is_complete(run, class_id):
            reason = pipeline.reason_of_failure(run, class_id) or f"{state.name}: {state.message}"
            lines.append(f"{run.classifier.name} {class_id}: {reason}")
    return lines


def checked(request: ClassesRequest) -> tuple[list[Run[Settings]], list[str]]:
    """Return the runs of a request and the ids of its classes; refused is what :meth:`ClassesRequest.ready` names."""
    runs = [opened(spec) for spec in request.specs()]
    check_names(runs)
    check_networks(runs)
    classes = [info.class_id for info in chosen_classes(runs[0].dataset, request.classes)]
    check_targets(runs, classes)
    return runs, classes


def check_targets(runs: list[Run[Settings]], classes: list[str]) -> None:
    """Refuse, before anything is computed, a class that no output stands for where the method explains classes."""
    for run in runs:
        if run.settings.explains_class:
            for class_id in classes:
                run.target(class_id)


def check_networks(runs: list[Run[Settings]]) -> None:
    """Refuse, before anything is computed, a network that the method is not for."""
    for run in runs:
        if check := pipelines[run.settings.method].check:
            check(run)


def check_names(runs: list[Run[Settings]]) -> None:
    """Refuse two different networks under one name: every table groups by it."""
    seen: dict[str, Run[Settings]] = {}
    for run in runs:
        other = seen.setdefault(run.classifier.name, run)
        if other is not run:
            raise XvError(
                f"two networks are called {run.classifier.name!r} ({other.spec.model}, {run.spec.model}); "
                "name one of them: MODEL?name=OTHER"
            )
