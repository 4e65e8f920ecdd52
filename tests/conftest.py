"""Fixtures shared by all tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_disks() -> Iterator[None]:
    """No power is cut during tests: what they write need not reach the disk before they go on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real networks and images; the test is skipped where it is absent."""
    folder = Path(os.environ.get("XV_TEST_DATA", "../shared/data"))
    folder = folder if folder.is_absolute() else ROOT / folder
    if not folder.is_dir():
        pytest.skip(f"real data not found: set XV_TEST_DATA (looked in {folder})")
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of every file that is decoded from now on."""
    from xvcore.data import loader  # needs torch, which tests of the command line do without

    seen: list[int] = []
    decode = loader.decode

    def counted(data: bytes) -> Any:
        seen.append(len(data))
        return decode(data)

    monkeypatch.setattr(loader, "decode", counted)
    return seen


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """Address of an S3 server on this machine (moto's); the test is skipped where moto or s3fs is not installed."""
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    found = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    found.start()
    host, port = found.get_host_and_port()
    yield f"http://{host}:{port}"
    found.stop()
