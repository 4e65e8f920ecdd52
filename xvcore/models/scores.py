"""What a network returns, as the scores that everything here reads: one row an image, one column an output.

Refused is what cannot be read as such, and what would be read wrongly without a word: probabilities are no scores,
since the softmax that makes probabilities of scores would be taken twice. The logarithm of probabilities is a score:
``softmax(log p) = p``.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xvcore.errors import ParameterError
from xvcore.types import Scores

LOGITS = "logits"
"""Member that is taken of an answer with several: by its name these are the scores before the softmax (torchvision's
Inception and GoogLeNet with auxiliary heads, the models of Hugging Face)."""
SEVERAL_IMAGES = 2
"""Images after which scores that look like probabilities are taken for such."""
SEVERAL_VALUES = 40
"""Scores after which all of them lying in 0 … 1 is no chance."""
WHOLES = (1.0, 100.0)
"""What the probabilities of an image sum to, as shares and in per cent."""
SUM_TOLERANCE = 1e-3
"""Of the sum of an image's probabilities from the whole, as a share of it."""
TYPES = (torch.float32, torch.float64)
"""What a network may compute in; below it only under autocast, whose choice it is where."""

ONE_SCORE = (
    "One score an image is no answer among classes: if it is the logit of a sigmoid, "
    "xvcore.models.TwoClasses(network) makes two outputs of it"
)

logger = logging.getLogger(__name__)


def scores_of(name: str, returned: Any, n_images: int) -> Scores:
    """Return the scores (images, classes) in what a network returned.

    That is the tensor itself, or the member named :data:`LOGITS` of a mapping, a named tuple or a dataclass.

    Parameters
    ----------
    name : of the network, for messages
    returned : by the network for a batch
    n_images : in the batch

    Raises
    ------
    ParameterError
        Something else, with what it is.
    """
    scores = _member(returned)
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != n_images or not scores.shape[1]:
        images = "one image" if n_images == 1 else f"{n_images} images"
        is_single = isinstance(scores, Tensor) and scores.shape == (n_images,)
        raise ParameterError(
            f"{name} returns {_described(returned)} for {images}: expected scores of shape ({n_images}, classes); "
            f"give a module that returns these{f'. {ONE_SCORE}' if is_single else ''}"
        )
    if scores.dtype not in TYPES and not (scores.is_floating_point() and _is_autocast(scores)):
        expected = " or ".join(map(_plain, TYPES))
        raise ParameterError(
            f"{name} returns scores of {_plain(scores.dtype)}: expected {expected}, since fewer digits make scores "
            "equal that are not (xvcore.models.wrap makes a copy in float32)"
        )
    return scores


class Looks:
    """What the scores of a network have looked like: whether they can be scores at all.

    Looked at until a score is seen that no probability is, for most networks at the first batch.
    """

    __slots__ = ("_has_warned", "_is_settled", "_n_images", "_n_values", "_wholes")

    def __init__(self, *, has_warned: bool = False) -> None:
        self._has_warned = has_warned
        self._is_settled = False
        self._wholes: tuple[float, ...] = WHOLES
        self._n_images = 0
        self._n_values = 0

    def anew(self) -> "Looks":
        """Return the same for a network of which nothing is known but whether it was warned of."""
        return Looks(has_warned=self._has_warned)

    def see(self, scores: Scores, name: str) -> None:
        """Look at the scores of a batch; warn once of scores that a sigmoid may have made.

        Raises
        ------
        ParameterError
            The scores of several images are never negative and sum to 1, or to 100: a softmax has been taken already.
        """
        if self._is_settled or scores.is_meta:
            return
        # On the processor and not by torch: whoever watches the pass must not meet what is done here.
        values = scores.detach().cpu().double().numpy()
        low, high = values.min(axis=1), values.max(axis=1)
        # Neither what is not finite nor a collapsed network's, whose outputs are all the same.
        telling = values[(high > low) & np.isfinite(low) & np.isfinite(high)]
        sums = telling.sum(axis=1)
        self._wholes = tuple(each for each in self._wholes if (abs(sums - each) <= SUM_TOLERANCE * each).all())
        is_above = bool((high > 1 + SUM_TOLERANCE).any())
        self._is_settled = bool((low < 0).any()) or (is_above and not self._wholes)
        if self._is_settled or not len(telling):
            return
        self._n_images += len(telling)
        self._n_values += telling.size
        if self._n_images >= SEVERAL_IMAGES and self._wholes:
            raise ParameterError(
                f"{name} returns probabilities: the outputs of {self._n_images} images are never negative and sum to "
                f"{self._wholes[0]:g}. Expected scores before the softmax: take the softmax out of the network, or the "
                "logarithm after it"
            )
        if self._n_values >= SEVERAL_VALUES and self._n_images >= SEVERAL_IMAGES:
            self._is_settled = True
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "%s: all outputs of %d images lie in 0 … 1: if a sigmoid made them, take it out of the network. "
                    "Expected are scores before it; the probabilities here are a softmax of what it returns",
                    name,
                    self._n_images,
                )


def _member(returned: Any) -> Any:
    if isinstance(returned, Tensor):
        return returned
    return returned.get(LOGITS) if isinstance(returned, Mapping) else getattr(returned, LOGITS, None)


def _described(returned: Any) -> str:
    """Return what something is, in words, with the shapes of the tensors in it."""
    if isinstance(returned, Tensor):
        return f"a tensor of shape {tuple(returned.shape)}"
    name = type(returned).__name__
    article = "an" if name[:1].lower() in "aeiou" else "a"
    if isinstance(returned, Mapping):
        return f"{article} {name} of {_listed(f'{key}: {_brief(value)}' for key, value in returned.items())}"
    if isinstance(returned, tuple | list):
        names = getattr(returned, "_fields", ())
        members = [f"{key}: {_brief(value)}" for key, value in zip(names, returned, strict=False)]
        return f"{article} {name} of {_listed(members or map(_brief, returned))}"
    return f"{article} {name}"


def _listed(members: Iterable[str], shown: int = 6) -> str:
    found = list(members)
    return ", ".join(found[:shown] + (["…"] if len(found) > shown else [])) or "nothing"


def _brief(value: Any) -> str:
    return f"tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _is_autocast(scores: Tensor) -> bool:
    return torch.is_autocast_enabled(scores.device.type)


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
