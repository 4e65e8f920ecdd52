"""Files behind a URL, fetched once into torch's own cache folder."""

import logging
import re
import tempfile
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

import torch

from xvcore.errors import WeightsError
from xvcore.keys import digest

WEB = ("http", "https")
SCHEMES = (*WEB, "file")
TIMEOUT_SECONDS = 30
MAX_BYTES = 32 * 2**30
"""Of a file of weights; the largest published classifiers take a third of it."""
logger = logging.getLogger(__name__)


def is_url(text: str) -> bool:
    """Return whether a text is a URL rather than a name or a path."""
    return re.match(r"[a-z][a-z0-9+.-]*://", text) is not None


def fetch(url: str) -> Path:
    """Return the local copy of a file; it is downloaded the first time only, and appears whole or not at all.

    The folder is ``checkpoints`` under ``torch.hub.get_dir()`` (``TORCH_HOME`` moves it). A name that carries a digest,
    as torchvision's do, stays; any other gets the digest of its URL, so that two ``model.pt`` do not meet.

    Raises
    ------
    WeightsError
        It cannot be downloaded, is larger than :data:`MAX_BYTES`, or is elsewhere than on the web; says how to give the
        file by hand. The URL holds a name or password, which is not repeated.
    """
    url = url.partition("#")[0]
    _refuse_password(url)
    path = Path(torch.hub.get_dir()) / "checkpoints" / _file_name(url)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        logger.info("downloading %s to %s", url, path)
        try:
            _download(url, path)
        except (OSError, ValueError) as error:
            if isinstance(error, HTTPError):
                error.close()
            reason = getattr(error, "reason", None) or error
            message = (
                f"cannot download {url} ({reason}); fetch it elsewhere and give the file instead: NAME@/path/to/it"
            )
            raise WeightsError(message) from error
    return path


def _refuse_password(url: str) -> None:
    """Refuse a URL with a user's name or password: it would stand in logs and in the tables of every run."""
    place = url.partition("://")[2].partition("/")[0]
    if "@" in place:
        raise WeightsError(
            f"weights {url.partition('://')[0]}://…@{place.rpartition('@')[2]}…: a name or password in a URL would "
            "stand in every table; fetch the file by hand and give it: NAME@/path/to/it"
        )


def expected_sha256(url: str) -> str:
    """Return the first digits of the file's SHA-256 as the URL tells them, or an empty text.

    Either a fragment ``#sha256=HEX``, or a name such as torchvision's ``resnet18-f37072fd.pth``. Publishers name eight
    digits or more; users have to name all (:func:`check_fragment`).

    Raises
    ------
    WeightsError
        A fragment that says something else.
    """
    fragment = re.fullmatch(r"sha256=([0-9a-fA-F]{8,64})", urlsplit(url).fragment)
    if "#" in url and not fragment:
        raise _bad_fragment(url)
    named = re.search(r"-([0-9a-f]{8,64})\.\w+$", urlsplit(url).path) if "download.pytorch.org" in url else None
    found = fragment or named
    return found.group(1).lower() if found else ""


def check_fragment(url: str) -> None:
    """Refuse a URL with a fragment other than ``#sha256=`` and all 64 digits: what is not understood checks nothing.

    Raises
    ------
    WeightsError
        Such a fragment; or what is no URL; or it holds a name or password, which is not repeated.
    """
    _refuse_password(url)
    try:
        urlsplit(url)
    except ValueError as error:
        raise WeightsError(f"weights {url}: {error}") from error
    if "#" in url and not re.fullmatch(r"sha256=[0-9a-fA-F]{64}", url.partition("#")[2]):
        raise _bad_fragment(url)


def _bad_fragment(url: str) -> WeightsError:
    address, _, fragment = url.partition("#")
    return WeightsError(
        f"weights {address}: fragment {f'#{fragment}'!r}, expected #sha256= and the 64 hexadecimal digits "
        f"of the file's SHA-256 ({len(fragment.partition('=')[2])} signs given)"
    )


def _file_name(url: str) -> str:
    name = unquote(urlsplit(url).path).rpartition("/")[2] or "weights"
    return name if expected_sha256(url) else f"{digest(url)}-{name}"


class _OnTheWeb(urllib.request.HTTPRedirectHandler):
    """Follows a redirection to the web alone, and from an encrypted address to such alone."""

    def redirect_request(self, req: Any, *answer: Any) -> Any:
        """Return the request of the address that an answer names last."""
        before, after = urlsplit(req.full_url).scheme, urlsplit(answer[-1]).scheme
        if after not in WEB or (before, after) == ("https", "http"):
            answer[0].close()
            raise ValueError(f"it leads from {before} to {after}, which is not followed")
        return super().redirect_request(req, *answer)


def _download(url: str, path: Path) -> None:
    if urlsplit(url).scheme not in SCHEMES:
        raise ValueError(f"known schemes: {', '.join(SCHEMES)}")
    request = urllib.request.Request(url, headers={"User-Agent": "xv"})
    with (
        urllib.request.build_opener(_OnTheWeb).open(request, timeout=TIMEOUT_SECONDS) as response,
        tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file,
    ):
        temporary = Path(file.name)
        try:
            announced = response.headers.get("Content-Length")
            if announced is not None and int(announced) > MAX_BYTES:
                raise ValueError(f"it has {announced} bytes, the limit is {MAX_BYTES}")
            while part := response.read(1 << 20):
                file.write(part)
                if file.tell() > MAX_BYTES:
                    raise ValueError(f"it has more than {MAX_BYTES} bytes, the limit")
            if announced is not None and file.tell() != int(announced):
                raise OSError(f"got {file.tell()} of {announced} bytes")
            file.close()
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
