"""Transfer: how well a linear classifier tells the classes of another dataset by the frozen features of each layer.

As in the paper: n training images of each class, at most 50 others of each class to test on, the mean of the classes'
accuracies, several random folds, and a softmax or a linear SVM on top [1]_. All layers and classifiers see the same
folds. How the features of low layers were made smaller, their normalisation, the SVM's cost and the optimiser are not
in the paper.

An L2-penalised linear classifier is a combination of its training examples, so each one is trained in the coordinates
of the space that these span: the same solution at a fraction of the cost.

References
----------
.. [1] M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 5.2, 5.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from xvcore.errors import ParameterError, XvError
from xvcore.models.classifier import Classifier
from xvcore.ops.feature_layers import feature_layers, tapped
from xvcore.parameters import check, parameter
from xvcore.types import Images

Head = Literal["softmax", "svm"]
COLUMNS = ["layer", "head", "n_train", "fold", "accuracy", "accuracy_train", "n_classes", "n_test", "n_features"]
FeatureArray = Float[np.ndarray, "images _features"]


@dataclass(frozen=True, slots=True)
class Transfer:
    """Measures the accuracy of linear classifiers on the features of frozen layers."""

    layers: tuple[str, ...] = parameter((), "Layers, modules' dotted names; empty: the end of every layer")
    grid: int = parameter(
        3, "Maps are averaged to at most so many rows and columns before they are features (not in the paper)", ge=1
    )
    heads: tuple[Head, ...] = parameter(("softmax", "svm"), "Linear classifiers: softmax, svm (one against all)")
    n_train: tuple[int, ...] = parameter((15,), "Training images of each class (the paper: 15, 30, 45, 60)", ge=1)
    n_test: int = parameter(50, "Most test images of each class", ge=1)
    n_folds: int = parameter(5, "Random divisions into training and test images", ge=1)
    cost: float = parameter(
        10.0,
        "Price of an error against the weights' norm, for features of mean square length 1 (not in the paper)",
        ge=0,
    )
    iterations: int = parameter(2000, "Most iterations of a classifier's training (not in the paper)", ge=1)
    seed: int = parameter(0, "Seed of the folds", ge=0)

    def __post_init__(self) -> None:
        check(self)

    def features(self, classifier: Classifier, images: Images) -> dict[str, Float[Tensor, "batch _features"]]:
        """Return the features of a batch of images, layer by layer; join the batches of a dataset yourself.

        Parameters
        ----------
        classifier : the network
        images : RGB in [0, 1] at the network's input size

        Raises
        ------
        UnknownNameError, ParameterError
            A layer that the network does not have or does not run.
        """
        layers = self.layers or feature_layers(classifier.network, classifier.preprocessing.normalise(images[:1]))
        with torch.no_grad(), tapped(classifier.network, layers) as found:
            classifier.logits(images)
        if missing := [name for name in layers if name not in found]:
            raise ParameterError(f"layer {missing[0]} does not run in a forward pass of {classifier.name}")
        return {name: self._vectors(found[name]) for name in layers}

    def __call__(self, features: Mapping[str, FeatureArray], labels: Sequence[str] | np.ndarray) -> pd.DataFrame:
        """Return one row per layer, classifier, number of training images and fold.

        Parameters
        ----------
        features : of all images of the dataset, by layer
        labels : class of each image

        Returns
        -------
        DataFrame
            ``layer``, ``head``, ``n_train`` (of each class), ``fold`` from 0; ``accuracy``: mean of the classes'
            accuracies on the test images, in [0, 1]; ``accuracy_train``: on the training images; ``n_classes``,
            ``n_test`` (images in all), ``n_features``.

        Raises
        ------
        XvError
            Fewer than two classes, or a class with too few images for training and test.
        """
        classes, numbers = np.unique(np.asarray(labels, str), return_inverse=True)
        self._check(features, classes, numbers)
        rows = []
        for n_train in self.n_train:
            for fold in range(self.n_folds):
                train, test = divided(numbers, n_train, self.n_test, np.random.default_rng([self.seed, n_train, fold]))
                for layer, values in features.items():
                    inputs = _spanned(np.asarray(values, np.float64), train, test)
                    for head in self.heads:
                        shares = self._accuracies(head, *inputs, numbers[train], numbers[test])
                        rows.append((layer, head, n_train, fold, *shares, len(classes), len(test), values.shape[1]))
        return pd.DataFrame(rows, columns=COLUMNS)

    def _vectors(self, features: Tensor) -> Float[Tensor, "batch _features"]:
        if features.ndim == 4:
            rows, columns = (min(self.grid, side) for side in features.shape[2:])
            return F.adaptive_avg_pool2d(features, (rows, columns)).flatten(1)
        return features.mean(dim=1) if features.ndim == 3 else features.flatten(1)

    def _check(self, features: Mapping[str, FeatureArray], classes: np.ndarray, numbers: np.ndarray) -> None:
        if len(classes) < 2:
            raise XvError(f"{len(classes)} classes to tell apart: expected at least 2")
        counts, least = np.bincount(numbers), max(self.n_train) + 1
        if counts.min() < least:
            poorest = classes[counts.argmin()]
            raise XvError(f"class {poorest} has {counts.min()} images: Transfer.n_train = {self.n_train} needs {least}")
        for layer, values in features.items():
            if len(values) != len(numbers) or not np.isfinite(values).all():
                raise XvError(f"layer {layer}: {len(values)} finite features expected for {len(numbers)} images")

    def _accuracies(
        self, head: Head, train: np.ndarray, test: np.ndarray, train_labels: np.ndarray, test_labels: np.ndarray
    ) -> tuple[float, float]:
        """Return the mean class accuracy on the test and on the training images."""
        trained = self._head(head).fit(train, train_labels)
        return (
            mean_class_accuracy(trained.predict(test), test_labels),
            mean_class_accuracy(trained.predict(train), train_labels),
        )

    def _head(self, head: Head) -> "_Linear":
        from sklearn.linear_model import LogisticRegression
        from sklearn.svm import LinearSVC

        made: _Linear
        if head == "softmax":
            made = LogisticRegression(C=self.cost, max_iter=self.iterations)
        else:
            made = LinearSVC(C=self.cost, max_iter=50 * self.iterations, dual=True, random_state=0)
        return made


class _Linear(Protocol):
    """A classifier of scikit-learn."""

    def fit(self, inputs: np.ndarray, labels: np.ndarray) -> "_Linear": ...

    def predict(self, inputs: np.ndarray) -> np.ndarray: ...


def divided(
    numbers: Int[np.ndarray, " images"], n_train: int, n_test: int, generator: np.random.Generator
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]:
    """Return which images to train and which to test on, drawn class by class.

    Parameters
    ----------
    numbers : class of each image, from 0
    n_train : training images of each class
    n_test : most test images of each class
    generator : draws them
    """
    train, test = [], []
    for number in range(numbers.max() + 1):
        order = generator.permutation(np.flatnonzero(numbers == number))
        train.append(order[:n_train])
        test.append(order[n_train : n_train + n_test])
    return np.concatenate(train), np.concatenate(test)


def mean_class_accuracy(predicted: Int[np.ndarray, " images"], labels: Int[np.ndarray, " images"]) -> float:
    """Return the mean over the classes of the share of their images that are right."""
    return float(np.mean([(predicted[labels == label] == label).mean() for label in np.unique(labels)]))


def _spanned(values: FeatureArray, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return training and test images in coordinates of the space that the training images span.

    Features are standardised by the training images (constant ones left out), and all are scaled such that the mean
    square length of a training image is 1.
    """
    mean, spread = values[train].mean(axis=0), values[train].std(axis=0)
    is_useful = spread > 1e-12 * max(float(np.abs(mean).max()), 1e-300)
    if not is_useful.any():
        return np.zeros((len(train), 1)), np.zeros((len(test), 1))
    scale = spread[is_useful] * np.sqrt(is_useful.sum())
    train_inputs, test_inputs = ((values[each][:, is_useful] - mean[is_useful]) / scale for each in (train, test))
    if train_inputs.shape[1] <= len(train):
        return train_inputs, test_inputs
    energies, vectors = np.linalg.eigh(train_inputs @ train_inputs.T)
    kept = energies > 1e-10 * energies[-1]
    onto = vectors[:, kept] / np.sqrt(energies[kept])
    return vectors[:, kept] * np.sqrt(energies[kept]), test_inputs @ (train_inputs.T @ onto)
