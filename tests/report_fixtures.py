"""Fixtures of the report: a small store and the pages made from it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bird_store import picture_of, write_store

from xvcore.report import build
from xvcore.store import Store


@pytest.fixture(scope="session")
def drawn_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that no test changes."""
    return write_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def new_store(drawn_store: Store, tmp_path: Path) -> Store:
    """A copy of the store, for tests that change it."""
    return Store(shutil.copytree(drawn_store.url, tmp_path / "store"))


@pytest.fixture(scope="session")
def site(drawn_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the drawn store."""
    return build(drawn_store, tmp_path_factory.mktemp("site"), picture_of=picture_of).parent


@pytest.fixture
def new_site(site: Path, tmp_path: Path) -> Path:
    """A copy of the report, for tests that build it again."""
    return shutil.copytree(site, tmp_path / "site")


@pytest.fixture
def originals() -> Callable[..., np.ndarray | None]:
    return picture_of
