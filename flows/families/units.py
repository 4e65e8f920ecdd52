"""Find what every unit of a network responds to most, and project it to the pixels; running again resumes."""

from typing import Annotated, ClassVar

from prefect import flow
from pydantic import Field

from flows.classes import ClassesRequest, Command, do_classes, do_shard
from flows.forms import form
from xvcore.runs.settings import Settings
from xvcore.units.settings import TopUnits

UnitsForm = form(TopUnits, "UnitsSettings")


class UnitsRequest(ClassesRequest):
    """Top activations of units over the images of classes, for one network or several."""

    settings_type: ClassVar[type[Settings]] = TopUnits

    settings: Annotated[UnitsForm, Field(description="Every parameter of the method")] = UnitsForm()  # type: ignore[valid-type]


@flow(name="units-shard", flow_run_name="{request.title}")
def units_shard(request: UnitsRequest, *, join: bool = False) -> list[str]:
    """Do what is left to do of some classes for one network, and return them.

    Args:
        request: one network and some classes.
        join: join what all classes of the run left, instead of computing some.
    """
    return do_shard(request, join=join)


@flow(name="top-activations")
def top_activations(request: UnitsRequest) -> dict[str, list[str]]:
    """Rank the activations of every unit, project the strongest to the pixels, and publish the tables.

    Args:
        request: dataset, networks, classes, store and every parameter of the method.
    """
    return do_classes(request, units_shard)


COMMAND = Command(UnitsRequest, top_activations, units_shard)
