"""Laws of training heads over classes: resumed is the same, files are networks, what is damaged is made anew."""

import dataclasses
import json
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
import torch

from xvcore.data import open_dataset
from xvcore.errors import WeightsError, XvError
from xvcore.keys import file_name
from xvcore.models import Preprocessing, load, wrap
from xvcore.parameters import replaced
from xvcore.prototypes.method.head import InfoDisent
from xvcore.prototypes.settings import Disentangle
from xvcore.prototypes.stages import cache as cached
from xvcore.prototypes.stages import train_heads
from xvcore.runs.pipeline import complete_class, complete_run
from xvcore.runs.run import Run, RunSpec, announce, open_run
from xvcore.runs.stage import pipelines

SETTINGS = replaced(
    Disentangle(),
    {"recipe.epochs": 6, "recipe.batch_size": 8, "recipe.learning_rate": 0.05, "held_out": 0.2, "tested": 0.2},
)
DATASET = "partbirds?classes=3&images=10"


def opened(folder: Path, settings: Disentangle = SETTINGS, model: str = "partbirds_narrow@random?classes=7") -> Run:
    return open_run(RunSpec(dataset=DATASET, model=model, store=str(folder), settings=settings, batch_size=4))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = opened(tmp_path_factory.mktemp("store"))
    assert complete_run(run) == "complete"
    return run


def file_of(run: Run, seed: int = 0) -> Path:
    (row,) = (
        row for row in run.store.read("heads", run.run_id, f"seed-{seed}").to_dict("records") if row["kind"] == "head"
    )
    return Path(run.store.url) / row["file"]


def test_network_probe_and_head_are_side_by_side_and_epochs_are_rows(done: Run) -> None:
    rows = done.store.read("heads", done.run_id, "seed-0").set_index("kind")
    assert set(rows.index) == {"backbone", "probe", "head"}
    assert set(rows["n_train"] + rows["n_held_out"] + rows["n_tested"]) == {40}
    assert rows.loc["head", "orthogonality"] < 1e-5
    epochs = done.store.read("head_epochs", done.run_id, "seed-0")
    assert set(epochs["kind"]) == {"head", "probe"}
    assert epochs.loc[epochs["kind"] == "head", "epoch"].tolist() == list(range(1, 7))


