"""Steps with momentum against torch's."""

import torch

from xvcore.ops.momentum import Momentum


def test_steps_are_those_of_torchs_sgd_with_equal_dampening():
    generator = torch.Generator().manual_seed(8)
    start, gradients = torch.rand(3, 4, generator=generator), torch.randn(5, 3, 4, generator=generator)
    expected = start.clone().requires_grad_()
    optimiser = torch.optim.SGD([expected], lr=0.05, momentum=0.8, dampening=0.8)
    found, mover = start.clone(), Momentum(0.05, 0.8).start()
    for gradient in gradients:
        expected.grad = gradient.clone()
        optimiser.step()
        mover.step_(found, gradient)
        torch.testing.assert_close(found, expected.detach())
