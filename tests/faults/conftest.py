"""What an undisturbed run leaves."""

import pytest
from results import SLOW, summarise

from xvcore.store import Store


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    summarise(folder)
    return Store(folder)


@pytest.fixture(scope="session")
def slowly(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The same, of the request that takes long enough to be hit."""
    folder = tmp_path_factory.mktemp("slowly")
    summarise(folder, SLOW)
    return Store(folder)
