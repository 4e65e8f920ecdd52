"""Laws of scores against pictures without parts: a true explanation passes, a wrong one fails."""

import numpy as np
import pytest
import torch

from xvcore.data import open_dataset
from xvcore.data.dataset import Redrawn
from xvcore.errors import DataError
from xvcore.prototypes.method.head import Decision
from xvcore.prototypes.method.part_scores import (
    Scene,
    Seen,
    completeness,
    contrastivity,
    correctness,
    part_importance,
)

PARTS = frozenset(range(4))
WORTH = np.array([5.0, 2.0, 1.0, 0.0])


def scene(known=lambda _removed: True) -> Scene:
    """A network whose logit is the worth of the parts that are there, and whose answer is 1 while they are worth 4."""

    def without(removed):
        if not known(removed):
            return None
        logit = float(sum(WORTH[part] for part in PARTS - removed))
        return Seen(int(logit >= 4), logit)

    return Scene(without(frozenset()), PARTS, without)


def test_correctness_is_the_order_of_the_falls() -> None:
    assert correctness(WORTH * 3, scene()) == 1
    assert correctness(-WORTH, scene()) == 0
    assert np.isnan(correctness(np.ones(4), scene()))
    assert np.isnan(correctness(WORTH, scene(lambda removed: len(removed) != 1)))


def test_completeness_asks_for_what_is_needed_and_for_nothing_else() -> None:
    scenes = [scene(), scene()]
    assert completeness([WORTH, WORTH], scenes) == 1
    assert completeness([WORTH[::-1], WORTH[::-1]], scenes) < 0.5
    everything = completeness([np.ones(4)] * 2, scenes)
    assert everything == pytest.approx(2 / 3)  # the part that is not needed is among the important ones


def test_pictures_that_are_not_there_are_not_asked_for() -> None:
    found = completeness([WORTH], [scene(lambda removed: len(removed) <= 1)])
    assert found == 1
    nothing = Scene(Seen(1, 8.0), frozenset(), lambda _removed: None)
    assert np.isnan(completeness([WORTH], [nothing]))


def test_contrastivity_is_that_of_the_part_that_speaks_most_against_the_other_class() -> None:
    other = np.array([5.0, 0.0, 1.0, 0.0])
    assert contrastivity(WORTH, other, PARTS, frozenset([1])) == 1
    assert contrastivity(WORTH, np.zeros(4), PARTS, frozenset([1])) == 0
    assert np.isnan(contrastivity(WORTH, other, PARTS, frozenset()))
    assert np.isnan(contrastivity(WORTH, other, PARTS, PARTS))


def test_parts_of_all_positions_take_the_whole_logit(make_head) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 9, 12, generator=generator, dtype=torch.float64)
    for kind in ("infodisent", "preserving"):
        decision: Decision = make_head(kind=kind).decision(maps)
        targets = torch.tensor([0, 3, 1])
        above, below = decision.at_peaks(targets)
        torch.testing.assert_close(above + below, decision.contributions(targets))
        where = torch.zeros(3, 2, 9, dtype=torch.bool)
        where[:, 0], where[:, 1, :4] = True, True
        found = part_importance(above, below, decision.peaks, where)
        torch.testing.assert_close(found[:, 0], decision.contributions(targets).sum(dim=1))
        literal = sum(
            float(added[0, channel].detach())
            for added, place in ((above, decision.peaks.where_positive), (below, decision.peaks.where_negative))
            for channel in range(12)
            if place[0, channel] < 4
        )
        assert float(found[0, 1].detach()) == pytest.approx(literal)


def test_a_bird_without_a_part_differs_there_alone() -> None:
    birds = open_dataset("partbirds?classes=2&images=3")
    assert isinstance(birds, Redrawn)
    record = birds.images(birds.classes[0].class_id)[1]
    for part, mask in birds.part_masks(record).items():
        seen = birds.without(record, [part])
        changed = (birds.picture(record) != birds.picture(seen)).any(axis=2)
        assert changed[mask].mean() > 0
        x, y, w, h = next(
            (each.x, each.y, each.w, each.h)
            for each in birds.parts(record.class_id)
            if (each.image_id, each.part) == (record.image_id, part)
        )
        rows, columns = changed.nonzero()
        assert columns.min() >= x - 1
        assert columns.max() <= x + w + 1
        assert rows.min() >= y - 1
        assert rows.max() <= y + h + 1
    both = birds.without(birds.without(record, ["wing"]), ["crest", "wing"])
    assert both.image_id == f"{record.image_id}~crest~wing"
    assert birds.bird(both).wears("wing") == birds.bird(birds.without(record, ["wing"])).wears("wing")
    with pytest.raises(DataError, match="nose"):
        birds.without(record, ["nose"])
