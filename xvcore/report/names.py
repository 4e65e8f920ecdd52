"""Names of pages: readable, safe on any file system and in any URL, different for different keys."""

import posixpath
import re
from collections import Counter
from collections.abc import Iterable
from urllib.parse import quote

from xvcore.keys import digest, slug

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,@=+()-]{0,99}")
_OURS = {"index", "about", "compare", "static", "images", "pictures"}
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}


def page_name(key: str) -> str:
    """Return a name without extension for a key (network, class id, image id).

    A plain key is its own name. Any other (slashes, spaces, markup, letters beyond ASCII, names a file system
    reserves) becomes a slug, ``~`` and a digest, so that it cannot meet a plain one.
    """
    if _PLAIN.fullmatch(key) and not key.endswith(".") and not _is_reserved(key):
        return key
    name = slug(key)[:60].strip("-._") or "x"
    return f"{name.replace('.', '-') if _is_reserved(name) else name}~{digest(key, 8)}"


def _is_reserved(name: str) -> bool:
    """Return whether a name is ours or that of a device, which a file system takes for it with any ending."""
    return name.split(".", maxsplit=1)[0].casefold() in _OURS | _DEVICES


def page_names(keys: Iterable[str]) -> dict[str, str]:
    """Return a name for each key of one folder, also where the file system takes ``A`` and ``a`` for the same."""
    names = {key: page_name(key) for key in keys}
    times = Counter(name.casefold() for name in names.values())
    return {
        key: name if times[name.casefold()] == 1 else f"{name.rsplit('~', 1)[0]}~{digest(key, 8)}"
        for key, name in names.items()
    }


def image_names(image_ids: Iterable[str]) -> dict[str, str]:
    """Return a name for each image of a class: that of its file where no two are alike, else that of the whole id."""
    keys = list(image_ids)
    short = page_names(key.rsplit("/", 1)[-1] for key in keys)
    times = Counter(short[key.rsplit("/", 1)[-1]].casefold() for key in keys)
    found = {key: short[key.rsplit("/", 1)[-1]] for key in keys}
    clear = {key: name for key, name in found.items() if times[name.casefold()] == 1}
    rest = page_names(key for key in keys if key not in clear)
    taken = {name.casefold() for name in clear.values()}
    others = {key: name if name.casefold() not in taken else f"{name}~{digest(key, 8)}" for key, name in rest.items()}
    return {**clear, **others}


def link(page: str, target: str) -> str:
    """Return the relative, percent-encoded address of ``target`` on ``page``; both are paths within the site."""
    path, hash_sign, fragment = target.partition("#")
    relative = posixpath.relpath(path, posixpath.dirname(page) or ".") if path else ""
    return quote(relative, safe="/~") + hash_sign + quote(fragment, safe="")
