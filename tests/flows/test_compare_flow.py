"""The flow of comparisons on an embedded Prefect server: one run of all networks, in shards, published, not done again."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from compared_networks import CLASS, DATASET, NARROW, QUICK, WIDE, summaries

from xvcore.query import table
from xvcore.store import Store

__all__ = ["summaries"]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=240):
        yield


def test_networks_are_compared_in_one_run_that_is_published(server: None, summaries: Path, tmp_path: Path) -> None:
    from flows.families.compare import COMMAND, flow
    from xvcore.comparison.settings import Comparison
    from xvcore.parameters import replaced

    shutil.copytree(summaries, tmp_path / "store")
    request = COMMAND.request.filled(
        replaced(Comparison(), QUICK),
        dataset=DATASET,
        models=[WIDE, NARROW],
        classes=[CLASS],
        store=str(tmp_path / "store"),
        class_map={CLASS: "0"},
        batch_size=4,
    )
    (run_id,) = flow(request)
    store = Store(tmp_path / "store")
    status = store.status(run_id).iloc[0]
    assert (status["method"], status["n_complete"], status["n_failed"]) == ("comparison", 1, 0)
    assert bool(store.runs().set_index("run_id").loc[run_id, "published"])
    for name in ("part_matches", "part_verdicts", "cross_deletions", "comparison_wins", "comparison_networks"):
        assert len(table(store, name, run_id=run_id)), name
        assert (tmp_path / "store" / "tables" / name / f"{run_id}.parquet").exists()
    records = store.record(run_id, CLASS).to_pylist()
    assert flow(request) == {run_id: [CLASS]}
    assert store.record(run_id, CLASS).to_pylist() == records
