"""Classifiers of regions added to a network's scores: what they must gain, what they must not, and what they never see."""

import shutil

import numpy as np
import pytest
from coloured_patches import N_SUMMARISED, drawn, write_images, write_run
from PIL import Image

from xvcore.errors import ParameterError, UnknownNameError
from xvcore.parameters import replaced
from xvcore.query import table
from xvcore.report import build
from xvcore.study.method.specialise import (
    RegionClassifiers,
    Stack,
    box_means,
    discriminants,
    folds,
    log_loss,
)
from xvcore.study.runs.build import build_study
from xvcore.study.runs.specialise import specialise_study
from xvcore.study.settings import Specialise, Study

NAMES = replaced(Study(), {"tasks": "name", "trials": "6"})
N_HELD_OUT = 30
SEEDS = {"blue": 7, "green": 8, "red": 9}


def study_of(folder, *, is_telling: bool):
    write_images(folder / "images", N_SUMMARISED + N_HELD_OUT, is_telling=is_telling)
    store = write_run(folder / "images", folder / "store", is_telling=is_telling).store
    build_study(store, folder / "s.html", NAMES)
    return store


@pytest.fixture(scope="module")
def telling(tmp_path_factory):
    folder = tmp_path_factory.mktemp("telling")
    return folder, study_of(folder, is_telling=True)


def test_where_the_region_decides_and_the_network_cannot_see_it_there_is_a_gain(telling) -> None:
    _, store = telling
    found = specialise_study(store, Specialise())
    rows = found.set_index("added")
    summaries = rows.loc["summaries"]
    assert summaries["accuracy"] == 1
    assert summaries["gain_low"] > 0.1
    assert summaries["p_value"] < 1e-3
    assert summaries["n_lost"] == 0
    assert summaries["weight"] > 0
    assert (rows["n_held_out"] == 3 * N_HELD_OUT).all()
    # A patch is a sixteenth of an image: what is said of the whole tells little more than the network.
    assert rows.loc["whole_images", "above_low"] > 0
    assert summaries["n_gained"] - summaries["n_lost"] == round(summaries["gain"] * summaries["n_held_out"])
    parts = table(store, "specialised_parts")
    assert (parts["auc"] == 1).all()
    subjects = table(store, "study_subjects")
    assert set(parts["subject_id"]) <= set(subjects["subject_id"])


def test_the_page_shows_the_gain_and_each_classifier_beside_its_summary(telling) -> None:
    folder, store = telling
    specialise_study(store, Specialise())
    build(store, folder / "site")
    (path,) = (folder / "site" / "study").rglob("index.html")
    text = path.read_text()
    for words in ("Specialisation: what", "random regions", "whole images", "AUC of its classifier", "p (McNemar)"):
        assert words in text
    rows = table(store, "specialisations").set_index("added")
    assert f"{100 * rows.loc['summaries', 'accuracy_alone']:.0f} %" in text.replace("\u202f", " ").replace("\xa0", " ")


def test_where_the_region_tells_nothing_there_is_no_gain_beyond_the_interval(tmp_path) -> None:
    rows = specialise_study(study_of(tmp_path, is_telling=False), Specialise()).set_index("added")
    summaries = rows.loc["summaries"]
    assert summaries["gain_low"] <= 0 <= summaries["gain_high"]
    assert summaries["p_value"] > 0.05
    assert abs(summaries["weight"]) < 0.5


