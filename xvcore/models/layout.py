"""The order in memory in which a network on a CPU takes pictures fastest: the colours of a pixel side by side."""

import weakref

import torch

from xvcore.models.classifier import Classifier
from xvcore.types import Images

MOST_DIFFERENCE = 1e-3
"""Between the scores from one layout and the other, as a share of their range: rounding, and a network takes either."""
_takes: weakref.WeakKeyDictionary[Classifier, bool] = weakref.WeakKeyDictionary()


def laid_out(classifier: Classifier, images: Images) -> Images:
    """Return the pictures on the classifier's device, on a CPU with the colours of a pixel side by side.

    Convolution and pooling then go through memory in one direction: about half the time for small networks (torch's
    max-pooling on a CPU is a loop over single numbers in the usual layout, pytorch/pytorch#51393). Elsewhere, and for a
    network that does not compute the same from them (tried once with noise), they stay as they are.

    Parameters
    ----------
    classifier : that is to look at them
    images : RGB in [0, 1], on any device

    Examples
    --------
    >>> import torch
    >>> from xvcore.models import laid_out, load
    >>> squeezenet = load("squeezenet1_1@random?classes=2")
    >>> laid_out(squeezenet, torch.rand(1, 3, 224, 224)).stride()
    (150528, 1, 672, 3)
    """
    # Asynchronous to a GPU: what is computed there waits for it, whoever goes on here need not.
    moved = images.to(classifier.device, non_blocking=classifier.device.type == "cuda")
    if moved.device.type != "cpu" or not len(images) or not takes_channels_last(classifier):
        return moved
    return moved.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def takes_channels_last(classifier: Classifier) -> bool:
    """Say whether a network computes the same from channels that lie side by side; tried once with noise.

    Some networks view their maps as rows, which torch refuses in this layout.
    """
    if classifier not in _takes:
        _takes[classifier] = _tried(classifier)
    return _takes[classifier]


def _tried(classifier: Classifier) -> bool:
    size = (2, 3, *classifier.preprocessing.input_px)
    noise = torch.rand(size, generator=torch.Generator().manual_seed(0)).to(classifier.device)
    usual = classifier.logits(noise)
    try:
        found = classifier.logits(noise.contiguous(memory_format=torch.channels_last))
    except RuntimeError:  # "view size is not compatible": the network works on in the usual layout
        return False
    return bool((found - usual).abs().max() <= MOST_DIFFERENCE * (usual.amax() - usual.amin()))
