"""InfoDisent: a frozen network, a rotation of the channels of its last map, sparse pooling, a non-negative classifier.

``J = U Z`` at every position, ``v = pool(J)`` (:mod:`xvcore.prototypes.method.pooling`), ``logits = W v`` with
``W ≥ 0`` [1]_. So a channel, a *prototype*, speaks for a class or not at all, its sign comes from ``v`` alone, and the
logit of class c is the sum of contributions ``W_ck v_k``, each of which belongs to at most two positions of the image.

How ``W ≥ 0`` is enforced is not published: ``W = relu(raw)`` as PIP-Net has it [2]_, or ``softplus(raw)``. There is no
bias, but where the outputs are sigmoids (SIDE [3]_), whose zero has a meaning: then a bias a class, which is ours.
Features are divided by one number, their root mean square over the training images, so that learning rates mean the
same for every network; it changes nothing else.

In the mode that *preserves* the network's predictions (EPIC [4]_) the classifier stays the network's own:
``logits = A mean(Z) + b = (A Uᵀ) mean(U Z) + b`` for every rotation U, so that contributions are ``(A Uᵀ)_ck
mean(J_k)``, of either sign, beside the bias. The box of such a prototype is the position of its maximum. For networks
that end in a mean over positions and a linear layer only.

References
----------
.. [1] Ł. Struski, D. Rymarczyk, J. Tabor, "InfoDisent: Explainability of Image Classification Models by Information
   Disentanglement", arXiv 2409.10329, 2024.
.. [2] M. Nauta et al., "PIP-Net: Patch-Based Intuitive Prototypes for Interpretable Image Classification", CVPR 2023.
.. [3] V. Dubovik, Ł. Struski, J. Tabor, D. Rymarczyk, "SIDE: Sparse Information Disentanglement for Explainable
   Artificial Intelligence", arXiv 2507.19321, 2025.
.. [4] P. Borycki et al., "EPIC: Explanation of Pretrained Image Classification Networks via Prototype", AAAI 2026.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from xvcore.parameters import check, parameter
from xvcore.prototypes.method.feature_map import FeatureMap
from xvcore.prototypes.method.pooling import Channels, Peaks, Pooled, drawn, peaks, pooled
from xvcore.prototypes.method.rotation import Mapping, Rotation
from xvcore.shown import Shown
from xvcore.types import Images, Scores

Kind = Literal["infodisent", "preserving"]


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """What a head is made of."""

    kind: Kind = parameter(
        "infodisent",
        "infodisent: sparse pooling and a non-negative classifier, trained; preserving: the network's own classifier, "
        "whose predictions stay as they are, and a rotation that makes prototypes pure (EPIC)",
    )
    rotation: Mapping = parameter(
        "cayley", "From skew-symmetric matrices to rotations: cayley, or exponential as in EPIC's code; ours"
    )
    positivity: Literal["relu", "softplus"] = parameter(
        "relu", "How weights are kept from being negative: relu as in PIP-Net, or softplus; not published"
    )
    pooling: Literal["hard", "gumbel"] = parameter(
        "hard", "In training: hard, or positions drawn by the Gumbel-softmax, as an appendix is reported to do"
    )
    temperature: float = parameter(
        1.0, "Of the Gumbel-softmax, in units of the features' root mean square; not published, ours", ge=1e-3
    )
    outputs: Literal["softmax", "sigmoid"] = parameter(
        "softmax", "What the logits are read with: softmax, or a sigmoid each as in SIDE, with a bias a class"
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class Decision(Shown):
    """Decisions taken apart.

    Parameters
    ----------
    logits : of every class
    values : what each prototype says of an image: ``v``, or the mean of its map in the preserving mode
    weights : of prototypes for classes
    bias : of every class
    peaks : the positions that speak
    is_pooled : whether values are those of the positions alone
    """

    logits: Scores
    values: Pooled
    weights: Float[Tensor, "classes channels"]
    bias: Float[Tensor, " classes"]
    peaks: Peaks
    is_pooled: bool = True

    def contributions(self, targets: Int[Tensor, " batch"]) -> Pooled:
        """Return what each prototype adds to the logit of an image's target; with the bias they sum to it."""
        return self.values * self.weights[targets]

    def at_peaks(self, targets: Int[Tensor, " batch"]) -> tuple[Pooled, Pooled]:
        """Return what each prototype adds at its largest and at its smallest position; together its contribution.

        In the preserving mode all is at the largest.
        """
        below = -self.peaks.negative * self.weights[targets] * self.is_pooled
        return self.contributions(targets) - below, below


