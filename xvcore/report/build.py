"""The report: a folder of static pages that shows what a store holds."""

import logging
from collections.abc import Sequence
from pathlib import Path

from xvcore.report.chapters import Chapter
from xvcore.report.draft import Draft
from xvcore.report.family import families
from xvcore.report.index_page import FOLDER, index_files
from xvcore.report.originals import NameOf, PictureOf
from xvcore.report.plan import read_plan
from xvcore.report.renderer import Renderer, static_files
from xvcore.report.site import Site
from xvcore.runs.pipeline import in_order
from xvcore.store import SCHEMAS, Store

logger = logging.getLogger(__name__)


def build(
    store: Store,
    out: Path,
    *,
    run_ids: Sequence[str] | None = None,
    picture_of: PictureOf | None = None,
    name_of: NameOf | None = None,
) -> Path:
    """Write the pages of a store's runs and return the path of the first one.

    The pages need no server and no network. One class, or one layer, is in memory at a time. Running again rewrites
    only what has changed; a page that would not change keeps its bytes and its time. Who builds into a folder that
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

    Raises
    ------
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
    site = Site(Path(out))
    read_plan(store, run_ids)  # what is asked for in vain leaves no folder
    with site.alone():
        chapters = read_plan(store, run_ids)
        renderer = Renderer({name: families[name].package for name in families})
        _write(Draft(store, site, renderer, picture_of, name_of), chapters, is_whole=run_ids is None)
    logger.info("report in %s: %d files written, %d unchanged", out, site.written, site.unchanged)
    return site.folder / "index.html"


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
