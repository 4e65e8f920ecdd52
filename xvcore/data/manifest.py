"""The manifest freezes what a run saw: image id, path and SHA-256 of every image of a class."""

import hashlib
from dataclasses import dataclass
from itertools import islice

from xvcore.data.dataset import Dataset, ImageRecord
from xvcore.data.faults import patiently
from xvcore.errors import ImageError, MomentaryError, ParameterError


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One image of a manifest.

    Parameters
    ----------
    image_id, path, class_id : see :class:`~xvcore.data.dataset.ImageRecord`
    sha256 : hexadecimal digest of the file; None where it could not be read
    n_bytes : size of the file; None where it could not be read
    error : why the file cannot be used, None where it could be read and is not empty

    Examples
    --------
    >>> from xvcore.data import ManifestRow
    >>> ManifestRow("robin/1.jpg", "/data/robin/1.jpg", "robin", None, None, "no such file").error
    'no such file'
    """

    image_id: str
    path: str
    class_id: str
    sha256: str | None
    n_bytes: int | None
    error: str | None = None


def manifest(dataset: Dataset, class_id: str, *, max_images: int | None) -> tuple[ManifestRow, ...]:
    """Return one row per image of a class, the first ``max_images`` in the order of their ids (None: all).

    A file that cannot be read or is empty is a row with an error; nothing is decoded here.

    Parameters
    ----------
    dataset, class_id : which class of which data set
    max_images : at least 1; None: all

    Raises
    ------
    DataError
        The dataset does not have this class, or its folder is away.
    MomentaryError, MemoryShortError
        The machine failed, for longer than a moment: that is no image's fault, and there is no manifest.
    ParameterError
        ``max_images`` is below 1.

    Examples
    --------
    >>> from xvcore.data import manifest, open_dataset
    >>> birds = open_dataset("partbirds?classes=2&images=5")
    >>> [row.error for row in manifest(birds, birds.classes[0].class_id, max_images=2)]
    [None, None]
    """
    if max_images is not None and max_images < 1:
        raise ParameterError(f"max_images = {max_images}: expected at least 1, or none for all")
    records = sorted(dataset.images(class_id), key=lambda record: record.image_id)
    return tuple(_row(dataset, record) for record in islice(records, max_images))


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def read_error(error: OSError | ImageError) -> str:
    """Return what a row says of a file that cannot be read; without the path, which is a column of its own."""
    reason = error.strerror if isinstance(error, OSError) else None
    return f"cannot be read: {reason or error}"


def _row(dataset: Dataset, record: ImageRecord) -> ManifestRow:
    names = (record.image_id, record.path, record.class_id)
    try:
        data = patiently(lambda: dataset.read(record), record.image_id, record.path)
    except MomentaryError:
        raise
    except (OSError, ImageError) as error:
        return ManifestRow(*names, sha256=None, n_bytes=None, error=read_error(error))
    return ManifestRow(*names, sha256_of(data), len(data), error=None if data else "empty file (0 bytes)")
