"""A class in the eyes of several networks: parts with pictures, verdicts on them, and the numbers behind these."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from xvcore.comparison.method.verdict import MISSED, SHARED, UNDECIDED
from xvcore.comparison.pages.wording import tally_of
from xvcore.comparison.query.statistics import class_statistics, other_runs
from xvcore.errors import StoreError
from xvcore.keys import digest
from xvcore.query import table
from xvcore.report.chapters import Chapter, Entry, Network
from xvcore.report.draft import Draft
from xvcore.report.rows import class_rows
from xvcore.report.wording import records
from xvcore.store import Store
from xvcore.visual_summaries.pages.class_data import ClassData, Cluster, Region, changing, read_class
from xvcore.visual_summaries.settings import VisualSummaries

Row = Mapping[str, Any]
Frames = Mapping[str, pd.DataFrame]

TABLES = (
    "part_verdicts",
    "cross_deletions",
    "part_matches",
    "network_likeness",
    "part_coverage",
    "comparison_classes",
)
"""Of a class; those whose rows the pages show and hand out."""
STATISTICS = "statistics"
"""What evidence and units say of the class; no table of the store, but made of theirs."""
N_PICTURES = 6
"""Of a part, the best first; the others are on the page of its network."""


@dataclass(frozen=True, slots=True)
class Eyes:
    """Where a compared network's summaries of a class are.

    Parameters
    ----------
    model : name of the network
    entry : the class in the visual summaries of the network
    is_shown : whether the report has their pages
    images : what their pages show, by image id: ``page`` and ``picture``; empty where there are no pages
    """

    model: str
    entry: Entry
    is_shown: bool
    images: Mapping[str, Mapping[str, Any]]

    @property
    def network(self) -> Network:
        """The run of its visual summaries: whose colour and input the network has."""
        return self.entry.network


@dataclass(frozen=True, slots=True)
class Picture:
    """A region of a part in its image.

    Parameters
    ----------
    region : the region
    page, file : page and picture of the image; None where there are none
    """

    region: Region
    page: str | None
    file: str | None

    @property
    def image_id(self) -> str:
        """The image."""
        return str(self.region.row["image_id"])


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a class in the eyes of a network: one summary or several.

    Parameters
    ----------
    part_id : as the tables call it
    summaries : number of each on the page of the network, and the summary
    pictures : the best regions, one an image
    """

    part_id: int
    summaries: tuple[tuple[int, Cluster], ...]
    pictures: tuple[Picture, ...]

    @property
    def label(self) -> str | None:
        """What its first tagged summary is called: a tag of the user's, else the annotated part that it lies on."""
        names = [each.row["tag"] or each.row["part"] for _, each in self.summaries]
        return next((str(name) for name in names if name), None)

    @property
    def labelled(self) -> Row | None:
        """The row of the summary that the label is of, where it is an annotated part with its share and chance."""
        rows = [each.row for _, each in self.summaries if not each.row["tag"] and each.row["part"]]
        return rows[0] if rows and rows[0]["part"] == self.label else None


@dataclass(frozen=True)
class Side:
    """A class in the eyes of one network.

    Parameters
    ----------
    eyes : where its summaries are
    row : of ``comparison_classes``
    data : its summaries
    parts : by number, in the order of the numbers
    """

    eyes: Eyes
    row: Row
    data: ClassData
    parts: Mapping[int, Part]

    @property
    def model(self) -> str:
        """Name of the network."""
        return self.eyes.model

    @property
    def network(self) -> Network:
        """The network, for its colour."""
        return self.eyes.network

    @property
    def noun(self) -> str:
        """What its parts are: distinct parts, or single summaries where these are not known."""
        return "part" if self.row["has_distinct_parts"] else "summary"

    @property
    def interval(self) -> tuple[int, int] | None:
        """The 95 % interval of the number of distinct parts."""
        return self.data.n_parts.parts if self.row["has_distinct_parts"] and self.data.n_parts else None


@dataclass(frozen=True, slots=True)
class Judged:
    """A part, and what was found of it with regard to another network.

    Parameters
    ----------
    side, other, part : whose part, regarding whom, and which
    verdict : row of ``part_verdicts``
    own, asked : rows of ``cross_deletions``: of the network itself and of the other one
    match : row of ``part_matches`` with the other's nearest part; None where none is above chance
    """

    side: Side
    other: Side
    part: Part
    verdict: Row
    own: Row
    asked: Row
    match: Row | None

    @property
    def anchor(self) -> str:
        """Where the page of the pair has it."""
        return _anchor(self.side.model, self.other.model, self.part.part_id)

    @property
    def match_anchor(self) -> str | None:
        """Where the same page has the other's nearest part."""
        nearest = self.verdict["nearest"]
        return None if nearest is None else _anchor(self.other.model, self.side.model, int(nearest))


def _anchor(model: str, other: str, part_id: int) -> str:
    return f"network-{1 if model < other else 2}-part-{part_id}"


