import numpy as np
import pandas as pd
import pytest

from xvcore.errors import StoreError
from xvcore.query import failures, table
from xvcore.store.encode import rle_decode, rle_encode
from xvcore.visual_summaries.query import (
    compare,
    mean_summaries,
    members,
    neighbours,
    recluster,
    similarity,
    summaries,
)
from xvcore.visual_summaries.query.compare import overlap

ROBIN, OWL, GOOSE = "n01558993", "n01622779", "n01855672"
ALEXNET, VGG = "alexnet-visual-summaries-1", "vgg16-visual-summaries-2"


def test_summaries_are_counted_per_class_and_network(store):
    frame = summaries(store)
    assert frame.index.tolist() == ["American robin", "great grey owl"]
    assert frame["alexnet"].tolist() == [1, 0]
    assert frame["vgg16"].tolist() == [2, pd.NA]
    assert summaries(store, model="vgg16", class_id=ROBIN).to_dict() == {"vgg16": {"American robin": 2}}


def test_the_mean_counts_classes_without_summaries_and_leaves_out_failed_ones(store):
    frame = mean_summaries(store)
    assert frame.loc["alexnet"].tolist() == [0.5, pytest.approx(np.std([1, 0], ddof=1)), 2]
    assert frame.loc["vgg16", ["mean", "n_classes"]].tolist() == [2, 1]


def test_two_runs_of_one_network_are_told_apart(own_store):
    run = own_store.runs().to_dict("records")[0]
    own_store.write_run({**run, "run_id": "alexnet-visual-summaries-9"})
    own_store.write(
        "class_runs", "alexnet-visual-summaries-9", ROBIN, [{"class_name": "American robin", "status": "complete"}]
    )
    assert set(summaries(own_store).columns) == {ALEXNET, "alexnet-visual-summaries-9", "vgg16"}
    with pytest.raises(StoreError, match=f"alexnet has several runs of a class; name one of them: {ALEXNET}"):
        compare(own_store, "alexnet", "vgg16")
    assert len(compare(own_store, ALEXNET, "vgg16")) == 1


def test_a_run_of_another_method_has_no_summaries_to_count(own_store):
    before = summaries(own_store)
    run = own_store.runs().to_dict("records")[0]
    own_store.write_run({**run, "run_id": "alexnet-evidence-3", "method": "evidence"})
    rows = [{"class_name": "American robin", "status": "complete"}]
    own_store.write("class_runs", "alexnet-evidence-3", ROBIN, rows)
    pd.testing.assert_frame_equal(summaries(own_store), before)
    assert len(compare(own_store, "alexnet", "vgg16")) == 1


def test_a_store_without_a_complete_class_has_no_summaries(own_store):
    for run_id, class_id in ((ALEXNET, ROBIN), (ALEXNET, OWL), (VGG, ROBIN)):
        own_store.remove("class_runs", run_id, class_id)
    assert summaries(own_store).empty
    assert mean_summaries(own_store).empty
    assert compare(own_store, "alexnet", "vgg16").empty


def test_what_failed_or_is_missing_is_listed(store):
    frame = failures(store)
    columns = ["run_id", "class_id", "class_name", "status", "error"]
    assert frame[columns].values.tolist() == [
        [VGG, OWL, "great grey owl", "failed", "out of memory"],
        [VGG, GOOSE, "goose", "missing", None],
    ]
    assert set(frame["dataset"]) == {"imagenet:x?split=val"}
    assert failures(store, run_id=ALEXNET).empty


def test_two_networks_are_compared_on_the_images_they_share(store):
    frame = compare(store, "alexnet", "vgg16")
    assert frame["class_name"].tolist() == ["American robin"]
    row = frame.iloc[0]
    assert (row["n_summaries_a"], row["n_summaries_b"], row["n_shared"]) == (1, 2, 3)
    masks = table(store, "masks", filters={"kind": "sharp"}, class_id=ROBIN)
    by_model = {name: group.set_index("image_id") for name, group in masks.groupby("model")}
    shared = sorted(set(by_model["alexnet"].index) & set(by_model["vgg16"].index))
    a, b = (by_model[name].loc[shared] for name in ("alexnet", "vgg16"))
    expected = []
    for cells in zip(a["rle"], b["rle"], strict=True):
        one, other = map(rle_decode, cells)
        expected.append((one & other).sum() / (one | other).sum())
    assert sorted(expected) == [0.5, 1.0, 1.0]
    assert row["overlap"] == pytest.approx(np.mean(expected))
    assert row["area_a"] == pytest.approx(a["area_frac"].median())
    assert row["area_b"] == pytest.approx(b["area_frac"].median())
    assert row["drop_b"] == pytest.approx(b["prob_drop"].median())
    swapped = compare(store, "vgg16", "alexnet").iloc[0]
    assert swapped["overlap"] == row["overlap"]
    assert swapped["area_a"] == row["area_b"]


