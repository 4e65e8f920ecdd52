"""Leaf through the images of a class in a notebook: each with its mask, its evidence, or what analyses lay over it."""

from pathlib import Path
from typing import TYPE_CHECKING

from xvcore.errors import StoreError, XvError
from xvcore.notebook.figure import FIRST
from xvcore.notebook.seen import Layers, Seen, class_views, seen_of, store_at
from xvcore.report.originals import PictureOf
from xvcore.report.rows import class_rows
from xvcore.store import Store

if TYPE_CHECKING:
    from xvcore.notebook.leafing import Leaves

PLAIN = "picture alone"


def leaf(
    store: Store | str | Path,
    class_id: str,
    *,
    network: str | None = None,
    run: str | None = None,
    picture_of: PictureOf | None = None,
) -> "Leaves":
    """Return a widget to leaf through the images of a class: arrow keys or buttons, and a choice of what lies over.

    Only the page that is looked at is made. Its ``position`` (from 0), ``layer`` and ``page`` can be read and set.

    Parameters
    ----------
    store : the store, or its folder or URL
    class_id : as the column ``class_id`` has it
    network : name of a network, as the column ``model`` has it; None: all, a layer each
    run : id of a run; None: all
    picture_of : gives a picture (h, w, 3), 0 … 255, of a run (its row), an image id and a class id; None: the data set

    Raises
    ------
    StoreError
        Nothing was ever written to the store, a run that it does not have, a damaged table, or no image was read.
    UnknownNameError
        A class or a network that the store does not have; the message names those that it has.
    XvError
        anywidget is not installed.

    Examples
    --------
    >>> import xvcore
    >>> xvcore.leaf("store", "robin", network="bagnet_drawn").n_images
    4
    """
    try:
        from xvcore.notebook.leafing import Leaves
    except ImportError as error:
        raise XvError("the widget needs anywidget, which is not installed: pip install 'xv[notebook]'") from error
    entries = seen_of(store_at(store), class_id, network=network, run=run, picture_of=picture_of, first=FIRST)
    layers: dict[str, tuple[Seen, Layers]] = {}
    for seen in entries:
        view = class_views.get(seen.section.method)
        for name, of_images in (view.layers(seen) if view and view.layers else {}).items():
            layers[_unused(f"{name}, {seen.entry.network.title}", layers)] = (seen, of_images)
    images = {image_id: seen for seen in reversed(entries) for image_id in _images(seen)}
    if not images:
        raise StoreError(f"no image of {class_id} in {store_at(store).url} was read: there is nothing to leaf through")
    return Leaves(images, layers)


def _images(seen: Seen) -> list[str]:
    rows = class_rows(seen.store, seen.entry, "predictions", ["image_id", "error"])
    return [str(each) for each in rows["image_id"][rows["error"].isna()]]


def _unused(name: str, taken: dict[str, tuple[Seen, Layers]]) -> str:
    """Return a name for a layer that no other has: two runs of a network may lay the same over its images."""
    number = 2
    found = name
    while found in taken:
        found, number = f"{name} ({number})", number + 1
    return found
