"""How alike two pictures are, by the inner layers of a trained network: LPIPS, and the same without its heads."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from xvcore.errors import ParameterError, XvError
from xvcore.models import Classifier
from xvcore.ops.feature_layers import activations, feature_layers
from xvcore.types import Images

HEADS: Mapping[str, str] = {"squeezenet1_1": "squeeze", "alexnet": "alex", "vgg16": "vgg"}
"""Name of the heads that the package ``lpips`` has, by the architecture of the trunk that they were made for."""
EPS = 1e-10
"""Added to a length before something is divided by it, as the package does."""


@runtime_checkable
class Similarity(Protocol):
    """Says of pictures how alike they are; the higher, the more, and at most 0: equal ones have 0."""

    @property
    def name(self) -> str:
        """What is judged by, and which network."""
        ...

    @property
    def weights_sha256(self) -> str:
        """Digest of the network's weights: it is not asked about itself without a word."""
        ...

    def __call__(self, pictures: Images) -> Float[np.ndarray, "pictures pictures"]:
        """Return the similarity of each two pictures, in [0, 1] RGB."""
        ...


@dataclass(frozen=True)
class Lpips:
    """Minus the learned perceptual distance (Zhang, Isola, Efros, Shechtman, Wang, CVPR 2018), version 0.1.

    Heads come with the package ``lpips`` (extra ``study``), the trunk is a classifier's network, so that nothing is
    downloaded.

    Parameters
    ----------
    trunk : of an architecture that there are heads for

    Raises
    ------
    XvError
        The package is not installed, or there are no heads for the architecture.
    """

    trunk: Classifier
    _network: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        architecture = self.trunk.architecture.name
        if architecture not in HEADS:
            raise ParameterError(f"lpips has no heads for {architecture} (allowed: {', '.join(HEADS)})")
        try:
            import lpips
        except ImportError as error:
            raise XvError("similarity lpips needs the package lpips: pip install 'xv[study]'") from error
        with warnings.catch_warnings():  # of torchvision's old flag, which the package passes
            warnings.simplefilter("ignore")
            network = lpips.LPIPS(pnet_rand=True, net=HEADS[architecture], verbose=False)
        network.net.load_state_dict(_trunk_of(network.net, self.trunk.network))
        object.__setattr__(self, "_network", network.eval().requires_grad_(requires_grad=False).to(self.trunk.device))

    @property
    def name(self) -> str:
        """``lpips`` and the trunk."""
        return f"lpips {self.trunk.name}"

    @property
    def weights_sha256(self) -> str:
        """Of the trunk."""
        return self.trunk.weights_sha256

    def __call__(self, pictures: Images) -> Float[np.ndarray, "pictures pictures"]:
        """Return minus the distance of each two pictures."""
        with torch.no_grad():
            shifted = self._network.scaling_layer(2 * pictures.to(self.trunk.device) - 1)
            layers = list(self._network.net(shifted))
            heads = [head.model[-1].weight[0, :, 0, 0] for head in self._network.lins]
            return _minus_distances(layers, heads)


@dataclass(frozen=True)
class LayerSimilarity:
    """Minus the distance of a network's own activations, all channels alike: LPIPS without learned heads.

    Parameters
    ----------
    trunk : any classifier
    depths : of the layers, as shares of the network's depth
    """

    trunk: Classifier
    depths: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)

    @property
    def name(self) -> str:
        """``layers`` and the trunk."""
        return f"layers {self.trunk.name}"

    @property
    def weights_sha256(self) -> str:
        """Of the trunk."""
        return self.trunk.weights_sha256

    def __call__(self, pictures: Images) -> Float[np.ndarray, "pictures pictures"]:
        """Return minus the mean over layers of the distance of each two pictures."""
        inputs = self.trunk.preprocessing.normalise(pictures.to(self.trunk.device))
        with torch.no_grad():
            known = feature_layers(self.trunk.network, inputs[:1])
            chosen = list(dict.fromkeys(known[round(depth * (len(known) - 1))] for depth in self.depths))
            found = activations(self.trunk.network, chosen, inputs)
        layers = [each if each.ndim == 4 else each.flatten(1)[:, :, None, None] for each in found.values()]
        return _minus_distances(layers, [each.new_full((each.shape[1],), 1 / len(layers)) for each in layers])


def _minus_distances(layers: Sequence[Tensor], heads: Sequence[Tensor]) -> Float[np.ndarray, "pictures pictures"]:
    """Return minus Σ_l mean over places of Σ_c w_lc (a_c / |a| - b_c / |b|)², for each two pictures a and b."""
    total = torch.zeros(len(layers[0]), len(layers[0]), dtype=torch.float64, device=layers[0].device)
    for layer, head in zip(layers, heads, strict=True):
        unit = layer / (layer.square().sum(dim=1, keepdim=True).sqrt() + EPS)
        scaled = unit * head.clamp(min=0).sqrt()[:, None, None] / math.sqrt(layer.shape[2] * layer.shape[3])
        flat = scaled.flatten(1)
        total = total + torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist").square().double()
    return -np.asarray(total.cpu().numpy(), np.float64)


def _trunk_of(slices: nn.Module, network: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a classifier's features under the names of the package, which cuts them into slices."""
    known = network.state_dict()
    return {name: known[f"features.{name.partition('.')[2]}"].float() for name in slices.state_dict()}