def test_a_network_compared_with_itself_agrees(store):
    frame = compare(store, "alexnet", ALEXNET)
    assert frame["overlap"].tolist() == [1.0, 1.0]
    assert frame["n_shared"].tolist() == [4, 4]


def test_an_unknown_network_is_refused(in_parts):
    with pytest.raises(StoreError, match="did you mean alexnet"):
        compare(in_parts, "alexnett", "vgg16")


def test_masks_of_different_sizes_are_compared_at_the_coarser_one():
    coarse = np.random.default_rng(0).random((7, 9)) < 0.4
    fine = np.kron(coarse, np.ones((3, 3), dtype=bool))
    assert overlap(rle_encode(coarse), rle_encode(fine)) == 1.0
    assert overlap(rle_encode(fine), rle_encode(~coarse)) == 0.0
    assert overlap(rle_encode(np.zeros((2, 2), bool)), rle_encode(np.zeros((4, 4), bool))) == 0.0


def test_members_come_with_the_exemplar_first_and_their_pixels(store):
    frame = members(store, ALEXNET, ROBIN, 0)
    assert frame["region_id"].tolist() == [2, 4, 0]
    assert frame["pixels"][0].shape == (6, 5, 3)
    assert (frame["pixels"][0] == 20).all()
    assert frame["pixels"][1] is None
    assert members(store, ALEXNET, ROBIN, 0, n=1)["region_id"].tolist() == [2]
    assert members(store, ALEXNET, ROBIN, 77).empty


def test_similarity_is_a_symmetric_matrix_of_the_stored_pairs(store):
    found = similarity(store, ALEXNET, ROBIN)
    assert found.region_ids.tolist() == list(range(6))
    assert found.scores.dtype == np.float32
    np.testing.assert_array_equal(found.scores, found.scores.T)
    pairs = table(store, "similarity", run_id=ALEXNET, class_id=ROBIN)
    for row in pairs.itertuples():
        assert found.scores[row.region_i, row.region_j] == np.float32(row.score)
    assert set(np.diag(found.scores)) == {pairs["score"].max()}
    with pytest.raises(StoreError, match="no regions of 'nothing'"):
        similarity(store, ALEXNET, "nothing")


def test_similarity_knows_gaps_in_the_numbers_pairs_that_were_dropped_and_the_diagonal(own_store):
    own_store.write("similarity", ALEXNET, ROBIN, [{"region_i": 3, "region_j": 40, "score": 0.5}])
    own_store.write("regions", ALEXNET, ROBIN, [])
    box = {"image_id": "im0", "x": 0, "y": 0, "w": 1, "h": 1}
    candidates = [{"region_id": k, **box, "self_similarity": k / 100} for k in (1, 3, 40)]
    own_store.write("candidates", ALEXNET, ROBIN, candidates)
    found = similarity(own_store, ALEXNET, ROBIN)
    assert found.region_ids.tolist() == [3, 40]
    np.testing.assert_allclose(found.scores, np.float32([[0.03, 0.5], [0.5, 0.4]]))
    own_store.write("similarity", ALEXNET, ROBIN, [{"region_i": 3, "region_j": k, "score": 0.5} for k in (40, 41)])
    assert np.isnan(similarity(own_store, ALEXNET, ROBIN).scores[1, 2])


def test_neighbours_are_the_most_alike(store):
    scores = similarity(store, ALEXNET, ROBIN).scores.copy()
    np.fill_diagonal(scores, -1)
    frame = neighbours(store, ALEXNET, ROBIN, 3, n=4)
    assert frame["region_id"].tolist() == np.argsort(-scores[3], kind="stable")[:4].tolist()
    assert frame["score"].is_monotonic_decreasing


def test_regions_are_clustered_again_from_the_stored_similarity(in_parts):
    frame = recluster(in_parts, ALEXNET, ROBIN)
    groups = frame.groupby("cluster_id")["region_id"].apply(set).tolist()
    assert sorted(map(sorted, groups)) == [[0, 2, 4], [1, 3, 5]]
    assert frame.groupby("cluster_id")["is_exemplar"].sum().tolist() == [1, 1]


def test_another_clustering_can_be_given(in_parts):
    from xvcore.visual_summaries.method.clustering import Clustering

    frame = recluster(in_parts, ALEXNET, ROBIN, Clustering(preference_scale=0.0))
    assert frame["cluster_id"].nunique() > 2
