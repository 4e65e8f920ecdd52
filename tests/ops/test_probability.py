"""Laws of the place of a target among the outputs."""

import torch

from xvcore.ops.probability import n_not_finite, ranks


def test_the_place_is_that_in_the_sorted_scores_and_ties_count_against_the_target() -> None:
    scores = torch.randint(0, 6, (200, 9), generator=torch.Generator().manual_seed(0)).float()
    targets = torch.arange(200) % 9
    expected = [
        len(row) - sorted(row).index(row[target])  # behind all that are equal
        for row, target in zip(scores.tolist(), targets.tolist(), strict=True)
    ]
    assert ranks(scores, targets).tolist() == expected


def test_of_distinct_scores_each_place_is_taken_once_whatever_their_size() -> None:
    scores = torch.randn(1, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    every = torch.arange(50)
    for factor in (1e-12, 1.0, 1e4):  # at the largest, most probabilities underflow
        found = ranks((factor * scores).expand(50, -1), every)
        assert found[scores[0].argsort(descending=True)].tolist() == list(range(1, 51))


def test_what_is_not_finite_is_counted_by_image() -> None:
    scores = torch.tensor([[0.0, 1.0], [torch.nan, 1.0], [torch.inf, -torch.inf]])
    assert n_not_finite(scores).tolist() == [0, 1, 2]
