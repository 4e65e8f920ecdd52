"""What a class takes, as a function of the number of its images: in seconds by stage, in bytes by table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy

from xvcore.runs.settings import Settings
from xvcore.store.schema import Growth


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds or bytes of a class: a polynomial of the number of its images.

    Parameters
    ----------
    coefficients : of the powers 0, 1, 2, …, none negative
    most : images beyond which nothing is added
    """

    coefficients: tuple[float, ...]
    most: float = math.inf

    def of(self, n_images: float) -> float:
        """Return the cost of a class of so many images."""
        counted = min(n_images, self.most)
        return sum(each * counted**power for power, each in enumerate(self.coefficients))


@dataclass(frozen=True, slots=True)
class Sample:
    """A class that was computed, and what that took.

    Parameters
    ----------
    n_images : that were looked at
    seconds : by stage
    n_bytes : of its parts, by table
    counts : what else was counted in the class, by the column's name without ``n_``, e.g. ``regions``
    """

    n_images: int
    seconds: Mapping[str, float]
    n_bytes: Mapping[str, int]
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rates:
    """What classes of one network take.

    Parameters
    ----------
    device : on which the seconds were measured
    source : where the rates come from, in words
    samples : what was measured
    seconds, n_bytes : of a class, by stage and by table
    gather_seconds : joining the tables of classes, by their number; None: nobody has measured it
    gather_bytes : what that adds to the store
    start_seconds : of a process before its first image: loading the network, compiling
    """

    device: str
    source: str
    samples: tuple[Sample, ...]
    seconds: Mapping[str, Cost]
    n_bytes: Mapping[str, Cost]
    gather_seconds: Cost | None = None
    gather_bytes: Cost = Cost(())
    start_seconds: float = 0.0

    def seconds_per_image(self, verb: str) -> float:
        """Return what an image of the largest sample took, as measured."""
        return max((each.n_images, each.seconds[verb]) for each in self.samples)[1] / self._largest

    def bytes_per_image(self, table: str) -> float:
        """Return what an image of the largest sample left in the parts of a table, as measured."""
        return max((each.n_images, each.n_bytes.get(table, 0)) for each in self.samples)[1] / self._largest

    @property
    def _largest(self) -> int:
        return max(each.n_images for each in self.samples)


def through_origin(points: Sequence[tuple[int, float]], growth: Growth, most: float = math.inf) -> Cost:
    """Return the cost that is proportional to the images (to their square for pairs), the same in total as measured.

    Parameters
    ----------
    points : number of images of a class and what it took
    growth : what the cost is proportional to
    most : images beyond which nothing is added
    """
    power = _power(growth)
    counted = sum(min(n_images, most) ** power for n_images, _ in points)
    return Cost((*[0.0] * power, sum(value for _, value in points) / counted), most)


def fitted(points: Sequence[tuple[int, float]], growth: Growth, most: float = math.inf) -> Cost:
    """Return the cost closest to what was measured at several sizes: least squares, no coefficient below 0.

    What is paid once a class does not grow with its images; pairs of images are paid beside the images themselves.
    With fewer sizes than coefficients the highest power takes all.
    """
    power = _power(growth)
    counted = [min(n_images, most) for n_images, _ in points]
    if len(set(counted)) <= power:
        return through_origin(points, growth, most)
    powers = np.vander(np.array(counted, float), power + 1, increasing=True)
    coefficients, _ = scipy.optimize.nnls(powers, np.array([value for _, value in points]))
    return Cost(tuple(float(each) for each in coefficients), most)


def images_at_bound(settings: Settings, growth: Growth, samples: Sequence[Sample]) -> float:
    """Return the number of images of a class at which what it grows with reaches its parameter ``max_…``; or infinity.

    That is the parameter ``max_regions`` for what grows with regions or their pairs.
    """
    counted = what_grows(growth)
    number = sum(each.counts.get(counted, 0) for each in samples)
    most = getattr(settings, f"max_{counted}", None)
    if counted == "images" or most is None or not number:
        return math.inf
    return float(most) * sum(each.n_images for each in samples) / number


def what_grows(growth: Growth) -> str:
    """Return what is counted, in the plural: ``regions`` for regions and for region pairs."""
    return growth.removesuffix(" pairs") + "s" if growth.endswith(" pairs") else growth


def _power(growth: Growth) -> int:
    return 2 if growth.endswith("pairs") else 1
