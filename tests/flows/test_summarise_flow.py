"""The flow on an embedded Prefect server: classes, a failure beside them, artifacts, and the same tables as without."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from xvcore.data import open_dataset
from xvcore.runs.run import open_run
from xvcore.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=240):
        yield


def test_one_class_fails_and_the_others_are_done(server: None, tmp_path: Path) -> None:
    from flows.families.summarise import COMMAND, flow
    from xvcore.parameters import replaced
    from xvcore.visual_summaries.settings import VisualSummaries

    dataset = "partbirds?classes=2&images=3"
    classes = [info.class_id for info in open_dataset(dataset).classes]
    quick = {
        "skip_misclassified": "false",
        "least_drop": "none",
        "mask.smooth_steps": "4",
        "mask.crisp_steps": "4",
        "proposals.n_boxes": "30",
    }
    request = COMMAND.request.filled(
        replaced(VisualSummaries(), quick),
        dataset=dataset,
        models=["partbirds_narrow@random?classes=3"],
        classes=classes,
        store=str(tmp_path / "store"),
        class_map={each: str(index) for index, each in enumerate(classes)},
        batch_size=2,
    )
    run = open_run(request.specs()[0])
    blocked = tmp_path / "store" / "parts" / "candidates" / run.run_id
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder has to be: no candidates can be written")
    state = flow(request, return_state=True)
    assert state.is_failed()
    assert "3 of 3 classes failed" in str(state.message)
    blocked.unlink()
    assert flow(request) == {run.run_id: classes}
    records = [Store(request.store).read("class_runs", run.run_id, each).iloc[0] for each in classes]
    assert [record["status"] for record in records] == ["complete"] * 3
    assert [record["attempt"] for record in records] == [2] * 3


def test_a_pool_that_the_server_does_not_know_is_said_before_anything_is_recorded(server: None, tmp_path: Path) -> None:
    from flows.families.summarise import COMMAND, flow
    from xvcore.errors import XvError

    request = COMMAND.request(
        dataset="partbirds?classes=2&images=3",
        models=["partbirds_narrow@random?classes=3"],
        classes=["plain"],
        store=str(tmp_path / "store"),
        class_map={"plain": "0"},
        fan_out={"to": "pool", "pool": "moon"},
    )
    with pytest.raises(XvError, match=r"no deployment 'summarise-shard/moon'.*xv up"):
        flow(request)
    assert Store(request.store).runs().empty
