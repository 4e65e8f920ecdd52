"""Gradient descent on a batch of independent problems, from which each may leave when it stops improving."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from xvcore.ops.adam import Adam

Values = Float[Tensor, "batch ..."]


@runtime_checkable
class Problem(Protocol):
    """One loss per element of the batch, of values in [0, 1]; no element's loss depends on another's values."""

    def losses(self, values: Values, step: int) -> Float[Tensor, " batch"]:
        """Return the loss of each element."""

    def gradient(self, values: Values, step: int) -> Values:
        """Return the derivative of the sum of the losses; a new tensor, which the caller may overwrite."""

    def of_images(self, chosen: Shaped[Tensor, " batch"]) -> "Problem":
        """Return the problem of some elements only."""


@dataclass(frozen=True, slots=True)
class Descent:
    """Adam steps, each followed by clipping to [0, 1].

    Parameters
    ----------
    adam : the optimiser
    stop_window : every so many steps each loss is compared with its value at the comparison before; 0 never stops early
    stop_tolerance : an element whose loss fell by less leaves the batch with the values it has
    """

    adam: Adam
    stop_window: int = 0
    stop_tolerance: float = 0.0

    def __call__(self, problem: Problem, start: Values, n_steps: int) -> tuple[Values, Int[Tensor, " batch"]]:
        """Return the values reached and the number of steps each element took, at most ``n_steps``."""
        reached, iterations = start.clone(), torch.full((len(start),), n_steps, device=start.device)
        running, values, state = torch.arange(len(start), device=start.device), start.clone(), self.adam.start(start)
        losses = torch.full((len(start),), torch.inf, dtype=start.dtype, device=start.device)
        for step in range(n_steps):
            if self.stop_window and step % self.stop_window == 0:
                previous, losses = losses, problem.losses(values, step)
                improves = previous - losses >= self.stop_tolerance
                if not improves.all():
                    leaving = running[~improves]
                    reached[leaving], iterations[leaving] = values[~improves], step
                    running, values, losses = running[improves], values[improves], losses[improves]
                    problem, state = problem.of_images(improves), state.of_images(improves)
                    if not len(running):
                        break
            state.step_(values, problem.gradient(values, step))
            values.clamp_(0, 1)
        reached[running] = values
        return reached, iterations
