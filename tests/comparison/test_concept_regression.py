import numpy as np
import pytest
from sklearn.linear_model import Lasso

from xvcore.comparison.method.concept_regression import ConceptRegression
from xvcore.errors import XvError


def world(seed=0, n=120, n_concepts=3):
    """Return concepts of patches, activations of a network that has all of them, and of one that lacks the first."""
    rng = np.random.default_rng(seed)
    truth = rng.gamma(0.3, size=(n, n_concepts))
    mixing = np.abs(rng.normal(size=(2, n_concepts, 12)))
    knows = truth @ mixing[0] + 0.01 * rng.random((n, 12))
    lacks = truth[:, 1:] @ mixing[1, 1:] + 0.01 * rng.random((n, 12))
    return truth, knows, lacks, np.arange(n) // 4


def test_concepts_of_exact_products_are_found_up_to_order_and_scale():
    truth, knows, _, _ = world()
    found = ConceptRegression(n_concepts=3, max_iter=2000).concepts(knows)
    assert found.min() >= 0
    correlation = np.corrcoef(truth.T, found.T)[:3, 3:]
    assert correlation.max(axis=1) == pytest.approx(1, abs=0.05)


def test_a_network_that_lacks_a_concept_does_not_predict_it():
    truth, knows, lacks, images = world()
    method = ConceptRegression()
    own, other = (method.scores(truth, each, images) for each in (knows, lacks))
    assert own.min() > 0.9
    assert other[0] < 0.3
    assert other[1:].min() > 0.9


def test_a_score_is_the_literal_lasso_on_patches_of_other_images():
    truth, _, lacks, images = world(3)
    method = ConceptRegression(n_folds=3, alpha=0.2)
    predicted = np.zeros(len(truth))
    for fold in range(3):
        seen, test = images % 3 != fold, images % 3 == fold
        x = (lacks - lacks[seen].mean(axis=0)) / lacks[seen].std(axis=0)
        y = (truth[:, 1] - truth[seen, 1].mean()) / truth[seen, 1].std()
        predicted[test] = Lasso(0.2, max_iter=100_000).fit(x[seen], y[seen]).predict(x[test])
    expected = np.corrcoef(predicted, truth[:, 1])[0, 1]
    assert method.scores(truth, lacks, images)[1] == pytest.approx(expected, abs=5e-3)


def test_activations_of_noise_score_nothing():
    truth, _, _, images = world(1)
    noise = np.random.default_rng(9).random((len(truth), 12))
    assert np.abs(ConceptRegression().scores(truth, noise, images)).max() < 0.3


def test_a_concept_that_never_varies_has_no_score():
    _, knows, _, images = world()
    assert np.isnan(ConceptRegression().scores(np.ones((len(images), 1)), knows, images)).all()


def test_what_cannot_be_factorised_or_divided_is_refused():
    truth, knows, _, images = world()
    with pytest.raises(XvError, match="at least 0"):
        ConceptRegression().concepts(knows - 10)
    with pytest.raises(XvError, match="5 folds"):
        ConceptRegression().scores(truth, knows, images * 0)
