"""Compare networks part by part: what one uses and another misses, could use, or shares; running again resumes."""

import dataclasses
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator

from flows.classes import ClassesRequest, check_names, do_classes, do_shard
from flows.family import Command
from flows.fanout import FanOut
from flows.forms import filled_from, form
from flows.orchestration import flow as made_flow
from xvcore.comparison.runs.networks import check_seeds, check_summaries, resolved, summary_runs
from xvcore.comparison.settings import Comparison
from xvcore.errors import ParameterError
from xvcore.runs.run import RunSpec, chosen_classes, open_run
from xvcore.runs.settings import Settings

Form = form(Comparison, "Settings")
LEAST_NETWORKS = 2


class CompareRequest(ClassesRequest):
    """Which parts of classes one network uses and another misses; all networks are compared in one run."""

    settings_type: ClassVar[type[Settings]] = Comparison
    settings: Form = Field(default=Form(), description="Every parameter of the comparison")  # type: ignore[valid-type]

    @field_validator("models")
    @classmethod
    def _are_several(cls, models: list[str]) -> list[str]:
        if len(set(models)) < max(LEAST_NETWORKS, len(models)):
            raise ValueError(f"models = {', '.join(models)}: expected {LEAST_NETWORKS} different networks or more")
        return sorted(models)  # whatever order they are named in, it is the same run

    def specs(self) -> list[RunSpec[Settings]]:
        """Return what the library needs to open the one run of all networks."""
        return [self.spec()]

    def spec(self) -> RunSpec[Any]:
        """Return the spec of the one run: the first network's, the others in its settings."""
        first, *others = super().specs()
        chosen: Any = self.chosen()
        return dataclasses.replace(first, settings=dataclasses.replace(chosen, others=tuple(x.model for x in others)))

    def of_shard(self, model: str, classes: "list[str] | tuple[str, ...]") -> Self:  # type: ignore[override]
        """Return the same request for some classes, computed where it arrives; the networks stay together."""
        del model
        return self.model_copy(update={"classes": list(classes), "shard": "1/1", "fan_out": FanOut()})

    def ready(self) -> Self:
        """Return the request with the visual summaries named that it compares.

        Raises
        ------
        XvError
            Networks named as a parameter, two of one name, seeds of no compared network, visual summaries that are not
            there: the commands that compute them are named.
        """
        if others := self.chosen().others:  # type: ignore[attr-defined]
            raise ParameterError(
                f"others = {', '.join(others)}: name all networks as models; the first is the run's own"
            )
        settings: Comparison = resolved(self.spec()).settings
        request = self.model_copy(update={"settings": filled_from(dataclasses.replace(settings, others=()), Form)})
        run = open_run(request.spec())
        runs = summary_runs(run)
        check_names(list(runs))
        check_seeds(settings, [each.classifier.name for each in runs])
        check_summaries(runs, [info.class_id for info in chosen_classes(run.dataset, self.classes)])
        return request


@made_flow(name="compare-shard", flow_run_name="{request.title}")
def shard_flow(request: CompareRequest, *, join: bool = False) -> list[str]:
    """Do what is left to do of some classes, and return them.

    Args:
        request: the networks and some classes.
        join: join what all classes of the run left, instead of computing some.
    """
    return do_shard(request, join=join)


@made_flow(name="compare", flow_run_name="compare · {request.asked}")
def flow(request: CompareRequest) -> dict[str, list[str]]:
    """Compare networks class by class, publish the tables, and fail at the end if any class failed.

    Args:
        request: dataset, networks, classes, store and every parameter of the comparison.
    """
    return do_classes(request.ready(), shard_flow)


COMMAND = Command(CompareRequest, flow, shard_flow)