def test_a_file_is_a_network_that_classifies_by_itself(done: Run) -> None:
    classifier = load(f"infodisent@{file_of(done)}")
    assert isinstance(classifier.network, InfoDisent)
    assert classifier.name == "infodisent-partbirds_narrow"
    assert [output.name for output in classifier.outputs or ()] == [info.class_name for info in done.dataset.classes]
    assert classifier.preprocessing == done.classifier.preprocessing
    images = torch.rand(3, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    below = done.classifier.network[:12](done.classifier.preprocessing.normalise(images))
    scores = classifier.network.head(below.flatten(2).mT)
    torch.testing.assert_close(classifier.logits(images), scores)
    logits = {f"{name}": each for name, each in classifier.network.backbone.state_dict().items()}
    assert all(torch.equal(each, done.classifier.network.state_dict()[name]) for name, each in logits.items())


def test_killed_and_started_again_gives_the_same_file(done: Run, tmp_path: Path, monkeypatch) -> None:
    class Killed(BaseException):
        pass

    run = opened(tmp_path)
    monkeypatch.setattr(train_heads, "EVERY", 1)
    calls = []
    put = train_heads.put

    def put_then_die(place, relative, data):
        put(place, relative, data)
        calls.append(relative)
        if len(calls) == 3:
            raise Killed

    monkeypatch.setattr(train_heads, "put", put_then_die)
    with pytest.raises(Killed):
        complete_run(run)
    assert [name.endswith(".training") for name in calls] == [True] * 3
    monkeypatch.setattr(train_heads, "put", put)
    again = opened(tmp_path)
    assert complete_run(again) == "complete"
    assert file_of(again).read_bytes() == file_of(done).read_bytes()
    left = [path.name for path in file_of(again).parent.iterdir()]
    assert left == ["seed-0.pt"]


def test_a_damaged_draft_is_left_aside_and_a_lost_or_damaged_file_made_anew(done: Run, tmp_path: Path, caplog) -> None:
    quick = replaced(SETTINGS, {"recipe.epochs": 1})
    run = opened(tmp_path, quick)
    file = Path(run.store.url) / f"heads/{file_name(run.run_id)}/seed-0.pt"
    file.parent.mkdir(parents=True)
    file.with_name(".seed-0.training").write_bytes(file_of(done).read_bytes()[:-100])
    assert complete_run(run) == "complete"
    assert "seed-0.training is damaged" in caplog.text
    expected = file.read_bytes()
    flipped = bytearray(expected)
    flipped[len(flipped) // 2] ^= 1
    for damage in (file.unlink, lambda: file.write_bytes(flipped)):
        damage()
        assert complete_run(opened(tmp_path, quick)) == "complete"
        assert file.read_bytes() == expected


def test_a_network_without_a_preference_is_never_right(tmp_path: Path) -> None:
    spec = opened(tmp_path, replaced(SETTINGS, {"recipe.epochs": 1})).spec
    outputs = [(info.class_id, str(info.class_idx)) for info in open_dataset(DATASET).classes]
    run = open_run(dataclasses.replace(spec, class_map=tuple(outputs)))
    run.classifier.network[-1].weight.zero_()
    run.classifier.network[-1].bias.zero_()
    assert complete_run(run) == "complete"
    rows = run.store.read("heads", run.run_id, "seed-0").set_index("kind")
    assert (rows.loc["backbone", ["accuracy_train", "accuracy_held_out", "accuracy_tested"]] == 0).all()


def test_something_is_left_to_train_on() -> None:
    with pytest.raises(XvError, match=r"held_out = 0.5 and tested = 0.6 leave too few images"):
        replaced(Disentangle(), {"held_out": 0.5, "tested": 0.6})


def test_features_are_computed_once_and_those_that_are_damaged_again(done: Run, tmp_path: Path, monkeypatch) -> None:
    run = opened(tmp_path)
    classes = [info.class_id for info in run.dataset.classes]
    announce(run, classes)
    complete_class(run, classes[0])
    name = cached.cache_id(run)
    assert cached.cache(run, classes[0]) == 0
    names, values, _ = cached.features_of(run, classes[0])
    assert values.shape == (10, 256, 16)
    rows = run.store.read("features", name, classes[0])
    rows.at[2, "digest"] = "0" * 64
    run.store.write("features", name, classes[0], rows.to_dict("records"))
    with pytest.raises(XvError, match=names[2].replace("?", ".")):
        cached.features_of(run, classes[0])
    assert cached.cache(run, classes[0]) == 1
    _, again, _ = cached.features_of(run, classes[0])
    torch.testing.assert_close(torch.from_numpy(values), torch.from_numpy(again), rtol=2e-3, atol=1e-4)  # other batches


def test_features_are_those_of_the_network_in_half_precision(done: Run) -> None:
    class_id = done.dataset.classes[0].class_id
    names, values, _ = cached.features_of(done, class_id)
    from xvcore.runs.images import pictures

    images = done.classifier.preprocessing.normalise(pictures(done, class_id, names))
    maps = done.classifier.network[:12](images).flatten(2).mT
    torch.testing.assert_close(torch.from_numpy(values), maps.half(), rtol=2e-3, atol=1e-3)


def test_a_part_that_is_lost_or_changed_is_trained_anew_and_what_is_there_is_left(done: Run) -> None:
    path = file_of(done)
    before, time = path.read_bytes(), path.stat().st_mtime_ns
    train_heads.train_heads(done)
    assert path.stat().st_mtime_ns == time
    path.write_bytes(before[:-1] + b"x")
    train_heads.train_heads(done)
    assert path.read_bytes() == before


def test_the_split_depends_on_ids_and_seed_alone() -> None:
    names = [f"image {number}" for number in range(40)]
    labels = torch.arange(40) % 2
    first = train_heads.split(names, labels, 0, 0.1, 0.3)
    assert [len(part) for part in first] == [24, 4, 12]
    assert sorted(torch.cat(first).tolist()) == list(range(40))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0)).tolist()
    moved = train_heads.split([names[place] for place in order], labels[order], 0, 0.1, 0.3)
    assert [{order[place] for place in part.tolist()} for part in moved] == [set(part.tolist()) for part in first]
    assert not torch.equal(train_heads.split(names, labels, 1, 0.1, 0.3)[2], first[2])


