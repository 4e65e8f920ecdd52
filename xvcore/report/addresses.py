"""Where the report has what a run found: known before the pages are written, see :func:`xvcore.report.build`."""

from collections.abc import Sequence

from xvcore.report.family import families
from xvcore.report.names import link
from xvcore.report.plan import read_plan
from xvcore.store import Store

INDEX = "index.html"


def addresses(store: Store, run_ids: Sequence[str]) -> dict[tuple[str, str | None], str]:
    """Return the address of the page of each run, and of each class of a run that has one, by run id and class id.

    They are relative to the first page and percent-encoded. A run's own page is that of the class ``None``: the first
    page, where the run has none.

    Parameters
    ----------
    store : the store
    run_ids : of the runs

    Raises
    ------
    StoreError
        Nothing was ever written to the store, or a run that it does not have.

    Examples
    --------
    >>> from xvcore.report import addresses
    >>> from xvcore.store import Store
    >>> addresses(Store("store"), ["bagnet_drawn-evidence"])["bagnet_drawn-evidence", "robin"]
    'evidence/bagnet_drawn/robin/index.html'
    """
    found: dict[tuple[str, str | None], str] = {}
    for chapter in read_plan(store, run_ids):
        for section in chapter.sections:
            family = families.get(section.method)
            for network in section.networks:
                own = f"{network.folder}/{INDEX}" if family and family.has_run_page else INDEX
                found[network.run_id, None] = link(INDEX, own)
            for topic in section.topics if family and family.has_class_pages else ():
                for entry in topic.entries:
                    found[entry.network.run_id, entry.class_id] = link(INDEX, entry.page)
    return found
