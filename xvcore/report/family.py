"""What the report knows of a family: where its pages are, who writes them, and the words it adds to the first pages."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xvcore.registry import Registry
from xvcore.report.chapters import Chapter, Section
from xvcore.report.comparison import ComparisonPage
from xvcore.report.draft import Cards, Draft
from xvcore.report.findings import Told, surest


def name_of_network(run: Mapping[str, Any]) -> str:
    """Return what a run of one network is called: the network's name."""
    return str(run["model"])


def no_values(_sections: Sequence[Section], _cards: Cards) -> Mapping[str, Any]:
    """Return no values, for a template whose words are the same for all."""
    return {}


def of_classes(section: Section, cards: Cards) -> list[Told]:
    """Return what the pages of the classes told, those findings first that chance would make least often."""
    every = [entry for topic in section.topics for entry in topic.entries]
    return surest(found for entry in every for found in cards.get(entry.folder, {}).get("told", ()))


@dataclass(frozen=True, slots=True)
class FamilyPages:
    """How the results of a family are shown; a family's ``pages`` registers it under the family's method.

    Templates are named ``<method>/<file>``: ``file`` lies in the folder ``templates`` of ``package``.

    Parameters
    ----------
    package : dotted name of the family's ``pages``
    title : in words, as in "visual summaries of NETWORK"
    folder : of its networks' folders, with a slash at the end; empty: they lie beside the first page
    write : writes the pages of a section, and leaves their cards in the draft
    block : values of the template ``index.html``, which extends the kit's ``index_block.html``: the family's part of
        the first page
    lede : values of the template ``lede.html``, its sentences at the top of the first page; called with the sections
        of all data sets
    has_class_pages : whether each class of a run has its page
    class_folder : below the folder of a network, of its classes' folders, with a slash at the end; a name that no
        page of the family has
    has_run_page : whether each run has a page of its own, ``<network>/index.html``
    comparison : returns the page of a class in the eyes of all networks; None where there is none
    findings : what was found in a section, for the top of the first page, what matters most first
    about : values of the template ``about.html``
    name_of : returns what a run is called, given its row of ``runs``; where two are called alike, what differs is added

    Notes
    -----
    The template ``about.html`` is its section of the page about these pages; ``pandas.html``, where there is one, its
    lines of Python there, which read its tables.
    """

    package: str
    title: str
    folder: str
    write: Callable[[Draft, Chapter, Section], None]
    block: Callable[[Section, Cards], Mapping[str, Any]]
    lede: Callable[[Sequence[Section], Cards], Mapping[str, Any]] = no_values
    has_class_pages: bool = True
    class_folder: str = ""
    has_run_page: bool = False
    comparison: ComparisonPage | None = None
    findings: Callable[[Section, Cards], Sequence[Told]] = of_classes
    about: Mapping[str, Any] = field(default_factory=dict)
    name_of: Callable[[Mapping[str, Any]], str] = name_of_network


families: Registry[FamilyPages] = Registry("family with pages", "xvcore.*.pages")
"""The pages of each family, by the method that its settings name."""
