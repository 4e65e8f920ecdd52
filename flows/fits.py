"""What can be done with networks, said in lines; what one has answered is kept, since asking takes seconds."""

import importlib.util
import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from xvcore.errors import XvError, in_one_line
from xvcore.keys import digest, digest_of_library
from xvcore.runs.fits import Fit, fits
from xvcore.version import VERSION

ASKED = ("torch", "torchvision", "timm")
"""Packages that define networks: with another version they are asked again."""


def fit_lines(names: Iterable[str]) -> Iterator[str]:
    """Yield for each network, as soon as it has answered, its name and what can be done with it, or why not.

    Parameters
    ----------
    names : of architectures
    """
    for name in names:
        try:
            answers = known(name)
        except XvError as error:
            yield f"{name}\tcannot be asked: {in_one_line(error)}"
            continue
        yield name
        for each in answers:
            yield f"  {each.what}\t{'yes' if each.is_fit else 'no'}\t{each.detail}"


def known(name: str) -> list[Fit]:
    """Return what a network has answered, asked now unless these versions have asked it before.

    Raises
    ------
    XvError
        It cannot be built, or is too large to be asked.
    """
    path = _folder() / f"{digest([name, _versions()], 32)}.json"
    if path.exists():
        return [Fit(**each) for each in json.loads(path.read_text())]
    with _unwarned():
        found = list(fits(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps([asdict(each) for each in found]))
    beside.replace(path)
    return found


@contextmanager
def _unwarned() -> Iterator[None]:
    """Pass over warnings about what a network returns: with random weights its scores say nothing."""
    logger = logging.getLogger("xvcore.models")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xv" / "fits"


def _versions() -> list[str]:
    """Return the versions of what is asked, and a digest of what asks."""
    return [
        VERSION,
        digest_of_library(),
        *(f"{each} {version(each)}" for each in ASKED if importlib.util.find_spec(each)),
    ]
