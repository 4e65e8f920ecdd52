"""The report while it is being written: what every writer of pages is handed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xvcore.report.originals import NameOf, PictureOf
from xvcore.report.renderer import Renderer
from xvcore.report.site import Site
from xvcore.store import Store

Cards = Mapping[str, Mapping[str, Any]]
"""The card of each class of a network, or of a network, by its folder: what the first page shows of it."""


@dataclass(frozen=True)
class Draft:
    """Where pages come from and go to.

    Parameters
    ----------
    store : the tables
    site : the folder of the pages
    renderer : fills in the templates
    picture_of, name_of : what the tables do not hold; ``None`` where there is no such source
    cards : what the writers leave for the first page, by folder
    shown : the pictures that pages show, by the folder that they are in
    unsettled : folders whose pages may be better another time, though nothing is written: what they show was lost, or
        could not be read
    processes : that write pages of classes
    """

    store: Store
    site: Site
    renderer: Renderer
    picture_of: PictureOf | None
    name_of: NameOf | None
    cards: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    shown: dict[str, set[str]] = field(default_factory=dict)
    unsettled: set[str] = field(default_factory=set)
    processes: int = 1

    def judge(self, folder: str, problem: str | None, lost: str | None = None) -> None:
        """Note a folder as unsettled where its pages may be better another time.

        Parameters
        ----------
        folder : of the pages
        problem : why a table could not be read, if so
        lost : an image whose original there was none of, if so; where nobody is asked for them, none comes back
        """
        if problem or (lost is not None and self.picture_of is not None):
            self.unsettled.add(folder)
