"""The flows of a family, made of its settings: what a module of :mod:`flows.families`, or of a plug-in, offers."""

from dataclasses import dataclass
from typing import Any

from pydantic import Field, create_model

from flows.classes import ClassesRequest, do_classes, do_shard
from flows.forms import form
from flows.orchestration import Flow, flow
from xvcore.runs.settings import Settings


@dataclass(frozen=True, slots=True)
class Command:
    """What a module of flows offers on the command line, as deployments and to fan out; see :mod:`flows.commands`.

    Parameters
    ----------
    request : what its form asks for
    flow : of whole classes, given the request
    shard_flow : of some classes, see :func:`flows.classes.do_shard`
    """

    request: type[ClassesRequest]
    flow: Flow
    shard_flow: Flow


def command(settings: type[Settings], module: str) -> Command:
    """Return the command of a family: its form, the flow of whole classes, and that of a shard.

    The module that asks for it has to keep the two flows under the names ``flow`` and ``shard_flow``: workers find them
    there.

    Parameters
    ----------
    settings : every parameter of the family; the first line of the docstring is shown with the form
    module : dotted name of the module; its last part, or the package's where that is ``flow``, names command and flows
    """
    package, _, last = module.rpartition(".")
    name = package.rpartition(".")[2] if last == "flow" else last
    request = _request(settings, name, module)

    def shard_flow(request: Any, *, join: bool = False) -> list[str]:
        """Do what is left to do of some classes for one network, and return them.

        Args:
            request: one network and some classes.
            join: join what all classes of the run left, instead of computing some.
        """
        return do_shard(request, join=join)

    def of_classes(request: Any) -> dict[str, list[str]]:
        """Compute classes for each network, publish the tables, and fail at the end if any class failed.

        Args:
            request: dataset, networks, classes, store and every parameter of the family.
        """
        return do_classes(request, shard)

    shard = _flow(shard_flow, "shard_flow", module, request, name=f"{name}-shard", flow_run_name="{request.title}")
    of_all = _flow(of_classes, "flow", module, request, name=name, flow_run_name=f"{name} · {{request.asked}}")
    return Command(request, of_all, shard)


def _request(settings: type[Settings], name: str, module: str) -> type[ClassesRequest]:
    filled_in = form(settings, "Settings")
    asked: Any = (filled_in, Field(default=filled_in(), description="Every parameter of the family"))
    request: type[ClassesRequest] = create_model(
        f"{name.title().replace('_', '')}Request",
        __base__=ClassesRequest,
        __module__=module,
        __doc__=(settings.__doc__ or name).strip().splitlines()[0],
        settings=asked,
    )
    request.settings_type = settings
    return request


def _flow(function: Any, attribute: str, module: str, request: type, **options: Any) -> Flow:
    """Return a function as the flow that a module holds under a name, with the request as its form."""
    function.__module__, function.__name__, function.__qualname__ = module, attribute, attribute
    function.__annotations__["request"] = request
    return flow(**options)(function)
