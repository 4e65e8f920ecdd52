"""Compute what every patch says for its class (BagNets, networks that end in a mean); running again resumes."""

from typing import Annotated, ClassVar

from prefect import flow
from pydantic import Field

from flows.classes import ClassesRequest, Command, do_classes, do_shard
from flows.forms import form
from xvcore.evidence.settings import PatchEvidence
from xvcore.runs.settings import Settings

EvidenceForm = form(PatchEvidence, "EvidenceSettings")


class EvidenceRequest(ClassesRequest):
    """Evidence of patches in the images of classes, for one network or several."""

    settings_type: ClassVar[type[Settings]] = PatchEvidence

    settings: Annotated[EvidenceForm, Field(description="Every parameter of the method")] = EvidenceForm()  # type: ignore[valid-type]


@flow(name="evidence-shard", flow_run_name="{request.title}")
def evidence_shard(request: EvidenceRequest, *, join: bool = False) -> list[str]:
    """Do what is left to do of some classes for one network, and return them.

    Args:
        request: one network and some classes.
        join: join what all classes of the run left, instead of computing some.
    """
    return do_shard(request, join=join)


@flow(name="bagnet-evidence")
def bagnet_evidence(request: EvidenceRequest) -> dict[str, list[str]]:
    """Compute the evidence of every patch and the strongest patches of each class, and publish the tables.

    Args:
        request: dataset, networks, classes, store and every parameter of the method.
    """
    return do_classes(request, evidence_shard)


COMMAND = Command(EvidenceRequest, bagnet_evidence, evidence_shard)
