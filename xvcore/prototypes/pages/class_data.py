"""The prototypes of a class as one network has them, and the decisions for its images: tables read once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xvcore.prototypes.pages.class_tests import Foremost, RunPrototypes
from xvcore.prototypes.pages.prototype_pages import Shown
from xvcore.report.chapters import Entry
from xvcore.report.class_pages import Image, Row
from xvcore.report.names import image_names
from xvcore.report.rows import class_rows
from xvcore.report.wording import mean, records
from xvcore.store import Store

WEIGHT_COLUMNS = ("prototype", "position", "weight", "mean_contribution", "n_images")


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of the bar from zero to the logit.

    Parameters
    ----------
    name : prototype, or what else is added
    start, end : sums before and after it, in logits
    row : of ``prototype_contributions``; None for what is no prototype
    """

    name: str
    start: float
    end: float
    row: Row | None = None

    @property
    def change(self) -> float:
        """What it adds."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Taken:
    """A decision taken apart: its row of ``prototype_decisions``, and the strongest contributions."""

    row: Row
    contributions: Sequence[Row]

    @property
    def steps(self) -> list[Step]:
        """The bar: bias, prototypes, all others; the last end is the logit."""
        steps, total = [], 0.0
        if self.row["bias"]:
            steps.append(Step("bias", 0.0, total := float(self.row["bias"])))
        for each in self.contributions:
            start, total = total, total + float(each["contribution"])
            steps.append(Step(f"prototype {each['prototype']}", start, total, each))
        return [*steps, Step("all others", total, float(self.row["logit"]))]

    @property
    def span(self) -> tuple[float, float]:
        """Lowest and highest end of any step, 0 among them."""
        ends = [0.0, *(step.end for step in self.steps)]
        return min(ends), max(ends)

    def place(self, value: float) -> float:
        """Return where a value lies on the bar, in per cent."""
        low, high = self.span
        return 100 * (value - low) / ((high - low) or 1.0)


@dataclass(frozen=True)
class DecidedImage(Image):
    """An image and its decisions, that for its class first."""

    decisions: tuple[Taken, ...]


@dataclass(frozen=True)
class ClassPrototypes:
    """All that the pages of a class show.

    Parameters
    ----------
    entry : the class and the network
    images : those that were read, in the order of their ids
    unreadable : as (image id, what, error)
    weights : rows of ``prototype_weights``, those that add most to the class's images first
    active : mean number of active prototypes of a decision
    removals : rows of ``prototype_removals``
    tests : what all classes of the run tell about this one
    size : height and width of the network's input in pixels
    """

    entry: Entry
    images: tuple[DecidedImage, ...] = ()
    unreadable: tuple[tuple[str, str, str], ...] = ()
    weights: tuple[Row, ...] = ()
    active: float | None = None
    removals: tuple[Row, ...] = ()
    tests: RunPrototypes = field(default_factory=RunPrototypes)
    size: tuple[int, int] = (224, 224)

    @property
    def shown(self) -> Mapping[int, Shown]:
        """The prototypes that have pages."""
        return self.tests.shown

    @property
    def tested(self) -> Sequence[Foremost]:
        """The prototypes with the largest weights for the class that have patches."""
        return self.tests.foremost.get(self.entry.class_id, ())

    @property
    def falls(self) -> Mapping[str, Row]:
        """Of the images that were measured how far the predicted logit falls, by image."""
        return {str(row["image_id"]): row for row in self.removals}


def changing(store: Store, entry: Entry, runs: Mapping[str, RunPrototypes]) -> list[Any]:
    """Return what may change without the class being run again: weights and patches are gathered over all classes."""
    weights = records(class_rows(store, entry, "prototype_weights", WEIGHT_COLUMNS))
    tests = runs[entry.network.run_id]
    return [
        [[str(value) for value in row.values()] for row in weights],
        {str(number): each.digest for number, each in tests.shown.items()},
        [str(each) for each in tests.foremost.get(entry.class_id, ())],
        [str(row) for row in records(class_rows(store, entry, "prototype_removals"))],
    ]


def read_prototypes(store: Store, entry: Entry, runs: Mapping[str, RunPrototypes]) -> ClassPrototypes:
    """Return what a class's tables hold; tables that are not there are empty.

    Raises
    ------
    StoreError
        A damaged file.
    """
    predictions = sorted(records(class_rows(store, entry, "predictions")), key=lambda row: str(row["image_id"]))
    names = image_names(str(row["image_id"]) for row in predictions)
    decisions = class_rows(store, entry, "prototype_decisions")
    rows = records(class_rows(store, entry, "prototype_contributions"))
    contributions: dict[tuple[str, int], list[Row]] = {}
    for row in sorted(rows, key=lambda each: int(each["position"])):
        contributions.setdefault((str(row["image_id"]), int(row["target_idx"])), []).append(row)
    taken: dict[str, list[Taken]] = {}
    for row in sorted(records(decisions), key=lambda each: str(each["target_kind"])):
        key = (str(row["image_id"]), int(row["target_idx"]))
        taken.setdefault(key[0], []).append(Taken(row, contributions.get(key, ())))
    weights = records(class_rows(store, entry, "prototype_weights", WEIGHT_COLUMNS))
    own = decisions[decisions["target_kind"] == "label"] if len(decisions) else decisions
    return ClassPrototypes(
        entry,
        tuple(
            DecidedImage(row, names[str(row["image_id"])], tuple(taken.get(str(row["image_id"]), ())))
            for row in predictions
            if not row["error"]
        ),
        tuple((str(row["image_id"]), "image", str(row["error"])) for row in predictions if row["error"]),
        tuple(sorted(weights, key=lambda row: -abs(float(row["mean_contribution"])))),
        mean(own["n_active"]) if len(own) else None,
        tuple(records(class_rows(store, entry, "prototype_removals"))),
        runs[entry.network.run_id],
        entry.network.input_size,
    )
