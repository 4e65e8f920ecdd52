"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real networks and images; the test is skipped where it is absent."""
    folder = Path(os.environ.get("XV_TEST_DATA", "../shared/data"))
    folder = folder if folder.is_absolute() else ROOT / folder
    if not folder.is_dir():
        pytest.skip(f"real data not found: set XV_TEST_DATA (looked in {folder})")
    return folder
