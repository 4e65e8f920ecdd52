"""What evidence and units of the same networks say beside a comparison: the shares they should, of the right runs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bird_store import record, run_row

from xvcore.comparison.query import class_statistics, other_runs
from xvcore.store import Store
from xvcore.store.encode import map_cell

ROBIN, WREN = "robin", "wren"


def write_run(store: Store, run_id: str, method: str, model: str = "net", minute: int = 0, **changes: object) -> None:
    row = {**run_row(run_id, model, [ROBIN, WREN], minute=minute), "method": method, "status": "complete"}
    store.write_run({**row, **changes})
    for class_id in (ROBIN, WREN):
        store.write("class_runs", run_id, class_id, [record(class_id)])


def write_evidence(store: Store, run_id: str, maps: list[np.ndarray], class_id: str = ROBIN) -> None:
    rows = [
        {
            "image_id": f"{number}.png", "target_idx": 3, "target_kind": "label", "resolution": "decision",
            "evidence_map": map_cell(values), "map_h": values.shape[0], "map_w": values.shape[1],
            "logit": float(values.mean()), "positive_frac": float((values > 0).mean()),
        }
        for number, values in enumerate(maps)
    ]  # fmt: skip
    other = {**rows[0], "target_idx": 5, "target_kind": "prediction", "logit": 99.0}
    store.write("evidence", run_id, class_id, [*rows, other])


def write_units(store: Store, run_id: str) -> None:
    def unit(number: int, top: str | None, share: float | None, *, dead: bool = False) -> dict:
        return {"unit": number, "n_images": 9, "dead": dead, "top_class_id": top, "top_class_share": share}

    for layer in ("a", "b"):
        rows = [unit(0, ROBIN, 1.0), unit(1, ROBIN, 0.5), unit(2, WREN, 0.9), unit(3, None, None, dead=True)]
        store.write("units", run_id, layer, rows)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    write_run(store, "summaries", "visual-summaries")
    return store


def only(store: Store, class_id: str = ROBIN) -> dict:
    (row,) = class_statistics(store, ["summaries"], class_id).to_dict("records")
    return row


@pytest.mark.parametrize(
    ("values", "share"),
    [(np.ones((4, 5)), 0.1), (np.eye(1, 20), 1.0), (np.arange(20.0)[None], 37 / 190), (-np.ones((2, 10)), None)],
)
def test_the_strongest_tenth_has_the_share_that_it_has(store: Store, values: np.ndarray, share: float | None) -> None:
    write_run(store, "evidence-run", "evidence", minute=1)
    write_evidence(store, "evidence-run", [values, values])
    row = only(store)
    assert (row["of_evidence"], row["n_evidence_images"]) == ("evidence-run", 2)
    assert row["mean_logit"] == pytest.approx(values.mean(), rel=1e-3), "not that of another output"
    assert row["strongest_chance"] == pytest.approx(0.1)
    assert row["strongest_share"] == (pytest.approx(share, rel=1e-3) if share is not None else None)


def test_units_of_a_class_are_counted_over_the_layers_beside_equal_shares(store: Store) -> None:
    write_run(store, "units-run", "top-activations", minute=1)
    write_units(store, "units-run")
    row = only(store)
    assert (row["of_units"], row["n_units"], row["n_class_units"]) == ("units-run", 6, 4)
    assert row["n_class_units_chance"] == pytest.approx(3)
    assert row["class_unit_share"] == pytest.approx(0.75)
    assert pd.isna(only(store, "a class that the units were not shown")["of_units"])


def test_only_complete_runs_of_the_same_network_and_data_count_and_the_latest_of_them(store: Store) -> None:
    assert other_runs(store, ["summaries"]) == {"summaries": {}}
    assert class_statistics(store, ["summaries"], ROBIN).drop(columns=["model", "class_id"]).isna().all(axis=None)
    write_run(store, "of-another-network", "evidence", "other", minute=9)
    write_run(store, "on-other-data", "evidence", minute=9, dataset="cub:/data")
    write_run(store, "of-other-weights", "evidence", minute=9, weights_sha256="cd" * 32)
    write_run(store, "unfinished", "evidence", minute=9, status="running")
    assert other_runs(store, ["summaries"]) == {"summaries": {}}
    write_run(store, "early", "evidence", minute=2)
    write_run(store, "late", "evidence", minute=3)
    assert other_runs(store, ["summaries"]) == {"summaries": {"evidence": "late"}}
