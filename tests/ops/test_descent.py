"""Descent treats every element of a batch as if it were alone, also when others leave."""

from dataclasses import dataclass

import pytest
import torch
from marked import Marked
from torch import Tensor

from xvcore.ops.adam import Adam
from xvcore.ops.descent import Descent


@dataclass
class Bowls:
    """Σ (value − goal)² of each element of the batch; counts how many elements were ever evaluated."""

    goals: Tensor
    work: list[int]

    def losses(self, values, step):
        return (values - self.goals).square().flatten(1).sum(1)

    def gradient(self, values, step):
        self.work.append(len(values))
        return 2 * (values - self.goals)

    def of_images(self, chosen):
        return Bowls(self.goals[chosen], self.work)


def bowls():
    goals = torch.tensor([0.01, 0.6, 0.9, 2.0, 0.0], dtype=torch.float64).view(5, 1, 1, 1).expand(5, 1, 2, 2)
    return Bowls(goals, []), torch.zeros(5, 1, 2, 2, dtype=torch.float64)


def test_values_reach_the_minimum_within_zero_and_one():
    problem, start = bowls()
    reached, iterations = Descent(Adam(0.05))(problem, start, 400)
    torch.testing.assert_close(reached, problem.goals.clamp(0, 1), rtol=0, atol=1e-3)
    assert iterations.tolist() == [400] * 5
    assert not start.any()


def test_finished_elements_leave_and_the_rest_goes_on_as_before():
    problem, start = bowls()
    descent = Descent(Adam(0.02), stop_window=10, stop_tolerance=1e-4)
    reached, iterations = descent(problem, start, 300)
    assert len(set(iterations.tolist())) > 1
    assert sum(problem.work) == sum(iterations.tolist())
    for index, steps in enumerate(iterations.tolist()):
        alone, _ = Descent(Adam(0.02))(problem.of_images([index]), start[[index]], steps)
        assert torch.equal(reached[[index]], alone)


def test_order_does_not_matter_when_elements_leave():
    problem, start = bowls()
    order = torch.tensor([3, 0, 4, 2, 1])
    descent = Descent(Adam(0.02), stop_window=10, stop_tolerance=1e-4)
    reached, iterations = descent(problem, start, 300)
    shuffled, shuffled_iterations = descent(problem.of_images(order), start[order], 300)
    assert torch.equal(shuffled, reached[order])
    assert torch.equal(shuffled_iterations, iterations[order])


def test_no_steps_leave_the_start():
    problem, start = bowls()
    reached, iterations = Descent(Adam(), stop_window=5)(problem, start + 0.3, 0)
    assert torch.equal(reached, start + 0.3)
    assert iterations.tolist() == [0] * 5


@pytest.mark.parametrize("window", [0, 10])
def test_a_descent_that_was_stopped_anywhere_reaches_the_same_values_with_the_steps_that_were_left(window):
    problem, start = bowls()
    descent = Descent(Adam(0.02), stop_window=window, stop_tolerance=1e-4)
    whole = Marked()
    reached, iterations = descent(problem, start, 120, whole)
    assert torch.equal(reached, descent(problem, start, 120)[0])
    n_steps = len(problem.work) // 2
    assert len(whole.states) >= n_steps
    for at in (0, 1, 10, 11, 20, len(whole.states) - 1):
        state = whole.states[at]
        left, _ = bowls()
        again, taken = descent(left, start, 120, Marked(state))
        assert torch.equal(again, reached)
        assert torch.equal(taken, iterations)
        assert len(left.work) == n_steps - int(state["step"])
    (end,) = whole.ends
    left, _ = bowls()
    assert torch.equal(descent(left, start, 120, Marked(end))[0], reached)
    assert not left.work
