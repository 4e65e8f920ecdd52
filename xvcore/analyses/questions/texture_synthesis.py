"""Pictures with the local statistics of an image and none of its arrangement.

A picture x is changed until, at chosen layers of a network, its channels go together as they do for the image [1]_.
With the activation F of a layer (N channels, M places) and its Gram matrix ``G_ij = Σ_m F_im F_jm / (N M)``::

    loss(x) = Σ_layers Σ_ij (G_ij(x) − G_ij(image))² / Σ_ij G_ij(image)²

The source sums ¼ of the numerators in a VGG-19 whose weights were rescaled until every channel had mean activation 1.
In a network that was not rescaled the layer with the largest activations would be the only one that counts (in
SqueezeNet the last, which leaves noise); the denominators, which are ours, let all layers count alike. Also ours: Adam
instead of L-BFGS, so that an image does not depend on its batch; pixels kept in [0, 1] at each step; no matching of
colour histograms afterwards.

References
----------
.. [1] L. Gatys, A. Ecker, M. Bethge, "Texture Synthesis Using Convolutional Neural Networks", NeurIPS 2015.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xvcore.analyses.questions.scores import Sample
from xvcore.errors import ParameterError
from xvcore.models.classifier import Classifier
from xvcore.ops.adam import Adam
from xvcore.parameters import check, parameter
from xvcore.types import Images

Grams = list[Float[Tensor, "batch channels channels"]]


@dataclass(frozen=True, slots=True)
class TextureSynthesis:
    """Starts from noise and follows the gradient of the loss; each image by itself."""

    layers: tuple[str, ...] = parameter(
        ("features.1", "features.4", "features.9", "features.18", "features.27"),
        "Layers whose statistics are kept: the source's conv1_1 and pool1 … pool4, as torchvision's VGG-19 names them",
    )
    steps: int = parameter(500, "Steps of the descent (ours; the source runs L-BFGS until it converges)", ge=0)
    adam: Adam = parameter(Adam(learning_rate=0.02), "The optimiser (ours)")
    seed: int = parameter(0, "Seed of the noise", ge=0)

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, classifier: Classifier, sample: Sample, *, batch_size: int = 8) -> Images:
        """Return a texture of each image, in [0, 1], on the images' device.

        Parameters
        ----------
        classifier : the network whose layers describe a texture
        sample : images and names; an image's noise depends on its name alone
        batch_size : images at a time

        Raises
        ------
        UnknownNameError
            The network has no layer of this name.
        ParameterError
            A layer's output is not batch × channels × height × width.
        """
        if not len(sample.images):
            return sample.images
        size = tuple(sample.images.shape[1:])
        noise = [torch.from_numpy(generator.random(size)) for generator in sample.generators(self.seed)]
        starts = torch.stack(noise).to(sample.images)
        pairs = zip(sample.images.split(batch_size), starts.split(batch_size), strict=True)
        return torch.cat([self._textures(classifier, *pair) for pair in pairs])

    def loss(self, classifier: Classifier, pictures: Images, wanted: Grams) -> Float[Tensor, " batch"]:
        """Return how far each picture's statistics are from those wanted: 0 is not at all."""
        pairs = zip(grams(classifier, pictures, self.layers), wanted, strict=True)
        return torch.stack([_squares(found - aim) / _squares(aim) for found, aim in pairs]).sum(dim=0)

    def _textures(self, classifier: Classifier, images: Images, start: Images) -> Images:
        with torch.no_grad():
            wanted = grams(classifier, images.to(classifier.device), self.layers)
        pictures = start.to(classifier.device, copy=True)
        state = self.adam.start(pictures)
        for _ in range(self.steps):
            with torch.enable_grad():
                point = pictures.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(self.loss(classifier, point, wanted).sum(), point)
            with torch.no_grad():
                state.step_(pictures, gradient)
                pictures.clamp_(0, 1)
        return pictures.to(images.device)


def grams(classifier: Classifier, pictures: Images, layers: Sequence[str]) -> Grams:
    """Return the Gram matrix of each layer, divided by channels times places; differentiable by the pictures.

    Raises
    ------
    UnknownNameError
        The network has no layer of this name.
    ParameterError
        A layer's output is not batch × channels × height × width.
    """
    with _kept_outputs([classifier.layer(name) for name in layers]) as outputs:
        classifier.logits(pictures)
    found = []
    for name, output in zip(layers, outputs, strict=True):
        if output is None or output.ndim != 4:
            shape = None if output is None else tuple(output.shape)
            raise ParameterError(f"layer {name} of {classifier.name} gives {shape}: expected channels × height × width")
        flat = output.flatten(2)
        found.append(flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2]))
    return found


def _squares(matrices: Float[Tensor, "batch channels channels"]) -> Float[Tensor, " batch"]:
    return matrices.square().sum(dim=(1, 2)).clamp_min(torch.finfo(matrices.dtype).tiny)


@contextmanager
def _kept_outputs(modules: Sequence[nn.Module]) -> Iterator[list[Tensor | None]]:
    """Collect what modules give, in a copy: the next module may write into it."""
    outputs: list[Tensor | None] = [None] * len(modules)

    def keep(place: int) -> None:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            outputs[place] = output.clone()

        handles.append(modules[place].register_forward_hook(hook))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    try:
        for place in range(len(modules)):
            keep(place)
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
