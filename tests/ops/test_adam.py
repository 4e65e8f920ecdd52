"""Adam's step is the paper's, and torch's."""

import math

import torch

from xvcore.ops.adam import Adam


def gradients(n_steps, size=6):
    return torch.randn((n_steps, size), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def literal_adam(start, slopes, lr=0.1, b1=0.9, b2=0.999, eps=1e-8):
    """Return the values after Algorithm 1 of Kingma and Ba, element by element."""
    values = start.tolist()
    for index in range(len(values)):
        m = v = 0.0
        for t, g in enumerate(slopes[:, index].tolist(), start=1):
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * g * g
            values[index] -= lr * (m / (1 - b1**t)) / (math.sqrt(v / (1 - b2**t)) + eps)
    return torch.tensor(values, dtype=torch.float64)


def run(adam, start, slopes):
    values, state = start.clone(), adam.start(start)
    for slope in slopes:
        state.step_(values, slope)
    return values


def test_steps_are_those_of_the_paper():
    start = torch.linspace(0, 1, 6, dtype=torch.float64)
    for scale in (1.0, 1e-8):
        slopes = gradients(7) * scale
        torch.testing.assert_close(run(Adam(), start, slopes), literal_adam(start, slopes), rtol=0, atol=1e-12)


def test_steps_are_those_of_torch():
    start = torch.linspace(0, 1, 6, dtype=torch.float64)
    theirs = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([theirs], lr=0.03, betas=(0.8, 0.95), eps=1e-6)
    for slope in gradients(9):
        theirs.grad = slope.clone()
        optimiser.step()
    ours = run(Adam(learning_rate=0.03, gradient_decay=0.8, square_decay=0.95, epsilon=1e-6), start, gradients(9))
    torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=1e-12)


def test_problems_that_leave_do_not_change_the_steps_of_the_others():
    start, slopes, stay = torch.zeros(6, dtype=torch.float64), gradients(8), torch.tensor([0, 3, 5])
    expected = run(Adam(), start, slopes)[stay]
    values, state = start.clone(), Adam().start(start)
    for slope in slopes[:4]:
        state.step_(values, slope)
    values, state = values[stay], state.of_images(stay)
    for slope in slopes[4:]:
        state.step_(values, slope[stay])
    assert torch.equal(values, expected)