class Head(nn.Module):
    """From maps of features to logits.

    Parameters
    ----------
    n_channels, n_classes : sizes
    options : what it is made of
    """

    raw: nn.Parameter
    scale: Tensor
    kept: Tensor

    def __init__(self, n_channels: int, n_classes: int, options: HeadOptions | None = None) -> None:
        super().__init__()
        self.options = options or HeadOptions()
        self.rotation = Rotation(n_channels, self.options.rotation)
        self.raw = nn.Parameter(torch.full((n_classes, n_channels), 0.1))
        self.bias = nn.Parameter(torch.zeros(n_classes))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("kept", torch.ones(n_classes, n_channels))
        self.noise: torch.Generator | None = None
        self.bias.requires_grad_(self.is_preserving or self.options.outputs == "sigmoid")

    @property
    def is_preserving(self) -> bool:
        """Whether the network's own predictions stay as they are."""
        return self.options.kind == "preserving"

    def weights(self) -> Float[Tensor, "classes channels"]:
        """Return W for the features as they come, at least 0; in the preserving mode ``A Uᵀ``, of either sign."""
        if self.is_preserving:
            return self.raw @ self.rotation.matrix().mT
        positive = F.softplus(self.raw) if self.options.positivity == "softplus" else _rectified(self.raw)
        return positive * self.kept / self.scale

    @torch.no_grad()
    def project(self) -> None:
        """Take raw weights below 0 back to 0, where a gradient still reaches them."""
        if self.options.positivity == "relu" and not self.is_preserving:
            self.raw.clamp_(min=0)

    def turned(self, maps: Channels) -> Channels:
        """Return the maps of the prototypes, ``U Z``, of batch × positions × channels, in the type of U.

        They are multiplied in the maps' own type.
        """
        rotation = self.rotation.matrix()
        return (maps @ rotation.mT.to(maps.dtype)).to(rotation.dtype)

    def forward(self, maps: Channels) -> Scores:
        """Return the logits of maps, batch × positions × channels."""
        if self.is_preserving:
            return F.linear(maps.mean(dim=1), self.raw, self.bias)
        return self.scores(self.values(maps))

    def values(self, maps: Channels) -> Pooled:
        """Return what each prototype says of maps; not of the preserving mode."""
        if self.training and self.options.pooling == "gumbel":
            generator = self.noise or torch.Generator().manual_seed(0)
            return drawn(self.turned(maps / self.scale), self.options.temperature, generator) * self.scale
        return peaks(self.turned(maps)).values if maps.requires_grad else pooled(maps, self.rotation.matrix())

    def scores(self, values: Pooled) -> Scores:
        """Return the logits of what the prototypes say."""
        return F.linear(values, self.weights(), self.bias)

    def decision(self, maps: Channels) -> Decision:
        """Return the decisions for maps, taken apart."""
        turned = self.turned(maps)
        found = peaks(turned)
        weights = self.weights()
        values = turned.mean(dim=1) if self.is_preserving else found.values
        logits = F.linear(values, weights, self.bias)
        return Decision(logits, values, weights, self.bias, found, not self.is_preserving)


def _rectified(raw: Tensor) -> Tensor:
    """Return relu, whose gradient is 1 at 0 too: a weight that was taken to 0 can come back."""
    return raw + (raw.clamp_min(0) - raw).detach()


class InfoDisent(nn.Module):
    """A frozen network with a head on its last map: normalised images to logits.

    Parameters
    ----------
    backbone : the network, of which all is run
    feature_map : where its last map is
    head : on that map
    """

    def __init__(self, backbone: nn.Module, feature_map: FeatureMap, head: Head) -> None:
        super().__init__()
        self.backbone, self.feature_map, self.head = backbone, feature_map, head

    def train(self, mode: bool = True) -> "InfoDisent":  # noqa: FBT001, FBT002  torch's own signature
        """Set the mode of the head; the network below is frozen, its statistics too."""
        super().train(mode)
        self.backbone.eval()
        return self

    def maps(self, images: Images) -> Channels:
        """Return the features of normalised images, batch × positions × channels."""
        return self.maps_and_scores(images)[0]

    def maps_and_scores(self, images: Images) -> tuple[Channels, Any]:
        """Return the features of normalised images, and what the network below says by itself."""
        found, scores = self.feature_map.maps(self.backbone, self.backbone, images)
        return found.flatten(2).transpose(1, 2), scores

    def forward(self, images: Images) -> Scores:
        """Return the logits of normalised images."""
        scores: Tensor = self.head(self.maps(images))
        return scores

    def decision(self, images: Images) -> Decision:
        """Return the decisions for normalised images, taken apart."""
        return self.head.decision(self.maps(images))
