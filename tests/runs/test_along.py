"""One pass a batch for *predict* and what comes behind it, with the numbers of a pass for each."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torch import nn

from xvcore.errors import XvError
from xvcore.evidence.settings import PatchEvidence
from xvcore.models import Preprocessing, wrap
from xvcore.runs import pipeline
from xvcore.runs.run import Run, RunSpec, announce, conclude, open_run
from xvcore.runs.settings import Settings
from xvcore.units.settings import TopUnits

SETTINGS = {"evidence": PatchEvidence(prediction_too=True), "units": TopUnits(units_shown=0)}
N_IMAGES, BATCH = 5, 2


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of drawn images; of *b* one image comes twice and one file is broken."""
    generator = np.random.default_rng(4)
    for class_id in ("a", "b"):
        (tmp_path / "pictures" / class_id).mkdir(parents=True)
        for index in range(N_IMAGES):
            pixels = generator.integers(0, 255, (40, 36, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / class_id / f"{index}.png")
    first = (tmp_path / "pictures" / "b" / "0.png").read_bytes()
    (tmp_path / "pictures" / "b" / "1b.png").write_bytes(first)
    (tmp_path / "pictures" / "b" / "2b.png").write_bytes(first[:60])
    return tmp_path / "pictures"


def opened(pictures: Path, store: Path, settings: Settings, *behind: nn.Module) -> Run:
    layers = (nn.Conv2d(3, 6, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), *behind, nn.Linear(6, 2))
    network = nn.Sequential(*layers)
    with_values = [each for each in network.parameters() if each.ndim]
    generator = np.random.default_rng(0)
    for each in with_values:
        each.data.copy_(nn.Parameter(each.new_tensor(generator.normal(size=tuple(each.shape)) / 5)))
    wrapped = wrap(network, preprocessing=Preprocessing((32, 32), None), labels=["a", "b"], name="tiny")
    return open_run(RunSpec(f"imagefolder:{pictures}", "tiny", str(store), settings, batch_size=BATCH), wrapped)


@pytest.mark.parametrize("method", SETTINGS)
def test_there_is_one_pass_a_batch(pictures: Path, tmp_path: Path, method: str) -> None:
    run = opened(pictures, tmp_path / "store", SETTINGS[method])
    pipeline.begin(run, "a")
    pipeline.run_stage(run, "a", "predict")  # and what is found out of the network once
    pipeline.run_stage(run, "a", pipeline.stages_of(run)[1].verb)
    passes: list[int] = []
    run.classifier.network.register_forward_hook(lambda _module, images, _scores: passes.append(len(images[0])))
    pipeline.complete_class(run, "b")
    assert sum(passes) == N_IMAGES + 1, "each image that can be read once"


@pytest.mark.parametrize("method", SETTINGS)
def test_a_pass_of_its_own_gives_the_same(pictures: Path, tmp_path: Path, method: str) -> None:
    """To the last bit, also where images are left out."""
    shared = opened(pictures, tmp_path / "shared", SETTINGS[method])
    assert pipeline.complete_run(shared) == "complete"
    announce(shared, ["a", "b"])
    for class_id in ("a", "b"):
        for number in range(2):  # as if the process had been killed between the two
            run = opened(pictures, tmp_path / "own", SETTINGS[method])
            if number == 0:
                announce(run, ["a", "b"])
                pipeline.begin(run, class_id)
            pipeline.run_stage(run, class_id, pipeline.stages_of(run)[number].verb)
        pipeline.finish(run, class_id)
    pipeline.gather(run)
    assert conclude(run) == "complete"
    compared = []
    for path in sorted((tmp_path / "own" / "tables").rglob("*.parquet")):
        name = path.parent.name
        if name in ("runs", "class_runs"):
            continue
        one, other = (
            pd.read_parquet(tmp_path / each / path.relative_to(tmp_path / "own")) for each in ("own", "shared")
        )
        pd.testing.assert_frame_equal(one, other, check_exact=True)
        compared.append(name)
    assert {"predictions", "evidence" if method == "evidence" else "unit_top"} <= set(compared)


def test_what_the_next_stage_refuses_is_predicted_all_the_same(pictures: Path, tmp_path: Path) -> None:
    run = opened(pictures, tmp_path / "store", PatchEvidence(), nn.ReLU(), nn.Linear(6, 6), nn.Sigmoid())
    with pytest.raises(XvError, match="no exact evidence"):
        pipeline.complete_class(run, "a")
    assert run.store.n_rows("predictions", run.run_id, "a") == N_IMAGES
