"""Visual summaries of whole classes."""

from typing import Annotated, Any, ClassVar

from prefect import flow
from pydantic import Field

from flows.classes import ClassesRequest, do_class, do_classes
from flows.forms import form
from xvcore.stages.settings import Settings, VisualSummaries

SettingsForm = form(VisualSummaries, "Settings")


class SummariseRequest(ClassesRequest):
    """Visual summaries of classes of a dataset, for one network or several."""

    settings_type: ClassVar[type[Settings]] = VisualSummaries

    settings: Annotated[SettingsForm, Field(description="Every parameter of the method")] = SettingsForm()  # type: ignore[valid-type]


@flow(name="summarise-class", flow_run_name="{request.title}")
def summarise_class(request: SummariseRequest) -> dict[str, Any]:
    """Do what is left to do of one class for one network and return its record.

    Args:
        request: one network and one class.
    """
    return do_class(request)


@flow(name="summarise-classes")
def summarise_classes(request: SummariseRequest) -> dict[str, list[str]]:
    """Summarise classes for each network, publish the tables, and fail at the end if any class failed.

    Args:
        request: dataset, networks, classes, store and every parameter of the method.
    """
    return do_classes(request, summarise_class)
