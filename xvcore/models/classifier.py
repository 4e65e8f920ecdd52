"""A frozen classifier: network, preprocessing and what each output stands for."""

import copy
import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xvcore.errors import ParameterError, unknown_name
from xvcore.models.architecture import Architecture, Output
from xvcore.models.preprocessing import Preprocessing
from xvcore.types import Images, Scores


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network in eval mode whose parameters take no gradient; it normalises its input by itself.

    Takes the network over: sets eval mode and switches off the gradients of its parameters.

    Parameters
    ----------
    name : key column ``model`` of the tables
    architecture : what it was built from
    preprocessing : of these weights (overrides applied)
    network : normalised images to logits
    weights : name, file or URL of the weights
    weights_sha256 : hexadecimal SHA-256 of the weights file (of the tensors where there is no file)
    n_classes : number of outputs
    outputs : what each output stands for, or None where it is not known
    state : which of several state dicts in the weights file (:class:`xvcore.models.weights.Checkpoint`)
    """

    name: str
    architecture: Architecture
    preprocessing: Preprocessing
    network: nn.Module = dataclasses.field(repr=False)
    weights: str
    weights_sha256: str
    n_classes: int
    outputs: tuple[Output, ...] | None = dataclasses.field(default=None, repr=False)
    state: str = ""
    _mean: Tensor = dataclasses.field(init=False, repr=False)
    _std: Tensor = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(requires_grad=False)
        device = next((tensor.device for tensor in self.network.state_dict().values()), torch.device("cpu"))
        for name, values in (("_mean", self.preprocessing.mean), ("_std", self.preprocessing.std)):
            object.__setattr__(self, name, torch.tensor(values, device=device).view(3, 1, 1))

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return self._mean.device

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the modules that can be tapped, from input to output."""
        if self.architecture.layers:
            return self.architecture.layers
        containers = (nn.ModuleList, nn.ModuleDict, nn.ParameterList)
        modules = self.network.named_modules()
        return tuple(name for name, module in modules if name and not isinstance(module, containers))

    def layer(self, name: str) -> nn.Module:
        """Return the module of a layer.

        Raises
        ------
        UnknownNameError
            The network has no layer of this name.
        """
        modules: dict[str, nn.Module] = dict(self.network.named_modules())
        if name not in modules:
            raise unknown_name(f"layer of {self.name}", name, self.layers)
        return modules[name]

    def logits(self, images: Images) -> Scores:
        """Return the scores before the softmax; differentiable with respect to the images.

        Raises
        ------
        ParameterError
            Images of a size the network cannot take.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ParameterError(f"images of shape {tuple(images.shape)}: expected batch × 3 × height × width")
        normalised = self.preprocessing.in_order((images - self._mean) / self._std)
        if images.shape[2:] == self.preprocessing.input_px:
            scores: Tensor = self.network(normalised)
            return scores
        try:
            scores = self.network(normalised)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, AssertionError) as error:
            seen, expected = (" × ".join(map(str, size)) for size in (images.shape[2:], self.preprocessing.input_px))
            raise ParameterError(f"{self.name} cannot take images of {seen} px: expected {expected}") from error
        return scores

    def probabilities(self, images: Images) -> Scores:
        """Return the softmax of the logits."""
        return self.logits(images).softmax(dim=1)

    def to(self, device: torch.device | str) -> "Classifier":
        """Return this classifier on another device; this one stays where it is."""
        same = (str(self.device), self.device.type)  # "cuda" is whatever GPU it is on
        if str(device) in same:
            return self
        return dataclasses.replace(self, network=copy.deepcopy(self.network).to(device))
