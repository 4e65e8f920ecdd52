"""A class as one network sees it: its tables, read once and laid out as images and summaries."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from xvcore.report.chapters import Entry
from xvcore.report.class_pages import Image, Row
from xvcore.report.names import image_names
from xvcore.report.pictures import outline
from xvcore.report.rows import class_rows
from xvcore.report.wording import mean, median, plain, records
from xvcore.store import Store
from xvcore.store.encode import rle_decode
from xvcore.visual_summaries.tables import JUDGED

CLUSTER_COLUMNS = (
    "cluster_id",
    "position",
    "exemplar_region_id",
    "n_regions",
    "n_images",
    "mean_similarity",
    "ssim_median",
    "score",
    "accepted",
    "rejected",
    "prob_drop",
    "part",
    "tag",
    "converged",
    "n_iter",
    "distinct_part",
    "greedy_rank",
    "joint_gain",
    "random_drop",
    "above_random",
    "worst_drop",
    "worst_baseline",
)
PART_COLUMNS = ("cluster_id", "part", "share", "random_share", "random_purity", "n_regions")
LEAST_LOSS = 0.05
"""Share of the probability, beyond what random regions take, from which on summaries are said to be needed together."""
OTHER_METHODS = {"extremal_perturbation": "extremal perturbations", "rise": "RISE"}
"""Methods of masks besides sparse ones, in words."""
REJECTIONS = {
    "support": "too few images",
    "mask": "the mask does not cover its region",
    "coherence": "its regions do not look alike once aligned",
}


@dataclass(frozen=True, slots=True)
class Region:
    """A region of an image: its row, and the hull of the salient pixels inside."""

    row: Row
    corners: Sequence[tuple[int, int]]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height in pixels."""
        return box_of(self.row)

    @property
    def is_asked(self) -> bool:
        """Whether it is known what is lost in its image without it alone, and without random regions."""
        return self.row["prob_drop"] is not None and self.row["random_drop"] is not None

    @property
    def contradicts(self) -> bool:
        """Whether no more is lost in its image without it alone than without random regions of its size."""
        return self.is_asked and self.row["prob_drop"] <= self.row["random_drop"]

    @property
    def points(self) -> str:
        """The hull as SVG writes it."""
        return " ".join(f"{x},{y}" for x, y in self.corners)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster of regions.

    Parameters
    ----------
    row : of ``clusters``, with ``share``, ``random_share``, ``random_purity`` and
        ``n_marked`` (regions on annotated images) of ``summary_parts`` where there are some
    shown : regions that make up the summary, the exemplar first
    others : regions that were put beside it and did not agree once aligned
    colour : 0 … 9 for a summary, -1 for a rejected cluster
    asked : regions, one an image, of which it is known what is lost there without them
    """

    row: Row
    shown: tuple[Region, ...]
    others: tuple[Region, ...]
    colour: int
    asked: tuple[Region, ...] = ()

    @property
    def contradicting(self) -> tuple[Region, ...]:
        """The regions of images that contradict the summary, least lost first."""
        return tuple(sorted((each for each in self.asked if each.contradicts), key=lambda each: each.row["prob_drop"]))

    @property
    def is_idle(self) -> bool:
        """Whether nothing of the probability is lost when its region alone is hidden."""
        return self.row["prob_drop"] is not None and self.row["prob_drop"] <= 0

    @property
    def is_as_random(self) -> bool:
        """Whether no more is lost without it alone than without random regions of its size; false where not known."""
        return self.row["above_random"] is False

    @property
    def worst(self) -> str | None:
        """What replaces its region where least is lost, in words; None where that was not asked."""
        return JUDGED.get(str(self.row["worst_baseline"]))

    @property
    def anchor(self) -> str:
        """Where the page of the class has it."""
        return f"summary-{self.row['cluster_id']}"

    @property
    def why_rejected(self) -> str:
        """Words for the reason."""
        reason = self.row["rejected"]
        return REJECTIONS.get(str(reason), str(reason)) if reason else "not accepted"


@dataclass(frozen=True, slots=True)
class PartCount:
    """How many distinct parts the summaries of a class lie on.

    Parameters
    ----------
    number : the parts
    summaries, parts : ends of the 95 % intervals of both numbers, as whole numbers outside of them; None where unknown
    """

    number: int
    summaries: tuple[int, int] | None = None
    parts: tuple[int, int] | None = None


@dataclass(frozen=True)
class ImageView(Image):
    """An image: its two masks, and its regions."""

    smooth: Row | None
    sharp: Row | None
    regions: tuple[Region, ...] = ()

    @property
    def drops(self) -> list[tuple[str, float]]:
        """What is lost under the crisp mask by what replaces its pixels; none where that was not asked."""
        sharp = self.sharp or {}
        return _judged(sharp.get)

    @cached_property
    def salient(self) -> np.ndarray | None:
        """The pixels that the crisp mask removes, (h, w)."""
        return None if self.sharp is None or self.sharp["rle"] is None else rle_decode(self.sharp["rle"])


@dataclass(frozen=True)
class ClassData:
    """All that the pages of a class show.

    Parameters
    ----------
    entry : the class and the network
    images : those that were read, in the order of their ids
    unreadable : predictions or masks whose ``error`` says why there is none, as (image id, what, error)
    clusters : accepted ones first, those first without which most is lost
    size : height and width of the network's input in pixels
    drops : rows of ``summary_drops``
    counts : rows of ``part_counts``
    """

    entry: Entry
    images: tuple[ImageView, ...] = ()
    unreadable: tuple[tuple[str, str, str], ...] = ()
    clusters: tuple[Cluster, ...] = ()
    size: tuple[int, int] = (224, 224)
    masks: pd.DataFrame = field(default_factory=pd.DataFrame)
    drops: tuple[Row, ...] = ()
    counts: tuple[Row, ...] = ()

    @cached_property
    def n_parts(self) -> PartCount | None:
        """The distinct parts; None where the run did not look for them."""
        numbers = [each.row["distinct_part"] for each in self.summaries]
        whole = next((row for row in self.counts if row["is_whole"]), None)
        if None in numbers or (whole is None and not numbers):
            return None
        of_both = (None, None) if whole is None else (_outside(whole, "summaries"), _outside(whole, "parts"))
        return PartCount(len(set(numbers)), *of_both)

    @property
    def joint(self) -> Row | None:
        """What is lost without all summaries together."""
        return next((row for row in self.drops if row["kind"] == "joint"), None)

    @property
    def steps(self) -> list[tuple[Cluster, Row]]:
        """The summaries in greedy order, each with what is lost once it is hidden too."""
        by_id = {each.row["cluster_id"]: each for each in self.summaries}
        rows = sorted((row for row in self.drops if row["kind"] == "greedy"), key=lambda row: int(row["step"]))
        return [(by_id[row["cluster_id"]], row) for row in rows if row["cluster_id"] in by_id]

    @property
    def are_needed_together(self) -> bool:
        """Whether much is lost without all, beyond random regions and chance, but not without each of them alone."""
        joint = self.joint
        if joint is None or not joint["above_random"]:
            return False
        beyond = float(joint["prob_drop"]) - float(joint["random_drop"])
        return beyond >= LEAST_LOSS and any(each.is_as_random for each in self.summaries)

    @property
    def summaries(self) -> tuple[Cluster, ...]:
        """The accepted clusters."""
        return tuple(each for each in self.clusters if each.row["accepted"])

    @property
    def rejected(self) -> tuple[Cluster, ...]:
        """The clusters that are no summaries."""
        return tuple(each for each in self.clusters if not each.row["accepted"])

    @property
    def skipped(self) -> tuple[ImageView, ...]:
        """Images that were left out, e.g. because the network does not recognise them."""
        return tuple(image for image in self.images if image.prediction["skipped"])

    @property
    def has_settled(self) -> bool:
        """Whether the clustering converged."""
        return all(each.row["converged"] is not False for each in self.clusters)

    @property
    def mask_drops(self) -> list[tuple[str, float]]:
        """What is lost under the crisp masks by what replaces their pixels, medians; none where that was not asked."""
        sharp = self._sharp
        return _judged(lambda column: median(sharp[column]) if column in sharp and len(sharp) else None)

    @property
    def other_method(self) -> str | None:
        """The method that made the masks, in words; None where they are sparse ones, or it is not written."""
        sharp = self._sharp
        named = list(sharp["mask_method"].dropna()) if "mask_method" in sharp else []
        return OTHER_METHODS.get(str(named[0])) if named else None

    @property
    def _sharp(self) -> pd.DataFrame:
        return self.masks[self.masks["kind"] == "sharp"] if len(self.masks) else self.masks

    @cached_property
    def figures(self) -> dict[str, float | None]:
        """Numbers over the class: area and drop of the crisp masks, drop of the summaries, each and all."""
        sharp = self._sharp
        drops = pd.Series([each.row["prob_drop"] for each in self.summaries], dtype=float)
        return {
            "area": median(sharp["area_frac"]) if len(sharp) else None,
            "mask_drop": median(sharp["prob_drop"]) if len(sharp) else None,
            "worst_mask_drop": min((each for _, each in self.mask_drops), default=None),
            "summary_drop": mean(drops),
            "joint_drop": self.joint["prob_drop"] if self.joint else None,
            "joint_random": self.joint["random_drop"] if self.joint else None,
        }


def read_class(store: Store, entry: Entry) -> ClassData:
    """Return what a class's tables hold; tables that are not there are empty.

    Raises
    ------
    StoreError
        A damaged file.
    """
    predictions = records(class_rows(store, entry, "predictions"))
    masks = class_rows(store, entry, "masks")
    by_image = {(row["image_id"], row["kind"]): row for row in records(masks)}
    names = image_names(str(row["image_id"]) for row in predictions)
    of_image: dict[str, list[Row]] = {}
    for row in records(class_rows(store, entry, "regions")):
        of_image.setdefault(str(row["image_id"]), []).append(row)
    images = []
    found: dict[int, Region] = {}
    for row in sorted(predictions, key=lambda each: str(each["image_id"])):
        if row["error"]:
            continue
        image_id = str(row["image_id"])
        smooth, sharp = by_image.get((image_id, "smooth")), by_image.get((image_id, "sharp"))
        bare = ImageView(row, names[image_id], smooth, sharp)
        drawn = tuple(_region(each, bare.salient) for each in of_image.get(image_id, ()))
        found.update({int(each.row["region_id"]): each for each in drawn})
        images.append(ImageView(row, names[image_id], smooth, sharp, drawn))
    return ClassData(
        entry,
        tuple(images),
        tuple(_failures(predictions, by_image.values())),
        _clusters(
            records(class_rows(store, entry, "clusters")), records(class_rows(store, entry, "summary_parts")), found
        ),
        _size(entry, by_image.values()),
        masks.drop(columns=["rle", "soft_map"]),
        tuple(records(class_rows(store, entry, "summary_drops"))),
        tuple(records(class_rows(store, entry, "part_counts"))),
    )


def changing(store: Store, entry: Entry) -> list[Any]:
    """Return what may change without the class being run again: verdicts, tags and parts of its clusters."""
    found: list[Any] = []
    for name, columns in (("clusters", CLUSTER_COLUMNS), ("summary_parts", PART_COLUMNS)):
        rows = class_rows(store, entry, name, columns)
        found.append([[str(plain(value)) for value in row] for row in rows.itertuples(index=False)])
    return found


def _region(row: Row, salient: np.ndarray | None) -> Region:
    return Region(row, outline(salient, box_of(row)))


def _judged(value: Callable[[str], float | None]) -> list[tuple[str, float]]:
    """Return the baselines in words with the values of their columns, without those that have none."""
    found = [(words, value(f"drop_{kind}")) for kind, words in JUDGED.items()]
    return [(words, each) for words, each in found if each is not None]


def box_of(row: Row) -> tuple[int, int, int, int]:
    """Return the box of a region's row: x, y, w, h in pixels of the network's input."""
    return int(row["x"]), int(row["y"]), int(row["w"]), int(row["h"])


def _clusters(rows: Sequence[Row], parts: Sequence[Row], regions: Mapping[int, Region]) -> tuple[Cluster, ...]:
    shares = {row["cluster_id"]: row for row in parts}
    ordered = sorted(rows, key=_order)
    found = []
    n_accepted = 0
    for row in ordered:
        members = [each for each in regions.values() if each.row["cluster_id"] == row["cluster_id"]]
        members.sort(key=lambda each: (not each.row["is_exemplar"], -(each.row["sim_exemplar"] or 0.0)))
        of_parts = shares.get(row["cluster_id"], {})
        filled = {
            **row,
            "part": of_parts.get("part") or row["part"],
            "share": of_parts.get("share"),
            "random_share": of_parts.get("random_share"),
            "random_purity": of_parts.get("random_purity"),
            "n_marked": of_parts.get("n_regions"),
        }
        kept = tuple(each for each in members if each.row["kept"])
        others = tuple(each for each in members if not each.row["kept"] and each.row["crop"] is not None)
        asked = tuple(each for each in members if each.is_asked)
        found.append(Cluster(filled, kept, others, n_accepted % 10 if row["accepted"] else -1, asked))
        n_accepted += bool(row["accepted"])
    return tuple(found)


def _order(row: Row) -> tuple[bool, bool, bool, float, int]:
    """Return what clusters are sorted by: summaries by what is lost without them, rejected clusters by their score.

    Summaries without which no more is lost than without random regions come after the others.
    """
    drop = row["prob_drop"] if row["accepted"] else None
    is_as_random = bool(row["accepted"]) and row.get("above_random") is False
    return not row["accepted"], is_as_random, drop is None, 0.0 if drop is None else -float(drop), int(row["position"])


def _outside(row: Row, name: str) -> tuple[int, int] | None:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return None if low is None or high is None else (math.floor(low), math.ceil(high))


def _failures(predictions: Sequence[Row], masks: Any) -> list[tuple[str, str, str]]:
    of_images = [(str(row["image_id"]), "image", str(row["error"])) for row in predictions if row["error"]]
    of_masks = [(str(row["image_id"]), f"{row['kind']} mask", str(row["error"])) for row in masks if row["error"]]
    return sorted(of_images) + sorted(of_masks)


def _size(entry: Entry, masks: Any) -> tuple[int, int]:
    """Return the size of the network's input: a mask's, where there is one."""
    for row in masks:
        if row["rle"] is not None:
            height, width = row["rle"]["size"]
            return int(height), int(width)
    return entry.network.input_size
