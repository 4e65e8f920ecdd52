"""Adam on one tensor whose first axis is a batch of independent problems, some of which may leave early."""

from dataclasses import dataclass

import torch
from torch import Tensor

from xvcore.parameters import check, parameter


@dataclass(frozen=True, slots=True)
class Adam:
    """The optimiser of Kingma and Ba [1]_; every element has its own step, hence every image its own optimisation.

    References
    ----------
    .. [1] D. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """

    learning_rate: float = parameter(0.1, "Step length: the most that an element moves in its first step", ge=0)
    gradient_decay: float = parameter(0.9, "Share of the mean gradient that each step keeps", ge=0, le=0.999999)
    square_decay: float = parameter(0.999, "Share of the mean squared gradient that each step keeps", ge=0, le=0.999999)
    epsilon: float = parameter(1e-8, "Added to the root of the mean square; keeps vanishing gradients small", ge=0)

    def __post_init__(self) -> None:
        check(self)

    def start(self, values: Tensor) -> "AdamState":
        """Return the state before the first step."""
        return AdamState(self, torch.zeros_like(values), torch.zeros_like(values))


@dataclass(slots=True)
class AdamState:
    """Running means of the gradient and of its square, after ``n_steps`` steps."""

    adam: Adam
    mean: Tensor
    square: Tensor
    n_steps: int = 0

    def step_(self, values: Tensor, gradient: Tensor) -> None:
        """Move ``values`` in place by one step down the gradient."""
        adam = self.adam
        self.n_steps += 1
        self.mean.lerp_(gradient, 1 - adam.gradient_decay)
        self.square.mul_(adam.square_decay).addcmul_(gradient, gradient, value=1 - adam.square_decay)
        mean_bias = 1 - adam.gradient_decay**self.n_steps
        root_bias = (1 - adam.square_decay**self.n_steps) ** 0.5
        # lr · (mean / mean_bias) / (√square / root_bias + ε), with one pass over the tensor less
        roots = self.square.sqrt().add_(adam.epsilon * root_bias)
        values.addcdiv_(self.mean, roots, value=-adam.learning_rate * root_bias / mean_bias)

    def tensors(self) -> dict[str, Tensor]:
        """Return the means by name; the next step overwrites them."""
        return {"mean": self.mean, "square": self.square}

    def of_images(self, chosen: Tensor) -> "AdamState":
        """Return the state of some of the problems, chosen by index or by a boolean per problem."""
        return AdamState(self.adam, self.mean[chosen], self.square[chosen], self.n_steps)
