"""Evidence of patches over whole classes."""

from typing import Annotated, Any, ClassVar

from prefect import flow
from pydantic import Field

from flows.classes import ClassesRequest, do_class, do_classes
from flows.forms import form
from xvcore.stages.settings import PatchEvidence, Settings

EvidenceForm = form(PatchEvidence, "EvidenceSettings")


class EvidenceRequest(ClassesRequest):
    """Evidence of patches in the images of classes, for one network or several."""

    settings_type: ClassVar[type[Settings]] = PatchEvidence

    settings: Annotated[EvidenceForm, Field(description="Every parameter of the method")] = EvidenceForm()  # type: ignore[valid-type]


@flow(name="evidence-class", flow_run_name="{request.title}")
def evidence_class(request: EvidenceRequest) -> dict[str, Any]:
    """Do what is left to do of one class for one network and return its record.

    Args:
        request: one network and one class.
    """
    return do_class(request)


@flow(name="bagnet-evidence")
def bagnet_evidence(request: EvidenceRequest) -> dict[str, list[str]]:
    """Compute the evidence of every patch and the strongest patches of each class, and publish the tables.

    Args:
        request: dataset, networks, classes, store and every parameter of the method.
    """
    return do_classes(request, evidence_class)
