"""Gradient descent on a batch of independent problems, from which each may leave when it stops improving."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from xvcore.ops.adam import Adam, AdamState

Values = Float[Tensor, "batch ..."]
State = dict[str, Tensor]
"""Where a descent is, in tensors that can be written and read."""


@runtime_checkable
class Problem(Protocol):
    """One loss per element of the batch, of values in [0, 1]; no element's loss depends on another's values."""

    def losses(self, values: Values, step: int) -> Float[Tensor, " batch"]:
        """Return the loss of each element."""

    def gradient(self, values: Values, step: int) -> Values:
        """Return the derivative of the sum of the losses; a new tensor, which the caller may overwrite."""

    def of_images(self, chosen: Shaped[Tensor, " batch"]) -> "Problem":
        """Return the problem of some elements only."""


@runtime_checkable
class Bookmark(Protocol):
    """Remembers where a descent is, so that one that was killed goes on from there."""

    def left_at(self) -> State | None:
        """Return where an earlier attempt came to; None where there was none."""

    def pass_by(self, state: Callable[[], State], *, is_end: bool) -> None:
        """Hear that the descent is before a step, or at its end; ``state`` is only valid until this returns."""


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

    def __call__(
        self, problem: Problem, start: Values, n_steps: int, bookmark: Bookmark | None = None
    ) -> tuple[Values, Int[Tensor, " batch"]]:
        """Return the values reached and the number of steps each element took, at most ``n_steps``.

        With a bookmark the descent goes on from where an earlier attempt came to; the values are the same, bit by bit.
        """
        way = _Way.begun(self.adam, start, n_steps, bookmark.left_at() if bookmark else None)
        if len(way.running) < len(start):
            problem = problem.of_images(way.running)
        while way.step < n_steps and len(way.running):
            if bookmark:
                bookmark.pass_by(way.state, is_end=False)
            if self.stop_window and way.step % self.stop_window == 0:
                previous, way.losses = way.losses, problem.losses(way.values, way.step)
                improves = previous - way.losses >= self.stop_tolerance
                if not improves.all():
                    way.keep(improves)
                    problem = problem.of_images(improves)
                    if not len(way.running):
                        break
            way.adam.step_(way.values, problem.gradient(way.values, way.step))
            way.values.clamp_(0, 1)
            way.step += 1
        way.reached[way.running] = way.values
        if bookmark:
            bookmark.pass_by(way.state, is_end=True)
        return way.reached, way.iterations


@dataclass(slots=True)
class _Way:
    """A descent before a step.

    Parameters
    ----------
    step : its number
    reached, iterations : values of the elements that have left, and the steps they took
    running : places of the others in the batch
    values, losses, adam : of those that are running; losses are of the last comparison
    """

    step: int
    reached: Tensor
    iterations: Tensor
    running: Tensor
    values: Tensor
    losses: Tensor
    adam: AdamState

    @classmethod
    def begun(cls, adam: Adam, start: Tensor, n_steps: int, state: State | None) -> "_Way":
        """Return the descent before its first step, or where ``state`` says that it came to."""
        size, device = len(start), start.device
        if state is None:
            iterations = torch.full((size,), n_steps, device=device)
            losses = torch.full((size,), torch.inf, dtype=start.dtype, device=device)
            running = torch.arange(size, device=device)
            return cls(0, start.clone(), iterations, running, start.clone(), losses, adam.start(start))
        found = {name: tensor.to(device, copy=True) for name, tensor in state.items()}
        step = int(found.pop("step"))
        return cls(step, adam=AdamState(adam, found.pop("mean"), found.pop("square"), step), **found)

    def state(self) -> State:
        """Return it in tensors, which the next step overwrites."""
        names = ("reached", "iterations", "running", "values", "losses")
        own = {name: getattr(self, name) for name in names}
        return {"step": torch.tensor(self.step), "mean": self.adam.mean, "square": self.adam.square, **own}

    def keep(self, chosen: Tensor) -> None:
        """Let all but some of the running elements leave, with the values they have."""
        leaving = self.running[~chosen]
        self.reached[leaving], self.iterations[leaving] = self.values[~chosen], self.step
        self.running, self.values, self.losses = self.running[chosen], self.values[chosen], self.losses[chosen]
        self.adam = self.adam.of_images(chosen)
