"""Fixtures of the exports."""

from collections.abc import Callable
from pathlib import Path

import pytest
from export_store import picture_of, write_export_store

from xvcore.export import export
from xvcore.store import Store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that no test changes."""
    return write_export_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def folder_of(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of an export, written once."""
    known: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in known:
            known[kind] = export(store, tmp_path_factory.mktemp("export") / kind, kind, pictures=picture_of)
        return known[kind]

    return folder
