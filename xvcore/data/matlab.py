"""MATLAB files of annotations: what they hold, as plain values."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from xvcore.errors import DataError


def read_mat(file: Path) -> dict[str, Any]:
    """Return the variables of a MATLAB file, without axes of length 1.

    Raises
    ------
    DataError
        No such file, damaged, or of version 7.3, which is another format.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        found: dict[str, Any] = loadmat(file, squeeze_me=True)
    except NotImplementedError as error:
        raise DataError(f"{file}: a MATLAB file of version 7.3 is not read; save it with -v7") from error
    except (
        *(OSError, ValueError, TypeError, LookupError, AttributeError, MemoryError, OverflowError),
        *(MatReadError, struct.error, zlib.error),
    ) as error:
        raise DataError(f"{file} cannot be read as a MATLAB file: {error or type(error).__name__}") from error
    return {name: value for name, value in found.items() if not name.startswith("__")}


def variable(file: Path, content: dict[str, Any], name: str) -> Any:
    """Return a variable of a file; DataError where it has none of that name."""
    if name not in content:
        raise DataError(f"{file} has no {name} (it has: {', '.join(sorted(content)) or 'nothing'})")
    return content[name]


def texts(value: Any) -> list[str]:
    """Return the texts of a cell array."""
    return [str(each) for each in np.atleast_1d(value)]


def structs(file: Path, value: Any) -> list[dict[str, Any]]:
    """Return the elements of a struct array, a value for each field; DataError where it is none."""
    array = np.atleast_1d(value)
    if array.dtype.names is None:
        raise DataError(f"{file}: expected an array of structs, found {array.dtype} of shape {array.shape}")
    return [{name: _plain(each[name]) for name in array.dtype.names} for each in array.ravel()]


def _plain(value: Any) -> Any:
    array = np.asarray(value)
    return array.item() if array.size == 1 else value
