"""Transfer: what can be told apart is, what cannot is guessed, and the folds are fair."""

import numpy as np
import pandas as pd
import pytest
import torch

from xvcore.analyses.questions.transfer import Transfer, divided, mean_class_accuracy
from xvcore.errors import ParameterError, XvError
from xvcore.parameters import replaced

LABELS = np.repeat(["one", "three", "two"], 40)
FEW = Transfer(n_train=(10,), n_folds=3)


def blobs(n_features=6, distance=8.0, seed=0):
    generator = np.random.default_rng(seed)
    centres = np.repeat(generator.normal(size=(3, n_features)) * distance, 40, axis=0)
    return centres + generator.normal(size=(120, n_features))


@pytest.mark.parametrize("n_features", [6, 300])
def test_what_is_separable_is_told_apart_and_noise_is_guessed(n_features):
    features = {"good": blobs(n_features), "noise": np.random.default_rng(1).normal(size=(120, n_features))}
    frame = FEW(features, LABELS)
    assert len(frame) == 2 * 2 * 3
    by_layer = frame.groupby(["layer", "head"])["accuracy"].mean()
    assert (by_layer["good"] == 1).all()
    assert (abs(by_layer["noise"] - 1 / 3) < 0.13).all()
    assert (frame["n_test"] == 90).all()
    assert (frame["n_features"] == n_features).all()


def test_a_constant_layer_is_a_guess():
    frame = FEW({"constant": np.full((120, 5), 7.0)}, LABELS)
    np.testing.assert_allclose(frame["accuracy"], 1 / 3)


@pytest.mark.parametrize("head", ["softmax", "svm"])
def test_training_in_the_span_of_the_images_gives_the_same_classifier(head):
    """The oracle trains on all standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    values, settings = blobs(200, distance=0.25), Transfer(n_train=(12,), n_folds=1, heads=(head,), cost=1.0)
    numbers = np.repeat([0, 1, 2], 40)
    train, test = divided(numbers, 12, 50, np.random.default_rng([0, 12, 0]))
    mean, spread = values[train].mean(0), values[train].std(0)
    standard = (values - mean) / spread / np.sqrt(200)
    made = LogisticRegression(max_iter=10_000, tol=1e-9) if head == "softmax" else LinearSVC(max_iter=10**6, tol=1e-9)
    expected = mean_class_accuracy(made.fit(standard[train], numbers[train]).predict(standard[test]), numbers[test])
    found = settings({"layer": values}, LABELS)["accuracy"][0]
    assert found == pytest.approx(expected, abs=1.1 / 84)
    assert 0.4 < found < 1


def test_folds_are_disjoint_balanced_and_differ():
    numbers = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [30, 12, 100]))
    first, second = (divided(numbers, 10, 50, np.random.default_rng(seed)) for seed in (0, 1))
    train, test = first
    assert not set(train) & set(test)
    assert list(np.bincount(numbers[train])) == [10, 10, 10]
    assert list(np.bincount(numbers[test])) == [20, 2, 50]
    assert set(train) != set(second[0])


def test_rare_classes_count_as_much_as_frequent_ones():
    labels = np.array([0] * 90 + [1] * 10)
    assert mean_class_accuracy(np.zeros(100, int), labels) == 0.5


def test_more_training_images_help():
    frame = Transfer(n_train=(2, 25), n_folds=4)({"layer": blobs(40, distance=0.4)}, LABELS)
    means = frame.groupby("n_train")["accuracy"].mean()
    assert means[25] > means[2] + 0.05


def test_the_same_seed_gives_the_same_table():
    features = {"layer": blobs(20, distance=0.5)}
    pd.testing.assert_frame_equal(FEW(features, LABELS), FEW(features, LABELS))


def test_features_are_the_averaged_maps_of_every_layer(small, images):
    found = Transfer(grid=2).features(small, images)
    assert list(found) == ["2", "6"]
    maps = small.network[:3](small.preprocessing.normalise(images))
    expected = maps.unflatten(2, (2, -1)).unflatten(4, (2, -1)).mean((3, 5)).flatten(1)
    torch.testing.assert_close(found["2"], expected)
    torch.testing.assert_close(found["6"], small.network[:7](small.preprocessing.normalise(images)))


def test_what_cannot_be_divided_is_refused():
    with pytest.raises(XvError, match="class two has 40 images"):
        Transfer(n_train=(10, 40))({"layer": blobs()[::-1]}, ["one"] * 60 + ["two"] * 40 + ["three"] * 20 * 3)
    with pytest.raises(XvError, match="1 classes"):
        FEW({"layer": blobs()}, ["one"] * 120)
    with pytest.raises(XvError, match="finite"):
        FEW({"layer": np.full((120, 3), np.nan)}, LABELS)
    with pytest.raises(ParameterError, match="heads"):
        replaced(Transfer(), {"heads": "svm,forest"})
