"""Batches that do not fit into the device's memory go in halves."""

import logging
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")
logger = logging.getLogger(__name__)


def in_halves(function: Callable[..., Result], *batches: Tensor) -> list[Result]:
    """Return the results of ``function(*batches)`` for the whole batch, or for its parts in order if memory is short.

    Whenever the function runs out of memory, its batch is cut in two and both halves start anew; so its results must
    not depend on the batch.

    Parameters
    ----------
    function : takes the tensors, cut along their first axis
    batches : of equal length, at least 1

    Raises
    ------
    torch.OutOfMemoryError
        Even a single element does not fit.
    """
    size = len(batches[0])
    try:
        return [function(*batches)]
    except torch.OutOfMemoryError:
        if size == 1:
            raise
    # Outside the handler: while the exception lives, its traceback keeps the failed call's tensors alive.
    half = (size + 1) // 2
    logger.warning("out of memory at a batch of %d: going on with %d", size, half)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    first = in_halves(function, *(batch[:half] for batch in batches))
    second = in_halves(function, *(batch[half:] for batch in batches))
    return first + second
