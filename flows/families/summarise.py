"""Compute the visual summaries of classes for one network or several; running again resumes."""

from typing import Annotated, ClassVar

from prefect import flow
from pydantic import Field

from flows.classes import ClassesRequest, Command, do_classes, do_shard
from flows.forms import form
from xvcore.runs.settings import Settings
from xvcore.visual_summaries.settings import VisualSummaries

SettingsForm = form(VisualSummaries, "Settings")


class SummariseRequest(ClassesRequest):
    """Visual summaries of classes of a dataset, for one network or several."""

    settings_type: ClassVar[type[Settings]] = VisualSummaries

    settings: Annotated[SettingsForm, Field(description="Every parameter of the method")] = SettingsForm()  # type: ignore[valid-type]


@flow(name="summarise-shard", flow_run_name="{request.title}")
def summarise_shard(request: SummariseRequest, *, join: bool = False) -> list[str]:
    """Do what is left to do of some classes for one network, and return them.

    Args:
        request: one network and some classes.
        join: join what all classes of the run left, instead of computing some.
    """
    return do_shard(request, join=join)


@flow(name="summarise-classes")
def summarise_classes(request: SummariseRequest) -> dict[str, list[str]]:
    """Summarise classes for each network, publish the tables, and fail at the end if any class failed.

    Args:
        request: dataset, networks, classes, store and every parameter of the method.
    """
    return do_classes(request, summarise_shard)


COMMAND = Command(SummariseRequest, summarise_classes, summarise_shard)
