"""The demo of colours."""

from collections.abc import Iterator

from colours.settings import Colours
from xvcore.query import table
from xvcore.runs.demos import Demo, demos
from xvcore.store import Store


def verdict(store: Store) -> Iterator[str]:
    """Yield how bright the images are."""
    yield f"mean red of all images: {table(store, 'colours')['red'].mean():.2f}"


demos.register(Colours.method)(Demo(networks=("partbirds_narrow",), verdict=verdict))
