"""Single precision that is single precision: no TF32, no autocast, for as long as a ``with`` lasts."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

_CUDNN: Any = torch.backends.cudnn
_CUDA: Any = torch.backends.cuda
_MKLDNN: Any = torch.backends.mkldnn
PLACES = (_CUDNN.conv, _CUDNN.rnn, _CUDA.matmul, _MKLDNN.conv, _MKLDNN.matmul)
"""Where torch keeps the arithmetic of float32 operations, as ``fp32_precision``."""


@contextmanager
def full_precision(device_type: str = "cuda") -> Iterator[None]:
    """Compute in IEEE float32: TF32 and autocast are off inside, and as they were afterwards, even after an error.

    Why: PyTorch lets cuDNN round the factors of float32 convolutions to TF32 (10 bits of mantissa) by default. Most
    networks do not mind; the published BagNet-33 does: 66.7 % of ImageNet's validation images right in float32, 64.2 %
    in TF32, 58.0 % under float16 autocast (measured by the authors of a re-trained BagNet).

    The flags are torch's own, hence shared by all threads; autocast is of this thread.

    Parameters
    ----------
    device_type : of the tensors, e.g. ``"cuda"`` or ``"cpu"``; autocast is told by it
    """
    kept = [place.fp32_precision for place in PLACES]
    legacy = _legacy()
    try:
        _set_legacy((False, "highest"))
        for place in PLACES:
            place.fp32_precision = "ieee"
        with _without_autocast(device_type):
            yield
    finally:
        _set_legacy(legacy)
        for place, precision in zip(PLACES, kept, strict=True):
            place.fp32_precision = precision


def _without_autocast(device_type: str) -> AbstractContextManager[Any]:
    if not torch.amp.is_autocast_available(device_type):  # tensors without memory
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


def _legacy() -> tuple[bool, str] | None:
    """Return the older switches, which torch keeps beside the newer ones; None where it finds the two at odds."""
    try:
        return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def _set_legacy(switches: tuple[bool, str] | None) -> None:
    if switches is not None:
        torch.backends.cudnn.allow_tf32 = switches[0]
        torch.set_float32_matmul_precision(switches[1])
