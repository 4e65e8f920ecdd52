"""Activations of a network, layer by layer, averaged over places: of images, and of patches of them."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xvcore.comparison.method.deletion import pooled
from xvcore.errors import ParameterError
from xvcore.models.layout import laid_out
from xvcore.ops.feature_layers import feature_layers, tapped
from xvcore.runs.run import Run
from xvcore.types import Images
from xvcore.visual_summaries.settings import VisualSummaries

OF_PX = 224
"""Side of the inputs that the side of a patch is given for."""


def last_layer(run: Run[VisualSummaries]) -> str:
    """Return the layer whose activations the decision of a network is linear in."""
    return layers_at(run, (1.0,))[0]


def layers_at(run: Run[VisualSummaries], depths: Sequence[float]) -> tuple[str, ...]:
    """Return the layer at each share of a network's depth, from input (0) to the last before the logits (1)."""
    classifier = run.classifier
    example = torch.zeros(1, 3, *run.size, device=classifier.device)
    layers = feature_layers(classifier.network, classifier.preprocessing.normalise(example))
    return tuple(layers[round(depth * (len(layers) - 1))] for depth in depths)


@torch.no_grad()
def activations(run: Run[VisualSummaries], images: Images, layers: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the activations of some layers, averaged over places, a row an image, by the layer's name."""
    classifier = run.classifier
    found: dict[str, list[np.ndarray]] = {name: [] for name in layers}
    for part in images.split(run.spec.batch_size):
        with tapped(classifier.network, tuple(found)) as outputs:
            classifier.logits(laid_out(classifier, part))
        if missing := [name for name in found if name not in outputs]:
            raise ParameterError(f"layer {missing[0]} does not run in a forward pass of {classifier.name}")
        for name, values in found.items():
            values.append(pooled(outputs[name]).float().cpu().numpy())
    return {name: np.concatenate(values) for name, values in found.items()}


def patches(images: Images, patch_px: int) -> tuple[Float[Tensor, "patches 3 height width"], np.ndarray]:
    """Return patches of images, each as large as an image, and the number of each one's image.

    Parameters
    ----------
    images : at the network's input size
    patch_px : side of a patch where the input has 224 pixels; they lie side by side, and what is left at the edges is
        in none
    """
    height, width = images.shape[2:]
    side = max(1, round(patch_px * min(height, width) / OF_PX))
    cut = images.unfold(2, side, side).unfold(3, side, side)
    n_images, _, rows, columns = cut.shape[:4]
    small = cut.permute(0, 2, 3, 1, 4, 5).reshape(n_images * rows * columns, 3, side, side)
    large = F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
    return large, np.repeat(np.arange(n_images), rows * columns)
