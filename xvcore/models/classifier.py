"""A frozen classifier: network, preprocessing and what each output stands for."""

import copy
import dataclasses
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xvcore.errors import ParameterError, unknown_name
from xvcore.models.architecture import Architecture, Output
from xvcore.models.differentiable import differentiated
from xvcore.models.preprocessing import Preprocessing
from xvcore.models.scores import ONE_SCORE, TYPES, Looks, scores_of
from xvcore.ops.derivative import Derivative, derivative
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
    also_fits : networks that the weights file fits too, and that compute otherwise, where nothing tells which is meant

    Raises
    ------
    ParameterError
        A network of one output, whose softmax is 1 for every image (:class:`xvcore.models.TwoClasses` makes two of
        it).

    Examples
    --------
    >>> import torch
    >>> from xvcore.models import load
    >>> load("squeezenet1_1@random?classes=2").logits(torch.rand(1, 3, 224, 224)).shape
    torch.Size([1, 2])
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
    also_fits: tuple[str, ...] = ()
    _looks: Looks = dataclasses.field(default_factory=Looks, repr=False)
    _mean: Tensor = dataclasses.field(init=False, repr=False)
    _std: Tensor = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.n_classes < 2:
            raise ParameterError(f"{self.name} has {self.n_classes} output: expected 2 or more. {ONE_SCORE}")
        self.network.eval().requires_grad_(requires_grad=False)
        device = device_of(self.network)
        for name, values in (("_mean", self.preprocessing.mean), ("_std", self.preprocessing.std)):
            object.__setattr__(self, name, torch.tensor(values, device=device).view(3, 1, 1))
        object.__setattr__(self, "_looks", self._looks.anew())

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

        Images of fewer bits than the network's are taken into its type, without loss. The first time that they are
        differentiated the network's gradient is tried (:mod:`xvcore.models.differentiable`).

        Raises
        ------
        XvError
            They are to be differentiated, and the gradient is not the derivative, or none reaches the images.
        ParameterError
            Images of a size or type the network cannot take, or it returns something else than scores, or
            probabilities (:mod:`xvcore.models.scores`).
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ParameterError(f"images of shape {tuple(images.shape)}: expected batch × 3 × height × width")
        with self._differentiated(images):
            scores = self._scores(images)
        self._looks.see(scores, self.name)
        return scores

    def check_derivative(self) -> None:
        """Refuse a network whose gradient is not the derivative of its scores.

        Raises
        ------
        XvError
            Says what is wrong.
        """
        differentiated(self.name, self.network, self._derivative)

    def _scores(self, images: Images) -> Scores:
        typed = self._typed(images)
        mean, std = (_as_wide(values, typed) for values in (self._mean, self._std))
        returned = self._returned(self.preprocessing.in_order((typed - mean) / std))
        return scores_of(self.name, returned, len(images))

    def _differentiated(self, images: Images) -> AbstractContextManager[Any]:
        if images.is_meta or not (images.requires_grad and torch.is_grad_enabled()):
            return nullcontext()
        return differentiated(self.name, self.network, self._derivative)

    def _derivative(self, network: nn.Module, dtype: torch.dtype) -> Derivative:
        """Return what is to be said of the gradient of a network like this one."""
        size = (2, 3, *self.preprocessing.input_px)
        noise = torch.rand(size, generator=torch.Generator().manual_seed(0)).to(self.device, dtype)
        return derivative(dataclasses.replace(self, network=network)._scores, noise)

    def _typed(self, images: Images) -> Images:
        """Return the images in the type of the network's weights, where these are of one type."""
        types = {weight.dtype for weight in self.network.parameters() if weight.is_floating_point()}
        if len(types) != 1:
            return images
        (wanted,) = types
        if wanted not in TYPES or torch.promote_types(images.dtype, wanted) != wanted:
            weights, seen = (str(dtype).removeprefix("torch.") for dtype in (wanted, images.dtype))
            raise ParameterError(
                f"{self.name} computes in {weights}, and the images are {seen}: expected a network of float32 or "
                "float64 (xvcore.models.wrap makes a copy in float32) and images of no more digits"
            )
        return images.to(wanted)

    def _returned(self, normalised: Images) -> Any:
        """Return what the network returns, whatever it is."""
        if normalised.shape[2:] == self.preprocessing.input_px:
            return self.network(normalised)
        try:
            return self.network(normalised)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, AssertionError) as error:
            sizes = (normalised.shape[2:], self.preprocessing.input_px)
            seen, expected = (" × ".join(map(str, size)) for size in sizes)
            raise ParameterError(f"{self.name} cannot take images of {seen} px: expected {expected}") from error

    def probabilities(self, images: Images) -> Scores:
        """Return the softmax of the logits."""
        return self.logits(images).softmax(dim=1)

    def to(self, device: torch.device | str) -> "Classifier":
        """Return this classifier on another device; this one stays where it is."""
        same = (str(self.device), self.device.type)  # "cuda" is whatever GPU it is on
        if str(device) in same:
            return self
        return dataclasses.replace(self, network=copy.deepcopy(self.network).to(device))


def _as_wide(values: Tensor, images: Images) -> Tensor:
    """Return a value of each colour for a row of pixels, if colours lie side by side: torch is slow over three.

    Where images are differentiated it stays as it is: what follows the gradient knows a division by colours.
    """
    are_side_by_side = images.device.type == "cpu" and images.is_contiguous(memory_format=torch.channels_last)
    if images.is_contiguous() or not are_side_by_side or images.requires_grad:
        return values
    return values.expand(1, 3, 1, images.shape[3]).contiguous(memory_format=torch.channels_last)


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network, the CPU for one without tensors."""
    tensors = (value for value in network.state_dict().values() if isinstance(value, Tensor))
    return next((tensor.device for tensor in tensors), torch.device("cpu"))