@dataclass(frozen=True)
class Pair:
    """Two networks on a class.

    Parameters
    ----------
    a, b : the networks
    judged : the parts of both
    page : where they are shown
    """

    a: Side
    b: Side
    judged: tuple[Judged, ...]
    page: str

    def missed(self, side: Side, verdict: str) -> list[Judged]:
        """Return the parts of a network that got a verdict, those first that it loses most by."""
        found = [each for each in self.judged if each.side is side and each.verdict["verdict"] == verdict]
        return sorted(found, key=lambda each: (-(each.own["difference"] or 0.0), each.part.part_id))

    @property
    def only(self) -> list[tuple[Side, list[Judged]]]:
        """The parts that one network needs and the other hardly, of each network: could first, then cannot."""
        return [
            (side, [each for verdict in MISSED for each in self.missed(side, verdict)]) for side in (self.a, self.b)
        ]

    @property
    def undecided(self) -> list[tuple[Side, list[Judged]]]:
        """The parts of each network that are not decided."""
        return [(side, self.missed(side, UNDECIDED)) for side in (self.a, self.b)]

    @cached_property
    def shared(self) -> list[tuple[Judged, ...]]:
        """The shared parts: two that are each other's partner together, others alone."""
        first, second = (self.missed(side, SHARED) for side in (self.a, self.b))
        by_id = {each.part.part_id: each for each in second}
        found: list[tuple[Judged, ...]] = []
        for each in first:
            partner = by_id.get(each.verdict["partner"]) if each.verdict["partner"] is not None else None
            is_mutual = partner is not None and partner.verdict["partner"] == each.part.part_id
            found.append((each, partner) if partner is not None and is_mutual else (each,))
        taken = {each[1].part.part_id for each in found if len(each) > 1}
        return sorted(found, key=len, reverse=True) + [(each,) for each in second if each.part.part_id not in taken]


