"""Proposal flow on real images, and its speed."""

import numpy as np
import pytest
from pf_willow import table
from proposal_flow_speed import batched_seconds, difference, images, literal_seconds


@pytest.mark.slow
def test_nam_is_worse_than_phm_than_lom_on_pf_willow(test_data):
    found = table(test_data / "pf-willow")
    nam, phm, lom, sequential = (np.mean([each[1] for each in by_class.values()]) for by_class in found.values())
    assert nam < phm < lom
    assert lom >= 0.46
    assert sequential >= 0.46


@pytest.mark.slow
def test_pairs_in_batches_are_five_times_faster_than_a_literal_version():
    regions = images(12)
    assert difference(regions[0], regions[1]) < 0.05
    batched_seconds(regions[:2])
    assert literal_seconds(regions[:3]) >= 5 * batched_seconds(regions)
