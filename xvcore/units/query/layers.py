"""Which layers of a network were looked at."""

from xvcore.store import Store


def scanned_layers(store: Store, run_id: str) -> list[str]:
    """Return the names of the layers whose units were ranked, from the input on; none where no class was scanned."""
    for name in store.classes_of("unit_sums", run_id):
        (layers,) = store.read("unit_sums", run_id, name, ["layers"])["layers"]
        if layers is not None:
            return list(layers)
    for class_id in store.classes_of("unit_scans", run_id):
        return list(store.read("unit_scans", run_id, class_id, ["layer"])["layer"])
    return []
