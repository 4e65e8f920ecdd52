"""Analyses over whole classes: one flow for all of them; the analysis is chosen by the form that is filled in."""

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model

from flows.classes import ClassesRequest, do_classes, do_shard
from flows.family import Command
from flows.forms import form, settings_of
from flows.orchestration import flow, task
from xvcore.analyses.analysis import analyses
from xvcore.analyses.compare import check_number, compare
from xvcore.runs.run import RunSpec, open_run
from xvcore.runs.settings import Settings


def _form(name: str) -> type[BaseModel]:
    """Return the form of an analysis: its parameters, and its name, by which forms are told apart."""
    title = "".join(word.capitalize() for word in name.split("_"))
    kind: Any = (Literal[name], Field(default=name, description=analyses[name].summary))
    return create_model(f"{title}Settings", __base__=form(analyses[name].settings, f"{title}Form"), analysis=kind)


FORMS: dict[str, type[BaseModel]] = {name: _form(name) for name in analyses}
"""The form of every analysis."""
AnyForm: Any = Annotated[reduce(or_, FORMS.values()), Field(discriminator="analysis")]


class AnalyseRequest(ClassesRequest):
    """One analysis of the images of classes, for one network or several."""

    settings: Annotated[AnyForm, Field(description="The analysis and every parameter of it")]

    def chosen(self) -> Settings:
        """Return the settings of the chosen analysis."""
        settings: Settings = settings_of(self.settings, analyses[self.settings.analysis].settings, without={"analysis"})
        return settings


@flow(name="analyse-shard", flow_run_name="{request.title}")
def analyse_shard(request: AnalyseRequest, *, join: bool = False) -> list[str]:
    """Do what is left to do of some classes for one network, and return them.

    Args:
        request: one network and some classes.
        join: join what all classes of the run left, instead of computing some.
    """
    return do_shard(request, join=join)


@flow(name="analyse", flow_run_name="{request.settings.analysis} · {request.asked}")
def analyse(request: AnalyseRequest) -> dict[str, list[str]]:
    """Answer the question of an analysis for whole classes: its tables, and figures of each network and of all.

    Args:
        request: dataset, networks, classes, store, the analysis and every parameter of it.
    """
    check_number(request.settings.analysis, len(request.models))
    return do_classes(request, analyse_shard, after=compare_networks)


@task
def compare_networks(specs: Sequence[RunSpec[Settings]]) -> None:
    """Draw the figures of all networks together."""
    if len(specs) > 1:
        compare([open_run(spec) for spec in specs])


COMMAND = Command(AnalyseRequest, analyse, analyse_shard)