@dataclass(frozen=True)
class ClassComparison:
    """All that the pages of a class show.

    Parameters
    ----------
    entry : the class and the run of the comparison
    sides : the networks, the run's own first; none where the class is not done
    judged : each part of each network with regard to each other network
    frames : rows by table
    tallies : of each ordered pair of networks, how many parts got which verdict
    """

    entry: Entry
    sides: tuple[Side, ...] = ()
    judged: tuple[Judged, ...] = ()
    frames: Frames = field(default_factory=dict)
    tallies: Mapping[tuple[str, str], Mapping[str, int]] = field(default_factory=dict)

    @property
    def noun(self) -> str:
        """What all parts are called."""
        return "part" if all(side.noun == "part" for side in self.sides) else "summary"

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return the rows of a table; none where the class is not done."""
        return records(self.frames[table]) if table in self.frames else []

    @cached_property
    def covered(self) -> list[tuple[str, list[Row | None]]]:
        """Each annotated part, and how far the masks of each network cover it; None where it is not told.

        Parts come in the order of the most that any network covers them beyond chance.
        """
        of: dict[str, dict[str, Row]] = {}
        for row in self.rows("part_coverage"):
            of.setdefault(str(row["part"]), {})[str(row["model"])] = row
        most = {part: max(row["difference"] for row in rows.values()) for part, rows in of.items()}
        return [
            (part, [of[part].get(side.model) for side in self.sides])
            for part in sorted(of, key=lambda each: (-most[each], each))
        ]


def of_runs(run: Row) -> tuple[str, ...]:
    """Return the names that the settings of a comparison's run give its networks, the run's own first."""
    others = json.loads(run["params"] or "{}").get("others", [])
    return (str(run["model"]), *(_name_in(str(address)) for address in others))


def _name_in(address: str) -> str:
    """Return the name of a network as its address has it, weights unread."""
    from xvcore.models.load import Address

    parsed = Address.parse(address)
    return parsed.options.get("name") or parsed.name.rpartition(":")[2]


def eyes_of(draft: Draft, chapter: Chapter, entry: Entry) -> list[Eyes]:
    """Return where the summaries of each network of a class are, in the order of the run's networks.

    Raises
    ------
    StoreError
        A damaged file.
    """
    rows = records(class_rows(draft.store, entry, "comparison_classes", ("model", "of_run")))
    order = {name: place for place, name in enumerate(of_runs(entry.network.run))}
    rows.sort(key=lambda row: (order.get(str(row["model"]), len(order)), str(row["model"])))
    shown = {
        each.network.run_id: each
        for section in chapter.sections
        if section.method == VisualSummaries.method
        for topic in section.topics
        if topic.class_id == entry.class_id
        for each in topic.entries
    }
    found = []
    for place, row in enumerate(rows):
        given = shown.get(str(row["of_run"]))
        images = draft.site.stamp(given.folder).get("images", {}) if given else {}
        at = given or _not_shown(draft.store, str(row["of_run"]), entry.class_id, place)
        found.append(Eyes(str(row["model"]), at, given is not None, images))
    return found


def _not_shown(store: Store, run_id: str, class_id: str, place: int) -> Entry:
    """Return the class in the eyes of a network whose summaries the report does not show."""
    runs = [row for row in records(store.runs()) if row["run_id"] == run_id]
    if not runs:
        raise StoreError(f"{run_id}: its visual summaries, which were compared, are no longer in {store.url}")
    return Entry(Network(runs[0], str(runs[0]["model"]), "", place), class_id, {}, "")


def decided_by(store: Store, entry: Entry, eyes: Sequence[Eyes]) -> list[Any]:
    """Return what decides the pages of a class beside its record: rows of its tables, and its summaries."""
    frames = [_hashed(class_rows(store, entry, name)) for name in TABLES]
    of_networks = [
        (each.model, each.network.title, each.network.colour, each.entry.folder, each.is_shown, sorted(each.images),
         [(image["page"], image["picture"]) for image in each.images.values()],
         sorted(each.entry.record.items()), changing(store, each.entry))
        for each in eyes
    ]  # fmt: skip
    return [frames, of_networks, _statistics_made_of(store, entry.class_id, eyes)]


def _statistics_made_of(store: Store, class_id: str, eyes: Sequence[Eyes]) -> list[Any]:
    """Return which runs of other families tell of the networks, and when the class ended in each."""
    found = []
    for of_run, methods in other_runs(store, [each.network.run_id for each in eyes]).items():
        for method, run_id in sorted(methods.items()):
            ended = records(table(store, "class_runs", run_id=run_id, columns=["class_id", "status", "finished_at"]))
            found.append((of_run, method, run_id, len(ended), [each for each in ended if each["class_id"] == class_id]))
    return found


def _hashed(frame: pd.DataFrame) -> str:
    return digest(frame.to_json(orient="values"), 16)


def read(store: Store, entry: Entry, eyes: Sequence[Eyes]) -> ClassComparison:
    """Return what the tables hold of a class.

    Raises
    ------
    StoreError
        A damaged file.
    """
    frames = {name: class_rows(store, entry, name) for name in TABLES}
    frames[STATISTICS] = class_statistics(store, [each.network.run_id for each in eyes], entry.class_id)
    of_networks = {str(row["model"]): row for row in records(frames["comparison_classes"])}
    verdicts = records(frames["part_verdicts"])
    sides = tuple(_side(store, each, of_networks[each.model], verdicts) for each in eyes)
    try:
        judged = tuple(_judged(sides, frames))
    except KeyError as error:
        message = f"{entry.network.run_id} {entry.class_id}: the tables do not fit together ({error}); compare it again"
        raise StoreError(message) from error
    return ClassComparison(entry, sides, judged, frames, tally_of(verdicts))


def _side(store: Store, eyes: Eyes, row: Row, verdicts: Sequence[Row]) -> Side:
    data = read_class(store, eyes.entry)
    clusters = {int(each.row["cluster_id"]): (number, each) for number, each in enumerate(data.summaries, start=1)}
    members = {int(each["part_id"]): each["clusters"] for each in verdicts if each["model"] == eyes.model}
    parts = {}
    for part_id, numbers in sorted(members.items()):
        summaries = tuple(sorted((clusters[int(each)] for each in numbers if int(each) in clusters), key=_by_number))
        parts[part_id] = Part(part_id, summaries, tuple(_pictures(eyes, [each for _, each in summaries])))
    return Side(eyes, row, data, parts)


def _by_number(numbered: tuple[int, Cluster]) -> int:
    return numbered[0]


def _pictures(eyes: Eyes, clusters: Sequence[Cluster]) -> Iterator[Picture]:
    """Yield the best regions of some summaries in turn, one an image."""
    longest = max((len(each.shown) for each in clusters), default=0)
    seen: set[str] = set()
    for place in range(longest):
        for cluster in clusters:
            if place < len(cluster.shown) and len(seen) < N_PICTURES:
                region = cluster.shown[place]
                image_id = str(region.row["image_id"])
                if image_id not in seen:
                    seen.add(image_id)
                    image = eyes.images.get(image_id, {})
                    yield Picture(region, image.get("page"), image.get("picture"))


def _judged(sides: Sequence[Side], frames: Frames) -> Iterator[Judged]:
    """Yield each part of each network with regard to each other; a KeyError where a table lacks its row."""
    of = {side.model: side for side in sides}
    deletions = {(row["model"], row["part_id"], row["other"]): row for row in records(frames["cross_deletions"])}
    matches = {
        (row["model"], row["part_id"], row["other"], row["other_part"]): row
        for row in records(frames["part_matches"])
        if row["is_nearest"]
    }
    for row in records(frames["part_verdicts"]):
        model, part_id, other = row["model"], row["part_id"], row["other"]
        yield Judged(
            of[model],
            of[other],
            of[model].parts[int(part_id)],
            row,
            deletions[model, part_id, model],
            deletions[model, part_id, other],
            matches.get((model, part_id, other, row["nearest"])),
        )


def pairs_of(data: ClassComparison, page_of: Mapping[tuple[str, str], str]) -> list[Pair]:
    """Return each two networks with what was found of their parts.

    Parameters
    ----------
    data : the class
    page_of : where each pair is shown
    """
    of = {side.model: side for side in data.sides}
    return [
        Pair(of[a], of[b], tuple(each for each in data.judged if {each.side.model, each.other.model} == {a, b}), page)
        for (a, b), page in page_of.items()
    ]
