import numpy as np
import pytest
import torch

from xvcore.errors import XvError
from xvcore.visual_summaries.method.clustering import Clustering


def apcluster(scores, damping=0.9, max_iter=1000, convergence_iter=100, scale=1.3, seed=0, shift="all"):
    """Spec 2.6 in loops over messages: the shift, the preference, the messages, the exemplars, the refinement."""
    s = np.array(scores, dtype=np.float64)
    n = len(s)
    if shift == "pairs":
        most = max(s[i, k] for i in range(n) for k in range(n) if i != k)
        for i in range(n):
            s[i, i] = min(s[i, i], most)
    s -= s.max()
    np.fill_diagonal(s, scale * np.median(s))
    s += (np.finfo(float).eps * s + np.finfo(float).tiny * 100) * np.random.RandomState(seed).standard_normal((n, n))
    r, a = np.zeros((n, n)), np.zeros((n, n))
    history = []
    for _ in range(max_iter):
        r_old, a_old = r.copy(), a.copy()
        for i in range(n):
            for k in range(n):
                others = [a[i, j] + s[i, j] for j in range(n) if j != k]
                r[i, k] = (1 - damping) * (s[i, k] - max(others)) + damping * r_old[i, k]
        for i in range(n):
            for k in range(n):
                support = sum(max(0.0, r[j, k]) for j in range(n) if j not in (i, k))
                new = support if i == k else min(0.0, r[k, k] + support)
                a[i, k] = (1 - damping) * new + damping * a_old[i, k]
        history.append(tuple(np.diag(a) + np.diag(r) > 0))
        recent = history[-convergence_iter:]
        if len(history) > convergence_iter and len(set(recent)) == 1 and any(recent[0]):
            break
    exemplars = [k for k in range(n) if history[-1][k]]

    def assigned():
        return [exemplars.index(i) if i in exemplars else int(np.argmax(s[i, exemplars])) for i in range(n)]

    for cluster, labels in [(c, assigned()) for c in range(len(exemplars))]:
        members = [i for i in range(n) if labels[i] == cluster]
        exemplars[cluster] = members[int(np.argmax([sum(s[j, i] for j in members) for i in members]))]
    return [exemplars[label] for label in assigned()]


def clustered_scores(seed, n=14, k=3):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(k, 3))[rng.integers(0, k, n)] * 3 + rng.normal(size=(n, 3))
    scores = 100 * np.exp(-((points[:, None] - points[None]) ** 2).sum(-1) / 8)
    return scores + rng.random((n, n))  # not symmetric, as self-matches are not


@pytest.mark.parametrize("shift", ["pairs", "all"])
@pytest.mark.parametrize("seed", range(4))
def test_labels_equal_a_literal_affinity_propagation(seed, shift):
    scores = clustered_scores(seed)
    found = Clustering(shift=shift)(torch.from_numpy(scores))
    assert found.exemplars[found.labels].tolist() == apcluster(scores, shift=shift)
    assert found.converged
    assert 100 < found.n_iter < 1000
    assert found.exemplars.tolist() == sorted(found.exemplars.tolist())


def test_separate_groups_are_found_whatever_the_scale_and_offset_of_the_scores():
    truth = np.repeat([0, 1, 2], [8, 6, 5])
    rng = np.random.default_rng(1)
    scores = np.where(truth[:, None] == truth[None], 80.0, 2.0) + rng.random((19, 19))
    for moved in (scores, 3 * scores - 50):
        labels = Clustering()(torch.from_numpy(moved)).labels.numpy()
        assert len(set(zip(labels, truth, strict=True))) == len(set(labels)) == 3


def test_the_order_of_the_regions_does_not_matter():
    scores = clustered_scores(7, n=40)
    order = np.random.default_rng(0).permutation(40)
    plain = Clustering()(torch.from_numpy(scores))
    mixed = Clustering()(torch.from_numpy(scores[np.ix_(order, order)]))
    assert torch.equal(torch.from_numpy(order)[mixed.exemplars[mixed.labels]], plain.exemplars[plain.labels][order])


def test_the_same_seed_gives_the_same_clusters_and_the_scores_stay_as_they_were():
    scores = torch.from_numpy(clustered_scores(3, n=30))
    before = scores.clone()
    first, second = Clustering()(scores, seed=5), Clustering()(scores, seed=5)
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(scores, before)


def test_what_does_not_converge_is_recorded_and_not_warned_of():
    found = Clustering(max_iter=5)(torch.from_numpy(clustered_scores(0)))
    assert not found.converged
    assert found.n_iter == 5
    assert len(found.labels) == 14


def test_no_exemplar_means_no_cluster():
    found = Clustering(max_iter=1)(torch.from_numpy(clustered_scores(0)))
    assert found.labels.tolist() == [-1] * 14
    assert found.exemplars.shape == (0,)
    assert not found.converged


@pytest.mark.parametrize("n", range(6))
@pytest.mark.parametrize("value", [0.0, 7.0])
def test_equal_similarities_are_one_cluster(n, value):
    found = Clustering()(torch.full((n, n), value))
    assert found.labels.tolist() == [0] * n
    assert found.exemplars.tolist() == [0] * min(n, 1)
    assert found.converged


def test_two_regions_are_alone_where_each_prefers_itself():
    scores = torch.tensor([[10.0, 0.0], [0.0, 10.0]])
    assert Clustering(shift="all")(scores).labels.tolist() == [0, 1]
    assert Clustering(shift="all", preference_scale=3.0)(scores).labels.tolist() == [0, 0]


def test_a_higher_scale_of_the_preference_gives_no_more_clusters():
    scores = torch.from_numpy(clustered_scores(2, n=60, k=8))
    counts = [len(Clustering(preference_scale=scale)(scores).exemplars) for scale in (0.1, 1.3, 10.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_similarities_that_are_not_finite_are_refused():
    with pytest.raises(XvError, match="1 similarities"):
        Clustering()(torch.tensor([[1.0, float("nan")], [0.0, 1.0]]))


def test_how_similar_a_region_is_to_itself_matters_to_the_published_shift_only():
    scores = clustered_scores(0)
    raised = scores + np.diag(np.full(len(scores), 40 * scores.max()))
    first, second = (Clustering()(torch.from_numpy(each)) for each in (scores, raised))
    assert torch.equal(first.labels, second.labels)
    assert len(first.exemplars) > 1
    assert len(Clustering(shift="all")(torch.from_numpy(raised)).exemplars) == 1
