"""Gradient descent on a batch of independent problems, from which each may leave when it stops improving."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar, runtime_checkable

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
        way = Way.begun(start, n_steps, bookmark, partial(self.adam.start, start), self._left)
        if len(way.running) < len(start):
            problem = problem.of_images(way.running)
        for step in way.steps(n_steps, bookmark):
            if self.stop_window and step % self.stop_window == 0:
                problem = way.leave(problem, problem.losses(way.values, step), self.stop_tolerance)
                if not len(way.running):
                    break
            way.memory.step_(way.values, problem.gradient(way.values, step))
            way.values.clamp_(0, 1)
        return way.ended(bookmark)

    def _left(self, found: State, step: int) -> AdamState:
        return AdamState(self.adam, found.pop("mean"), found.pop("square"), step)


MemoryT = TypeVar("MemoryT", bound="Memory")
PartT = TypeVar("PartT", bound="Part")


@runtime_checkable
class Memory(Protocol):
    """What a descent remembers of the elements that are running, from step to step."""

    def tensors(self) -> State:
        """Return it in tensors."""

    def of_images(self: MemoryT, chosen: Tensor) -> MemoryT:
        """Return that of some elements."""


@runtime_checkable
class Part(Protocol):
    """A problem of which some elements can be left out."""

    def of_images(self: PartT, chosen: Shaped[Tensor, " batch"]) -> PartT:
        """Return the problem of some elements only."""


@dataclass(slots=True)
class Way(Generic[MemoryT]):
    """A descent before a step, whatever the step does.

    Parameters
    ----------
    step : its number
    reached, iterations : values of the elements that have left, and the steps they took
    running : places of the others in the batch
    values, losses, memory : of those that are running; losses are of the last comparison
    """

    step: int
    reached: Tensor
    iterations: Tensor
    running: Tensor
    values: Tensor
    losses: Tensor
    memory: MemoryT

    @classmethod
    def begun(
        cls,
        start: Tensor,
        n_steps: int,
        bookmark: Bookmark | None,
        fresh: Callable[[], MemoryT],
        left: Callable[[State, int], MemoryT],
    ) -> "Way[MemoryT]":
        """Return the descent before its first step, or where the bookmark says that it came to.

        Parameters
        ----------
        start, n_steps, bookmark : of the descent
        fresh : gives the memory of no step
        left : takes the memory out of what was kept, given the number of steps
        """
        size, device = len(start), start.device
        state = bookmark.left_at() if bookmark else None
        if state is None:
            iterations = torch.full((size,), n_steps, device=device)
            losses = torch.full((size,), torch.inf, dtype=start.dtype, device=device)
            running = torch.arange(size, device=device)
            return cls(0, start.clone(), iterations, running, start.clone(), losses, fresh())
        found = {name: tensor.to(device, copy=True) for name, tensor in state.items()}
        step = int(found.pop("step"))
        return cls(step, memory=left(found, step), **found)

    def steps(self, n_steps: int, bookmark: Bookmark | None) -> Iterator[int]:
        """Yield the number of each step that is left, as long as elements are running."""
        while self.step < n_steps and len(self.running):
            if bookmark:
                bookmark.pass_by(self.state, is_end=False)
            yield self.step
            self.step += 1

    def leave(self, problem: PartT, losses: Tensor, tolerance: float) -> PartT:
        """Let the elements leave whose losses fell by less than that, and return the problem of the others."""
        improves = self.losses - losses >= tolerance
        self.losses = losses
        if improves.all():
            return problem
        leaving = self.running[~improves]
        self.reached[leaving], self.iterations[leaving] = self.values[~improves], self.step
        self.running, self.values, self.losses = self.running[improves], self.values[improves], losses[improves]
        self.memory = self.memory.of_images(improves)
        return problem.of_images(improves)

    def ended(self, bookmark: Bookmark | None) -> tuple[Tensor, Tensor]:
        """Return the values reached and the steps taken."""
        self.reached[self.running] = self.values
        if bookmark:
            bookmark.pass_by(self.state, is_end=True)
        return self.reached, self.iterations

    def state(self) -> State:
        """Return it in tensors, which the next step may overwrite."""
        names = ("reached", "iterations", "running", "values", "losses")
        own = {name: getattr(self, name) for name in names}
        return {"step": torch.tensor(self.step), **self.memory.tensors(), **own}