def test_images_held_out_move_neither_classifiers_nor_weights(telling, tmp_path) -> None:
    """What is fitted is equal to the last digit whatever the images that judge are, and however many."""
    folder, _ = telling
    shutil.copytree(folder / "images", tmp_path / "images")
    store = write_run(tmp_path / "images", tmp_path / "store", is_telling=True).store
    build_study(store, tmp_path / "s.html", NAMES)
    before = specialise_study(store, Specialise()).set_index("added")
    looked_at = table(store, "predictions")
    judged = table(store, "specialised_images")
    assert not set(judged["image_id"]) & set(looked_at["image_id"])
    assert len(judged) == 4 * 3 * N_HELD_OUT
    shown = judged[judged["added"] == "none"].groupby("class_id")["is_right"].mean()
    assert shown.mean() == pytest.approx(before.loc["summaries", "accuracy_alone"])
    for number in range(N_SUMMARISED, N_SUMMARISED + N_HELD_OUT):
        for class_id in ("blue", "green", "red"):
            path = tmp_path / "images" / class_id / f"{number:03d}.png"
            path.unlink()
            if number < N_SUMMARISED + 10:
                Image.fromarray(drawn("red", number, is_telling=True, seed=SEEDS[class_id])[0]).save(path)
    after = specialise_study(store, Specialise()).set_index("added")
    fitted = ["temperature", "weight", "n_training", "n_parts", "n_boxes"]
    assert after[fitted].equals(before[fitted])
    assert not after["accuracy"].equals(before["accuracy"])


def test_copies_of_training_images_and_files_that_cannot_be_read_do_not_judge(tmp_path) -> None:
    store = study_of(tmp_path, is_telling=True)
    images = tmp_path / "images"
    shutil.copy(images / "red" / "000.png", images / "red" / "900.png")
    shutil.copy(images / "blue" / "001.png", images / "red" / "901.png")
    shutil.copy(images / "red" / f"{N_SUMMARISED:03d}.png", images / "red" / "902.png")
    (images / "red" / "903.png").write_bytes(b"no picture")
    rows = specialise_study(store, Specialise())
    assert (rows["n_held_out"] == 3 * N_HELD_OUT).all()
    assert (rows["n_left_out"] == 4).all()
    judged = table(store, "specialised_images")
    left_out = judged[judged["left_out"].notna()].set_index("image_id")["left_out"]
    assert left_out["red/900.png"] == left_out["red/901.png"] == "copy of a training image"
    assert left_out["red/902.png"] == "copy of another image"
    assert "red/903.png" in left_out.index
    assert judged.loc[judged["left_out"].notna(), "is_right"].isna().all()


def test_where_nothing_is_held_out_others_can_be_named(tmp_path) -> None:
    write_images(tmp_path / "images", N_SUMMARISED, is_telling=True)
    store = write_run(tmp_path / "images", tmp_path / "store", is_telling=True).store
    build_study(store, tmp_path / "s.html", NAMES)
    with pytest.raises(ParameterError, match="held_out=DATASET"):
        specialise_study(store, Specialise())
    with pytest.raises(ParameterError, match="held_out=DATASET"):
        specialise_study(store, Specialise(held_out=f"imagefolder:{tmp_path / 'images'}"))
    write_images(tmp_path / "fresh", 5, is_telling=True, seed=3)
    rows = specialise_study(store, Specialise(held_out=f"imagefolder:{tmp_path / 'fresh'}"))
    assert set(rows["n_held_out"]) == {15}
    assert set(rows["held_out"]) == {f"imagefolder:{tmp_path / 'fresh'}"}
    with pytest.raises(UnknownNameError, match="layer"):
        specialise_study(store, Specialise(held_out=f"imagefolder:{tmp_path / 'fresh'}", layer="nowhere"))


def test_features_of_a_box_are_the_mean_of_its_pixels_once_cells_are_enlarged() -> None:
    rng = np.random.default_rng(0)
    maps, cell = rng.normal(size=(4, 5, 7)), 8
    pixels = maps.repeat(cell, axis=1).repeat(cell, axis=2)
    height, width = pixels.shape[1:]
    corners = [(3, 1, 20, 30), (0, 0, width, height), (9, 9, 1, 1), (width - 4, height - 9, 4, 9)]
    boxes = np.array([(x / width, y / height, w / width, h / height) for x, y, w, h in corners])
    expected = [pixels[:, y : y + h, x : x + w].mean(axis=(1, 2)) for x, y, w, h in corners]
    assert box_means(maps, boxes) == pytest.approx(np.array(expected))


