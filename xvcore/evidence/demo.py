"""The demo of evidence: whether the strongest patches lie on the parts that tell the birds."""

from collections.abc import Iterator

from xvcore.evidence.settings import PatchEvidence
from xvcore.models import find
from xvcore.ops.parts import share_on_parts
from xvcore.query import table
from xvcore.runs.demos import Demo, demos
from xvcore.store import Store

BAGNET = "partbirds_bagnet17"


def verdict(store: Store) -> Iterator[str]:
    """Yield the share of the strongest patches that lie on a decisive part."""
    share, random_share = patches_on_parts(store)
    yield f"strongest patches of {BAGNET} that lie on a decisive part: {share:.0%}, random ones {random_share:.0%}"


def patches_on_parts(store: Store) -> tuple[float, float]:
    """Return the share of the strongest patches of each class that lie on one of its decisive parts, and by chance."""
    patches = table(store, "patches", filters={"origin": "class"})
    decisive = table(store, "parts", filters={"decisive": True})
    return share_on_parts(patches, decisive, find(BAGNET).preprocessing.input_px)


demos.register(PatchEvidence.method)(Demo(networks=(BAGNET,), verdict=verdict, steps={BAGNET: 200}))
