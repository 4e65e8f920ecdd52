import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xvcore.comparison.method.representation import cka, distances, nearer_share, neighbourhoods, shuffled, wmppc
from xvcore.errors import XvError


def activations(seed, n=12, units=5):
    return np.random.default_rng(seed).gamma(1.0, size=(n, units))


def literal_cka(x, y):
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def literal_wmppc(a, b):
    total = sum(a[:, i].sum() * max(np.corrcoef(a[:, i], b[:, j])[0, 1] for j in range(b.shape[1])) for i in range(5))
    return total / a.sum()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 9))
def test_cka_is_the_formula_and_symmetric(seed, units):
    x, y = activations(seed), activations(seed + 1, units=units)
    assert cka(x, y) == pytest.approx(literal_cka(x, y))
    assert cka(x, y) == pytest.approx(cka(y, x))
    assert 0 <= cka(x, y) <= 1 + 1e-12


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 50))
def test_cka_is_one_under_rotation_scale_and_offset(seed, scale):
    x = activations(seed)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed + 7).normal(size=(5, 5)))
    assert cka(x, scale * x @ rotation + 3.0) == pytest.approx(1)


def test_cka_of_a_single_orthogonal_direction_is_known():
    ones, other = np.array([[1.0], [1], [-1], [-1]]), np.array([[1.0], [-1], [1], [-1]])
    assert cka(ones, other) == pytest.approx(0)
    assert cka(ones, np.hstack([ones, other])) == pytest.approx(1 / np.sqrt(2))
    assert np.isnan(cka(ones, np.ones((4, 2))))


@pytest.mark.parametrize("seed", range(4))
def test_wmppc_is_the_formula(seed):
    a, b = activations(seed), activations(seed + 1, units=3)
    assert wmppc(a, b) == pytest.approx(literal_wmppc(a, b))


def test_wmppc_finds_permuted_units_and_not_those_that_lack():
    a = activations(3)
    assert wmppc(a, 2 * a[:, [3, 1, 4, 0, 2]] + 1) == pytest.approx(1)
    assert wmppc(a, a[:, :1]) < 0.9
    assert wmppc(a[:, :1], a) == pytest.approx(1), "it has a direction"


def test_a_unit_that_never_varies_counts_nothing_but_its_weight():
    a = activations(5, units=1)
    with_dead = np.hstack([a, np.full((12, 1), a.sum() / 12)])
    assert wmppc(with_dead, a) == pytest.approx(0.5)
    assert np.isnan(wmppc(np.zeros((12, 2)), a))
    with pytest.raises(XvError, match="at least 0"):
        wmppc(-a, a)


def test_distances_and_neighbourhoods_have_no_scale():
    x = activations(8)
    assert distances(x) == pytest.approx(distances(7 * x))
    assert distances(x).max() == pytest.approx(1)
    line = np.array([[0.0], [1.0], [3.0]])
    assert neighbourhoods(line) == pytest.approx(np.array([[0, 0.5, 1], [0.5, 0, 0.75], [1, 0.75, 0]]))


def test_the_share_of_nearer_pairs_is_counted_pair_by_pair():
    a = np.array([[0, 1, 2.0], [1, 0, 5], [2, 5, 0]])
    b = np.array([[0, 2, 2.0], [2, 0, 4], [2, 4, 0]])
    assert nearer_share(a, b, np.array([0, 1, 2])) == pytest.approx(1 / 3)
    assert nearer_share(b, a, np.array([0, 1, 2])) == pytest.approx(1 / 3), "the equal pair counts for neither"
    assert nearer_share(a, b, np.array([0, 1])) == 1
    assert np.isnan(nearer_share(a, b, np.array([0])))


def test_images_in_another_order_are_what_chance_gives():
    x = activations(2, n=40)
    assert shuffled(cka, x, x) < 0.4 < cka(x, x)
    with pytest.raises(XvError, match="the same images"):
        cka(x, x[:3])
