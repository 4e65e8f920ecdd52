"""Methods: frozen settings whose call explains a batch of images, each image by itself."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from xvcore.models.classifier import Classifier
from xvcore.registry import Registry
from xvcore.types import Images, Targets

__all__ = ["Method", "methods"]


@runtime_checkable
class Method(Protocol):
    """What a registered name makes: hyper-parameters as fields, the algorithm as the call.

    Examples
    --------
    >>> from xvcore.methods import methods
    >>> methods["sparse_mask"]().smooth_steps > 0
    True
    """

    def __call__(self, classifier: Classifier, images: Images, targets: Targets) -> Any:
        """Return the explanation of each image: maps, or a dataclass of tensors; batch first in either."""


methods: Registry[Callable[..., Method]] = Registry("method", "xvcore.*.method.*")
"""Methods by name; called without arguments, an entry gives the method with its paper's constants."""
