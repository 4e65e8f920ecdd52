"""The verdict on a part of network A: whether B shares it, does not use it, could or cannot, or it is not decided."""

from dataclasses import dataclass
from typing import Final

from xvcore.comparison.method.probe import Told
from xvcore.comparison.method.resampling import Mean
from xvcore.parameters import check, parameter

SHARED: Final = "shared"
COULD: Final = "could but does not use"
CANNOT: Final = "cannot"
UNUSED: Final = "does not use"
UNDECIDED: Final = "undecided"
VERDICTS: Final = (SHARED, COULD, CANNOT, UNUSED, UNDECIDED)
MISSED: Final = (COULD, CANNOT, UNUSED)
"""A uses the part and B does not."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a part of network A with regard to network B.

    Parameters
    ----------
    is_matched : whether a part of B's is the same
    own : what A itself loses by the part beyond random regions, paired by image; None where it was not deleted
    other : the same for B
    told : whether B's features tell the part; None where it was not asked
    """

    is_matched: bool
    own: Mean | None = None
    other: Mean | None = None
    told: Told | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """Decides from tests, and says for which reason; what the tests have no power for is undecided.

    In this order: a part of B's is the same, or B loses by the part's deletion more than by that of random regions, by
    at least ``least_loss``: *shared*. A itself does not: *undecided*, it is not known that A uses it. B's loss is
    below ``least_loss`` with confidence, and a probe tells the part above its own baseline: *could but does not use*;
    a probe that had images enough and whose interval stays below ``least_told`` does not: *cannot*; a probe that says
    neither, or none: *does not use*, and whether it could is not known. Else *undecided*.
    """

    alpha: float = parameter(0.05, "Most often that chance may give as much", ge=1e-4, le=0.5)
    least_loss: float = parameter(
        0.05, "Probability lost beyond what random regions take that counts as using a part", ge=0, le=1
    )
    least_told: float = parameter(0.65, "Accuracy from which features tell a part; chance is 0.5", ge=0.5, le=1)
    least_images: int = parameter(8, "Images with the part for a test to count", ge=2)

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, evidence: Evidence) -> tuple[str, str]:
        """Return the verdict and its reason in words."""
        if evidence.is_matched:
            return SHARED, "a part of the other network is the same"
        own, other = evidence.own, evidence.other
        if own is None or other is None:
            return UNDECIDED, "its regions were not deleted"
        if other.n < self.least_images:
            return UNDECIDED, f"{other.n} images with the part: {self.least_images} are needed"
        return self._of_losses(own, other, evidence.told)

    def _of_losses(self, own: Mean, other: Mean, told: Told | None) -> tuple[str, str]:
        if self._loses(other):
            return SHARED, "the other network loses by its deletion, though none of its parts is the same"
        if not self._loses(own):
            return UNDECIDED, "the network itself loses no more by its deletion than by that of random regions"
        if not other.high < self.least_loss:
            return UNDECIDED, "too few images to tell whether the other network loses by its deletion"
        return self._of_probe(told)

    def _of_probe(self, told: Told | None) -> tuple[str, str]:
        if told is None or told.n < self.least_images:
            return UNUSED, "the other network does not lose by its deletion; no probe was trained"
        if told.p_value <= self.alpha and told.accuracy >= self.least_told:
            return COULD, "a probe on the other network's features tells it, and its deletion leaves the network"
        if told.high < self.least_told:
            return CANNOT, "no probe on the other network's features tells it, and its deletion leaves the network"
        return (
            UNUSED,
            "the other network does not lose by its deletion; whether its features tell it, the probe leaves open",
        )

    def _loses(self, loss: Mean) -> bool:
        return loss.value >= self.least_loss and loss.low > 0 and loss.p_value <= self.alpha
