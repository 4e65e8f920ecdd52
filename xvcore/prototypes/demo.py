"""The demo of prototypes: how well a head of prototypes tells the birds, beside a linear probe and the network."""

from collections.abc import Iterator

from xvcore.prototypes.settings import Disentangle
from xvcore.query import table
from xvcore.runs.demos import Demo, demos
from xvcore.store import Store

EPOCHS = "20"
"""Few, so that the demo ends in minutes on two cores."""


def verdict(store: Store) -> Iterator[str]:
    """Yield the accuracy of head and probe on images that neither has seen."""
    heads = table(store, "heads").set_index("kind")["accuracy_tested"]
    yield (
        f"birds told by prototypes: {heads['head']:.0%}, by a linear probe on the same features: {heads['probe']:.0%}, "
        f"by the network: {heads['backbone']:.0%}"
    )


demos.register(Disentangle.method)(
    Demo(
        networks=("partbirds_wide",),
        verdict=verdict,
        changes={"recipe.epochs": EPOCHS, "recipe.learning_rate": "0.01", "recipe.rotation_rate": "0.001"},
    )
)