def test_the_strongest_box_is_that_of_all_places() -> None:
    rng = np.random.default_rng(1)
    maps = rng.normal(size=(3, 6, 6))
    classifiers = RegionClassifiers(rng.normal(size=(2, 3)), np.array([0.5, -1]), np.array([[1 / 3, 0.5], [1, 1]]))
    places = [(x / 12, y / 12) for x in range(9) for y in range(7)]
    first = box_means(maps, np.array([(x, y, 1 / 3, 0.5) for x, y in places])) @ classifiers.weight[0] + 0.5
    whole = maps.mean(axis=(1, 2)) @ classifiers.weight[1] - 1
    assert classifiers.strongest(maps) == pytest.approx([first.max(), whole])


def test_a_discriminant_is_zero_between_the_means_and_nan_where_there_is_nothing() -> None:
    rng = np.random.default_rng(2)
    own, other = rng.normal((2, 0, 0), 1, (40, 3)), rng.normal(size=(50, 3))
    found = discriminants([own, own[:0]], [other, other], np.ones((2, 2)), shrinkage=0.1)
    middle = (own.mean(axis=0) + other.mean(axis=0)) / 2
    assert found.weight[0] @ middle + found.offset[0] == pytest.approx(0)
    assert found.weight[0] @ own.mean(axis=0) + found.offset[0] > 0
    assert np.isnan(found.weight[1]).all()
    # Without shrinkage and with equal groups it is Fisher's: invariant to any linear map of the features.
    turn = rng.normal(size=(3, 3))
    plain, turned = (
        discriminants([own @ each], [other @ each], np.ones((1, 2)), shrinkage=0.0) for each in (np.eye(3), turn)
    )
    said = own @ plain.weight[0] + plain.offset[0]
    assert own @ turn @ turned.weight[0] + turned.offset[0] == pytest.approx(said)


def test_what_says_nothing_gets_no_weight_and_a_class_without_parts_neither_gains_nor_loses() -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(600) % 3
    logits = rng.normal(size=(600, 3)) + np.eye(3)[labels]
    owner = np.array([0, 0, 1])
    told = (labels[:, None] == owner) * 3.0
    noise = Stack.fitted(logits, rng.normal(size=(600, 3)), labels, owner)
    telling = Stack.fitted(logits, rng.normal(size=(600, 3)) + told, labels, owner)
    assert noise.weight < 0.2  # three standard errors
    assert telling.weight > 0.5
    evidence = telling.evidence(rng.normal(size=(600, 3)) + told)
    assert (evidence[:, 2] == 0).all()
    assert np.abs(evidence.mean(axis=0)).max() < 0.2
    nothing = Stack.fitted(logits, np.full((600, 3), np.nan), labels, owner)
    assert np.allclose(nothing.evidence(np.full((2, 3), np.nan)), 0)
    # The minimum of a convex loss: a step to any side makes it worse.
    said = rng.normal(size=(600, 3)) + told
    best = Stack.fitted(logits, said, labels, owner)

    def loss(temperature: float, weight: float) -> float:
        total = temperature * logits + weight * best.evidence(said)
        return log_loss(total, labels).mean() + 1e-3 * ((temperature - 1) ** 2 + weight**2)

    here = loss(best.temperature, best.weight)
    assert all(loss(best.temperature + a, best.weight + b) >= here for a in (-0.1, 0, 0.1) for b in (-0.1, 0, 0.1))


def test_folds_have_a_share_of_each_class() -> None:
    labels = np.repeat([0, 1, 2], [10, 5, 7])
    found = folds(labels, 5, np.random.default_rng(0))
    for label in range(3):
        counts = np.bincount(found[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
