"""A class of a store in a cell: what every family and analysis found in it, by the readers of the report's pages."""

from collections.abc import Callable
from pathlib import Path

from xvcore.errors import StoreError
from xvcore.notebook.figure import FIRST, Figure
from xvcore.notebook.seen import Seen, class_views, seen_of, store_at
from xvcore.report.originals import PictureOf
from xvcore.report.wording import plural
from xvcore.store import Store

_STATES = {
    "failed": "This class failed",
    "stopped": "Work on this class was stopped",
    "running": "This class is being worked on; what is here may change",
    "pending": "This class was asked for and has not begun",
    "skipped": "There was nothing to explain in this class",
}


def show(  # noqa: PLR0913  one for each choice
    store: Store | str | Path,
    class_id: str,
    *,
    network: str | None = None,
    run: str | None = None,
    first: int = FIRST,
    picture_of: PictureOf | None = None,
) -> Figure:
    """Return what a store has of a class, as its pages of the report show it: put it at the end of a cell.

    Summaries, evidence, units, prototypes and findings of analyses, of every network; of a store that is published or
    not. Pictures are decoded again from the data set, where it still lies; else crops of the store are shown.

    Parameters
    ----------
    store : the store, or its folder or URL
    class_id : as the column ``class_id`` has it
    network : name of a network, as the column ``model`` has it; None: all
    run : id of a run; None: all
    first : images, patches, units that are shown of each kind, at least 1
    picture_of : gives a picture (h, w, 3), 0 … 255, of a run (its row), an image id and a class id; None: the data set

    Returns
    -------
    Figure
        Shows itself in a notebook; ``.html`` is a string, ``.plot()`` draws the pictures with matplotlib.

    Raises
    ------
    StoreError
        Nothing was ever written to the store, or a run that it does not have.
    UnknownNameError
        A class or a network that the store does not have; the message names those that it has.

    Examples
    --------
    >>> import xvcore
    >>> xvcore.show("store", "robin", network="bagnet_drawn").title
    'robin & co'
    """
    entries = seen_of(store_at(store), class_id, network=network, run=run, picture_of=picture_of, first=first)
    name = entries[0].chapter.class_names[class_id]
    parts = [part for each in entries if (part := _part(each)) is not None]
    others = sorted({each.section.method for each in entries if class_views.get(each.section.method) is None})
    words = f"{class_id}, in {plural(len(entries), 'run')} of {entries[0].store.url}."
    if others:
        words += f" Without a view here: {', '.join(others)}."
    return Figure(name, words, parts=tuple(parts))


def _part(seen: Seen) -> Figure | None:
    """Return what a run has of the class; where it has nothing, why; None where its family has no view."""
    view = class_views.get(seen.section.method)
    if view is None:
        return None
    found, problem = _drawn(view.figure, seen)
    if found is not None:
        return found
    record, status = seen.entry.record, seen.entry.status
    said = problem or (f"{_STATES[status]}: {record['error']}" if record.get("error") else _STATES.get(status))
    said = said or "The run has ended, and has nothing to show of this class."
    return Figure(f"{seen.section.method}, {seen.entry.network.title}", said)


def _drawn(figure: Callable[[Seen], Figure | None], seen: Seen) -> tuple[Figure | None, str | None]:
    """Return what a family shows, or what is wrong with its tables: a damaged one does not hide what others found."""
    try:
        return figure(seen), None
    except StoreError as error:
        return None, f"The tables of this class cannot be read: {error}"
