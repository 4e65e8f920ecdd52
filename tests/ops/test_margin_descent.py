"""Linearising the margins alone finds the minimum in few passes, and treats every element as if it were alone."""

from dataclasses import dataclass, replace

import pytest
import torch
from marked import Marked
from torch import Tensor

from xvcore.ops.margin_descent import MarginDescent
from xvcore.ops.mask_penalty import MaskPenalty

SOLVING = MarginDescent(2.0, 0.02, 0.5, 0.05, gradient_decay=0.0)
FOLLOWING = MarginDescent(0.1, 0.05, 0.5, 0.5, gradient_decay=0.0, inner_steps=20)


@dataclass
class Views:
    """The mean of ``σ(offset + weights · values + curvature · (weights · values)²)`` over views, plus a price of area."""

    offsets: Tensor
    weights: Tensor
    work: list[int]
    curvature: float = 0.0
    penalty: MaskPenalty = MaskPenalty(0.5, 0.0)

    @property
    def n_views(self):
        return self.weights.shape[1]

    def margins(self, values, step):
        self.work.append(len(values))
        weights = self.weights[:, [step % self.n_views]]
        product = (weights * values).sum((1, 2, 3))
        margins = self.offsets + product + self.curvature * product**2
        return margins, (1 + 2 * self.curvature * product).view(-1, 1, 1, 1) * weights

    def penalty_at(self, step):
        return self.penalty

    def of_images(self, chosen):
        return replace(self, offsets=self.offsets[chosen], weights=self.weights[chosen])

    def losses(self, values):
        product = (self.weights * values).sum((2, 3))
        margins = self.offsets[:, None] + product + self.curvature * product**2
        return margins.sigmoid().mean(1) + self.penalty(values)


def problem(n_views=1, curvature=0.0):
    """Return five problems of 6 × 6 elements whose evidence is spread unevenly, and the start that removes all."""
    generator = torch.Generator().manual_seed(5)
    weights = torch.rand((5, n_views, 6, 6), generator=generator, dtype=torch.float64) ** 4
    weights *= 14 / weights.sum((2, 3), keepdim=True)
    offsets = torch.linspace(-8, -3, 5, dtype=torch.float64)
    return Views(offsets, weights, [], curvature), torch.zeros(5, 1, 6, 6, dtype=torch.float64)


def minimum(problem, start, n_steps=70, length=4.0):
    """Return the least losses that plain projected gradient steps of one length reach from several starts."""
    best = torch.full((len(start),), torch.inf, dtype=start.dtype)
    for first in (0.0, 1.0):
        values = torch.full_like(start, first).requires_grad_()
        for _ in range(n_steps):
            (slope,) = torch.autograd.grad(problem.losses(values).sum(), values)
            values.data.sub_(length * slope).clamp_(0, 1)
        best = torch.minimum(best, problem.losses(values).detach())
    return best


@pytest.mark.parametrize("descent", [SOLVING, FOLLOWING])
@pytest.mark.parametrize(("n_views", "curvature"), [(1, 0.0), (1, 0.02), (3, 0.0)])
def test_few_passes_reach_the_minimum_that_many_plain_steps_reach(descent, n_views, curvature):
    views, start = problem(n_views, curvature)
    reached, iterations = descent(views, start, 15)
    assert (views.losses(reached) <= minimum(views, start) + 5e-3).all()
    assert reached.min() >= 0
    assert reached.max() <= 1
    assert iterations.tolist() == [15] * 5
    assert sum(views.work) == 5 * 15
    assert not start.any()


def test_no_element_moves_further_than_the_radius():
    views, start = problem()
    reached, _ = MarginDescent(100.0, 100.0, 0.125, 0.125)(views, start, 1)
    assert reached.max() == 0.125
    reached, _ = MarginDescent(0.05, 0.05, 0.125, 0.125, inner_steps=200)(views, start, 2)
    assert 0.125 < reached.max() <= 0.25


@pytest.mark.parametrize("descent", [SOLVING, FOLLOWING])
def test_elements_that_settle_leave_and_the_rest_goes_on_as_before(descent):
    views, start = problem()
    views.offsets[1] = 3.0  # nothing takes the decision away for less than it costs
    descent = replace(descent, radius=0.1, last_radius=0.1)
    reached, iterations = descent(views, start, 30, stop_window=3, stop_tolerance=0.02)
    assert len(set(iterations.tolist())) > 1
    assert sum(views.work) == sum(iterations.tolist()) + (iterations < 30).sum()  # that pass showed that it had settled
    whole, _ = descent(views, start, 30)
    assert (views.losses(reached) <= views.losses(whole) + 0.02).all()
    order = torch.tensor([3, 0, 4, 2, 1])
    shuffled, again = descent(views.of_images(order), start[order], 30, stop_window=3, stop_tolerance=0.02)
    torch.testing.assert_close(shuffled, reached[order], rtol=0, atol=1e-12)
    assert torch.equal(again, iterations[order])


@pytest.mark.parametrize("descent", [SOLVING, replace(FOLLOWING, gradient_decay=0.8)])
def test_an_element_is_moved_as_if_it_were_alone(descent):
    views, start = problem(n_views=2, curvature=0.02)
    together, _ = descent(views, start, 12)
    for index in range(len(start)):
        alone, _ = descent(views.of_images([index]), start[[index]], 12)
        torch.testing.assert_close(alone, together[[index]], rtol=0, atol=1e-12)


def test_no_steps_leave_the_start():
    views, start = problem()
    reached, iterations = SOLVING(views, start + 0.3, 0)
    assert torch.equal(reached, start + 0.3)
    assert iterations.tolist() == [0] * 5


@pytest.mark.parametrize(
    ("n_views", "window"), [(1, 0), (2, 3), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((1, 3), (2, 0)))]
)
def test_a_descent_that_was_stopped_anywhere_reaches_the_same_values_with_the_passes_that_were_left(n_views, window):
    views, start = problem(n_views)
    descent = MarginDescent(2.0, 0.02, 0.1, 0.1)
    stopping = {"stop_window": window, "stop_tolerance": 0.02}
    whole = Marked()
    reached, iterations = descent(views, start, 30, whole, **stopping)
    n_passes = len(views.work)
    assert torch.equal(reached, descent(views, start, 30, **stopping)[0])
    for state in whole.states:
        left, _ = problem(n_views)
        again, taken = descent(left, start, 30, Marked(state), **stopping)
        assert torch.equal(again, reached)
        assert torch.equal(taken, iterations)
        assert len(left.work) == n_passes - int(state["step"])
    (end,) = whole.ends
    left, _ = problem(n_views)
    assert torch.equal(descent(left, start, 30, Marked(end), **stopping)[0], reached)
    assert not left.work
