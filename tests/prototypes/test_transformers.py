"""A network of tokens, and one whose map has its channels last, run the whole way: heads, prototypes, measures, pages."""

from pathlib import Path

import pytest

from xvcore.models import load
from xvcore.parameters import replaced
from xvcore.prototypes.settings import Disentangle, Prototypes
from xvcore.report import build
from xvcore.runs.pipeline import complete_run
from xvcore.runs.run import RunSpec, open_run

pytestmark = pytest.mark.slow
DATASET = "partbirds?classes=2&images=5"


@pytest.mark.parametrize(
    ("network", "side"),
    [("timm/vit_tiny_patch16_224@random?classes=3", 14), ("swin_t@random?classes=3&input=64", 2)],
)
def test_a_transformer_runs_the_whole_way(network: str, side: int, tmp_path: Path) -> None:
    settings = replaced(Disentangle(), {"recipe.epochs": 2, "tested": 0.2, "held_out": 0.2})
    run = open_run(RunSpec(DATASET, network, str(tmp_path / "store"), settings, batch_size=5))
    assert complete_run(run) == "complete"
    rows = run.store.read("heads", run.run_id, "seed-0").set_index("kind")
    assert rows.loc["head", "orthogonality"] < 1e-5
    address = f"infodisent@{tmp_path / 'store' / rows.loc['head', 'file']}"
    found = load(address).network.feature_map
    assert (found.rows, found.columns) == (side, side)
    shown = open_run(
        RunSpec(DATASET, address, str(tmp_path / "store"), replaced(Prototypes(), {"n_measured": 3}), batch_size=5)
    )
    assert complete_run(shown) == "complete"
    store = shown.store
    measured = set(store.classes_of("prototype_measures", shown.run_id))
    assert {"purity", "part_purity", "correctness", "completeness", "contrastivity"} <= measured
    for class_id in store.classes_of("prototype_decisions", shown.run_id):
        assert store.read("prototype_decisions", shown.run_id, class_id)["sum_error"].abs().max() < 1e-4
    patches = store.read("prototypes", shown.run_id, "positive")
    height, width = shown.size
    assert set(patches["w"]) == {width // side}
    assert (patches["y"] + patches["h"] <= height).all()
    page = build(store, tmp_path / "pages")
    pages = [path.read_text() for path in page.parent.rglob("*.html")]
    assert sum("prototype" in text for text in pages) > 3
