"""Gradient steps with momentum on one tensor whose first axis is a batch of independent problems."""

from dataclasses import dataclass

from torch import Tensor

from xvcore.parameters import check, parameter


@dataclass(frozen=True, slots=True)
class Momentum:
    """Steps along a running mean of the gradients, the first along the gradient itself.

    ::

    v ← decay v + (1 − decay) g,    x ← x − learning_rate v
    """

    learning_rate: float = parameter(0.01, "Step length: the move of an element by its mean derivative", ge=0)
    gradient_decay: float = parameter(0.9, "Share of the mean gradient that each step keeps", ge=0, le=0.999999)

    def __post_init__(self) -> None:
        check(self)

    def start(self) -> "MomentumState":
        """Return the state before the first step."""
        return MomentumState(self)


@dataclass(slots=True)
class MomentumState:
    """The running mean of the gradients."""

    momentum: Momentum
    mean: Tensor | None = None

    def step_(self, values: Tensor, gradient: Tensor) -> None:
        """Move ``values`` in place by one step down the gradient."""
        if self.mean is None:
            self.mean = gradient.clone()
        else:
            self.mean.lerp_(gradient, 1 - self.momentum.gradient_decay)
        values.add_(self.mean, alpha=-self.momentum.learning_rate)