def test_the_preserving_mode_keeps_every_logit(tmp_path: Path) -> None:
    changes = {"head.kind": "preserving", "purity.epochs": 3, "purity.rate": 0.01}
    run = opened(tmp_path, replaced(SETTINGS, changes))
    assert complete_run(run) == "complete"
    epochs = run.store.read("head_epochs", run.run_id, "seed-0")
    purity = epochs.loc[epochs["kind"] == "rotation", "purity"]
    assert purity.iloc[-1] > purity.iloc[0]
    classifier = load(f"infodisent@{file_of(run)}")
    images = torch.rand(3, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(classifier.logits(images), run.classifier.logits(images), rtol=0, atol=1e-5)
    assert (classifier.network.head.rotation.matrix() - torch.eye(16)).abs().max() > 0.01


def test_what_does_not_end_in_a_mean_cannot_be_preserved(tmp_path: Path) -> None:
    run = opened(tmp_path, replaced(SETTINGS, {"head.kind": "preserving"}), "alexnet@random?classes=4&input=64")
    with pytest.raises(XvError, match="no mean over positions"):
        train_heads.mean_head(run)


def test_a_network_in_memory_is_refused_before_anything_is_trained(tmp_path: Path, small) -> None:
    spec = RunSpec(dataset=DATASET, model="small", store=str(tmp_path), settings=SETTINGS)
    run = open_run(spec, wrap(small.network, preprocessing=Preprocessing((40, 48), None), name="small"))
    with pytest.raises(XvError, match="cannot be built from its name"):
        train_heads.train_heads(run)


@pytest.mark.parametrize(
    "change",
    [
        {"below": "os:system"},
        {"below": 3},
        {"below": "no_such_network"},
        {"n_outputs": -1},
        {"feature_map": {"module": "relu5", "rows": -4}},
        {"feature_map": {"evil": 1}},
        {"head": {"kind": "other"}},
        {"preprocessing": {"input_px": [0, 0]}},
        {"preprocessing": None},
    ],
)
def test_a_file_that_says_something_else_of_itself_is_refused(done: Run, tmp_path: Path, change) -> None:
    content = torch.load(file_of(done), weights_only=True)
    content["xv"]["infodisent"] |= change
    torch.save(content, tmp_path / "changed.pt")
    with pytest.raises(WeightsError, match=r"what xv writes|do not fit"):
        load(f"infodisent@{tmp_path / 'changed.pt'}")


def test_a_file_without_its_description_is_refused(done: Run, tmp_path: Path) -> None:
    content = torch.load(file_of(done), weights_only=True)
    torch.save(content["state_dict"], tmp_path / "bare.pt")
    with pytest.raises(WeightsError, match="says of itself"):
        load(f"infodisent@{tmp_path / 'bare.pt'}")
    with pytest.raises(WeightsError, match="are of infodisent, not of partbirds_narrow"):
        load(f"partbirds_narrow@{file_of(done)}")


def test_the_run_names_all_that_decides_it(done: Run) -> None:
    params = json.loads(done.store.runs()["params"].iloc[0])
    assert params["head"]["rotation"] == "cayley"
    assert params["recipe"]["epochs"] == 6


def test_the_picture_of_a_run_has_a_bar_for_each_accuracy(done) -> None:
    (shown,) = pipelines["disentangle"].pictures(done, pd.DataFrame())
    heads = done.store.read("heads", done.run_id, "seed-0")
    drawn = ElementTree.fromstring(shown.data)
    bars = [each for each in drawn if each.tag.endswith("rect")]
    told = heads["accuracy_tested"].dropna().tolist()
    assert [float(each.get("width")) for each in bars] == pytest.approx([260 * each for each in told], abs=0.1)
    assert shown.media_type == "image/svg+xml"
