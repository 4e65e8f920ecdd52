"""The pages of what a store holds."""

import logging
import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flows.forms import in_order
from flows.orchestration import flow, is_reported
from xvcore.data.loader import processors
from xvcore.report import build
from xvcore.runs.originals import Originals, OutputNames
from xvcore.store import Store

logger = logging.getLogger("flows.report")


class ReportRequest(BaseModel):
    """A store, a folder for the pages, and which runs they show."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=in_order)

    store: Annotated[str, Field(description="Folder or fsspec URL of the results", min_length=1)] = "xv-store"
    out: Annotated[str, Field(description="Folder of the pages; empty = the one that the report site serves")] = ""
    runs: Annotated[list[str], Field(description="Ids of runs; empty = all of the store")] = []
    processes: Annotated[
        int | None,
        Field(description="Processes that write pages, where there are many classes; none: one a core", ge=1, le=1024),
    ] = None

    @property
    def asked(self) -> str:
        """What is asked for, in words; the name of the flow run."""
        return f"{f'{len(self.runs)} runs' if len(self.runs) > 1 else ''.join(self.runs) or 'all runs'} of {self.store}"


@flow(name="write-report", flow_run_name="report · {request.asked}")
def write_report(request: ReportRequest) -> str:
    """Write the static pages and return the path of the first; where a site serves them, leave a link to it.

    Args:
        request: store, folder of the pages and runs.
    """
    out = Path(request.out or os.environ.get("XV_REPORT") or "xv-report")
    logger.info("asked for: the pages of %s, into %s", request.asked, out)
    index = build(
        Store(request.store),
        out,
        run_ids=request.runs or None,
        picture_of=Originals(),
        name_of=OutputNames(),
        processes=request.processes or processors(),
    )
    site = os.environ.get("XV_REPORT_URL")
    if site and is_reported():
        from prefect.artifacts import create_link_artifact

        create_link_artifact(site, link_text="report", key="report", description=f"Pages of the store {request.store}")
    return str(index)
