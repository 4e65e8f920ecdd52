"""Laws of what networks say of pictures: ranks of scores, and nothing of scores that are no numbers."""

import pytest
import torch
from torch import Tensor, nn

from xvcore.analyses.questions.accuracy import TopAccuracy
from xvcore.analyses.questions.scores import Sample, leading_classes, predictions, target_scores
from xvcore.errors import XvError


class Given(nn.Module):
    """Returns scores that the images hold in their first row of pixels."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, :4]


def sample_of(scores: Tensor, target: int = 1) -> Sample:
    images = torch.zeros(len(scores), 3, 32, 32)
    images[:, 0, 0, :4] = scores
    return Sample(images, torch.full((len(scores),), target))


def test_a_network_whose_outputs_are_equal_is_never_right(make_classifier) -> None:
    for target in range(4):
        found = predictions(make_classifier(Given()), sample_of(torch.zeros(3, 4), target))
        assert found["rank_target"].tolist() == [4, 4, 4]
        assert not found["correct"].any()
        assert TopAccuracy((1,))(found)["top1"].tolist() == [0.0]


def test_ranks_are_those_of_the_scores_where_probabilities_underflow(make_classifier) -> None:
    scores = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    small, large = (predictions(make_classifier(Given()), sample_of(factor * scores)) for factor in (1, 1e5))
    assert small["rank_target"].tolist() == large["rank_target"].tolist()
    assert set(small["rank_target"]) == {1, 2, 3, 4}
    assert small["correct"].tolist() == (small["pred_idx"] == 1).tolist()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_scores_that_are_not_finite_are_refused(make_classifier, value: float) -> None:
    scores = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    scores[2, 3] = value
    classifier, sample = make_classifier(Given()), sample_of(scores)
    asked = (
        lambda: predictions(classifier, sample),
        lambda: leading_classes(classifier, sample.images, batch_size=5),
        lambda: target_scores(classifier, lambda rows: sample.images[rows], sample.targets, batch_size=5),
    )
    for each in asked:
        with pytest.raises(XvError, match="small: output not finite for 1 of 5 pictures"):
            each()
