"""The report: a folder of static pages that shows what a store holds."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from xvcore.keys import digest, digest_of_library
from xvcore.report.chapters import Chapter
from xvcore.report.draft import Draft
from xvcore.report.family import families
from xvcore.report.index_page import FOLDER, index_files
from xvcore.report.originals import NameOf, PictureOf
from xvcore.report.plan import read_plan
from xvcore.report.renderer import Renderer, digest_of_code, static_files
from xvcore.report.site import Site
from xvcore.report.spread import check_processes
from xvcore.runs.pipeline import in_order
from xvcore.store import SCHEMAS, Store
from xvcore.version import VERSION

logger = logging.getLogger(__name__)


def build(  # noqa: PLR0913
    store: Store,
    out: Path,
    *,
    run_ids: Sequence[str] | None = None,
    picture_of: PictureOf | None = None,
    name_of: NameOf | None = None,
    processes: int = 1,
) -> Path:
    """Write the pages of a store's runs and return the path of the first one.

    The pages need no server and no network. A process has one class, or one layer, in memory at a time. Running again
    rewrites only what has changed; a page that would not change keeps its bytes and its time. Where no file of the
    store has changed since, nor the code, and every page is there, nothing is looked at. Who builds into a folder that
    another process builds into waits until that has ended.

    Addresses, none of which depends on what else is shown: ``index.html``, ``about.html``; below the folder of a family
    ``<network>/<class>/index.html`` and ``<network>/<class>/<image>.html`` where it has pages of classes, with
    ``compare/<class>.html`` where these compare networks, and ``<network>/index.html`` where it has a page of each run.

    Parameters
    ----------
    store : the store
    out : folder of the pages; may exist
    run_ids : runs to be shown; ``None``: all
    picture_of : gives a picture as a network saw it, called with the run's row, the image id and the class id; where
        it gives ``None`` the pages do with the masks, crops and montages of the store
    name_of : gives the name of a network's output, called with the run's row and the output's index
    processes : that write pages of classes, 1 or more. Those beyond this one are begun where there are enough classes,
        import ``picture_of`` and ``name_of`` from their modules, and, as everywhere in Python, want a script to begin
        its work below ``if __name__ == "__main__"``

    Raises
    ------
    XvError
        Fewer processes than one, or several and a source of pictures or names that is of no module.
    StoreError
        Nothing was ever written to the store, or a run that it does not have. A damaged table of one class is shown
        on that class's page instead.

    Examples
    --------
    >>> from pathlib import Path
    >>> from xvcore.report import build
    >>> from xvcore.store import Store
    >>> build(Store("store"), Path("report")).name
    'index.html'
    """
    check_processes(processes, picture_of, name_of)
    site, state = Site(Path(out)), store.place.state()
    packages = {name: families[name].package for name in families}
    inputs = digest([VERSION, _code(packages), state, run_ids, picture_of is not None, name_of is not None], 64)
    if state is not None and site.is_made_from(inputs):
        logger.info("report in %s: nothing has changed", out)
        return site.folder / "index.html"
    read_plan(store, run_ids)  # what is asked for in vain leaves no folder
    with site.alone():
        chapters = read_plan(store, run_ids)
        site.unseal_all()
        draft = Draft(store, site, Renderer(packages), picture_of, name_of, processes=processes)
        _write(draft, chapters, is_whole=run_ids is None)
        if state is not None and state == store.place.state() and not draft.unsettled:
            site.seal_all(inputs)
    logger.info("report in %s: %d files written, %d unchanged", out, site.written, site.unchanged)
    return site.folder / "index.html"


def _code(packages: Mapping[str, str]) -> list[str]:
    """Return digests of what makes the pages: this library, and the pages of families that others brought."""
    return [digest_of_library(), *(digest_of_code(each) for each in packages.values())]


def _write(draft: Draft, chapters: Sequence[Chapter], *, is_whole: bool) -> None:
    """Write the pages of all data sets, then those about all of them, the first page last.

    Parameters
    ----------
    draft : where to
    chapters : a data set each
    is_whole : whether these are all runs of the store, so that a picture none of them shows can go
    """
    for name, data in static_files().items():
        draft.site.write(f"static/{name}", data)
    for method in families:
        for name, data in static_files(families[method].package).items():
            draft.site.write(f"static/{method}/{name}", data)
    for chapter in chapters:
        draft.shown.clear()
        for section in chapter.sections:
            if section.method in families:
                families[section.method].write(draft, chapter, section)
            else:
                logger.warning("runs of %s have no pages: only their parameters are shown", section.method)
        for folder, pictures in draft.shown.items() if is_whole else ():
            draft.site.keep_only(folder, pictures)
    shown = {section.method for chapter in chapters for section in chapter.sections} & set(families)
    draft.site.write(
        "about.html",
        draft.renderer.render(
            "about.html",
            "about.html",
            chapters=chapters,
            methods=in_order(shown or families),
            abouts={name: families[name].about for name in families},
            tables=[SCHEMAS[name] for name in SCHEMAS],
        ),
    )
    files = index_files(draft.renderer, chapters, draft.cards)
    for path, text in files.items():  # the first page last
        draft.site.write(path, text)
    draft.site.keep_only(FOLDER, files)
