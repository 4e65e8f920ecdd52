"""Summaries are said to be needed together where much is lost without all of them, not where only a test says so."""

from types import SimpleNamespace

import pytest

from xvcore.visual_summaries.pages.class_data import LEAST_LOSS, ClassData


@pytest.mark.parametrize(
    ("prob_drop", "above_random", "alone_as_random", "are_needed"),
    [
        (0.93, True, True, True),
        (0.02 + LEAST_LOSS, True, True, True),
        (0.02 + 0.9 * LEAST_LOSS, True, True, False),  # sure, and next to nothing
        (0.93, False, True, False),
        (0.93, True, False, False),
    ],
)
def test_the_loss_itself_counts(prob_drop, above_random, alone_as_random, are_needed):
    joint = {"above_random": above_random, "prob_drop": prob_drop, "random_drop": 0.02}
    summaries = [SimpleNamespace(is_as_random=False), SimpleNamespace(is_as_random=alone_as_random)]
    data = SimpleNamespace(joint=joint, summaries=summaries)
    assert ClassData.are_needed_together.fget(data) is are_needed


def test_without_the_measure_nothing_is_said():
    assert ClassData.are_needed_together.fget(SimpleNamespace(joint=None, summaries=())) is False
