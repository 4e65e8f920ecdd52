"""Visual summaries of whole classes: one flow run per class and network, one task per stage."""

import re
from typing import Annotated, Any, cast
from uuid import UUID

from prefect import flow, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict, Field

from flows.forms import form, settings_of
from flows.progress import watch
from xvcore.errors import XvError
from xvcore.stages import pipeline
from xvcore.stages.run import Run, RunSpec, announce, chosen_classes, conclude, open_run, opened
from xvcore.stages.settings import VisualSummaries

SettingsForm = form(VisualSummaries, "Settings")


class SummariseRequest(BaseModel):
    """Visual summaries of classes of a dataset, for one network or several."""

    model_config = ConfigDict(extra="forbid")

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
    settings: Annotated[SettingsForm, Field(description="Every parameter of the method")] = SettingsForm()  # type: ignore[valid-type]
    device: Annotated[str, Field(description="auto, cpu, cuda, cuda:N; does not change what is computed")] = "auto"
    batch_size: Annotated[int, Field(description="Images at once; does not change the numbers", ge=1, le=4096)] = 16

    def specs(self) -> list[RunSpec]:
        """Return what the library needs to open each run."""
        settings = settings_of(self.settings, VisualSummaries)
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

    def of_class(self, model: str, class_id: str) -> "SummariseRequest":
        """Return the same request for one network and one class: the parameters of a child flow run."""
        return self.model_copy(update={"models": [model], "classes": [class_id]})


def _is_worth_another_try(_task: Any, _run: Any, state: State) -> bool:
    """Say whether the failure was of the surroundings (a store or disk out of reach), not of the input."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, OSError) or isinstance(getattr(error, "__cause__", None), OSError)


@task(retries=2, retry_delay_seconds=[5, 30], retry_condition_fn=_is_worth_another_try, cache_policy=NO_CACHE)
def run_stage(spec: RunSpec, class_id: str, verb: str) -> int | None:
    """Run one stage of one class; the store, not Prefect, knows what is done."""
    run = opened(spec)
    with watch(f"{run.classifier.name} · {run.class_info(class_id).class_name} · {verb}") as report:
        return pipeline.run_stage(run, class_id, verb, report)


@flow(name="summarise-class", flow_run_name="{request.models[0]} · {request.classes[0]}")
def summarise_class(request: SummariseRequest) -> dict[str, Any]:
    """Do what is left to do of one class for one network and return its record.

    Args:
        request: one network and one class.
    """
    (spec,), (class_id,) = request.specs(), request.classes
    run = opened(spec)
    announce(run, [class_id])
    pipeline.begin(run, class_id)
    try:
        for stage in pipeline.STAGES:
            run_stage.with_options(name=stage.verb, task_run_name=stage.verb)(spec, class_id, stage.verb)
        record = pipeline.finish(run, class_id)
    except BaseException as error:
        pipeline.fail(run, class_id, error)
        raise
    return {key: value for key, value in record.items() if key != "finished_at"}


@flow(name="summarise-classes")
def summarise_classes(request: SummariseRequest) -> dict[str, list[str]]:
    """Summarise classes for each network, publish the tables, and fail at the end if any class failed.

    Args:
        request: dataset, networks, classes, store and every parameter of the method.
    """
    specs = request.specs()
    runs = [open_run(spec) for spec in specs]
    check_names(runs)
    classes = [info.class_id for info in chosen_classes(runs[0].dataset, request.classes)]
    for run in runs:
        for class_id in classes:
            run.target(class_id)  # a class that no output stands for is refused before anything is computed
        announce(run, classes)
    todo = [
        (spec, run, class_id)
        for spec, run in zip(specs, runs, strict=True)
        for class_id in classes
        if not pipeline.is_complete(run, class_id)
    ]
    failures: list[str] = []
    bar = cast(
        UUID, create_progress_artifact(progress=0.0, key="classes-done", description="Classes done, over all networks")
    )
    for index, (spec, run, class_id) in enumerate(todo):
        state = summarise_class(request.of_class(spec.model, class_id), return_state=True)
        if not state.is_completed():
            failures.append(f"{run.classifier.name} {class_id}: {state.message}")
        update_progress_artifact(bar, progress=100.0 * (index + 1) / len(todo))
    update_progress_artifact(bar, progress=100.0)
    for run in runs:
        conclude(run)
    _show(runs, classes, failures)
    if failures:
        raise XvError(f"{len(failures)} of {len(todo)} classes failed: " + "; ".join(failures))
    return {run.run_id: classes for run in runs}


def check_names(runs: list[Run]) -> None:
    """Refuse two different networks under one name: every table groups by it."""
    seen: dict[str, Run] = {}
    for run in runs:
        other = seen.setdefault(run.classifier.name, run)
        if other is not run:
            raise XvError(
                f"two networks are called {run.classifier.name!r} ({other.spec.model}, {run.spec.model}); "
                "name one of them: MODEL?name=OTHER"
            )


def _show(runs: list[Run], classes: list[str], failures: list[str]) -> None:
    rows = []
    for run in runs:
        for class_id in classes:
            record = run.store.read("class_runs", run.run_id, class_id).iloc[0]
            rows.append(
                {
                    "network": run.classifier.name,
                    "class": record["class_name"],
                    "status": record["status"],
                    "images": _number(record["n_images"]),
                    "masks": _number(record["n_masks"]),
                    "regions": _number(record["n_regions"]),
                    "summaries": _number(record["n_summaries"]),
                    "seconds": round(float(record["seconds"]), 1),
                    "error": record["error"] or "",
                }
            )
    key = re.sub(r"[^a-z0-9]+", "-", runs[0].dataset.name.lower()).strip("-")[-40:].strip("-")
    create_table_artifact(table=rows, key=f"classes-{key}", description="One row per network and class")
    lines = [
        "# Visual summaries",
        "",
        f"Dataset `{runs[0].dataset.name}`, {len(classes)} classes; store `{runs[0].store.url}`.",
        "",
        "| network | classes | summaries | summaries per class | run |",
        "|---|---|---|---|---|",
    ]
    for run in runs:
        counts = [row["summaries"] or 0 for row in rows if row["network"] == run.classifier.name]
        mean = sum(counts) / max(len(counts), 1)
        lines.append(f"| {run.classifier.name} | {len(counts)} | {sum(counts)} | {mean:.2f} | `{run.run_id}` |")
    if failures:
        lines += ["", "## Failures", "", *(f"- {failure}" for failure in failures)]
    create_markdown_artifact(markdown="\n".join(lines), key=f"summary-{key}", description="What the run found")


def _number(value: Any) -> int | None:
    return None if value is None or value != value else int(value)  # noqa: PLR0124  NaN
