"""A small store whose every answer can be worked out by hand.

Two networks on three classes: alexnet completed robin and owl; vgg16 completed robin, failed on owl and never began
goose. A summary of alexnet on robin has three regions; vgg16 has two summaries on robin and one that was rejected.
"""

import datetime

import numpy as np
import pytest

from xvcore.store import Store
from xvcore.store.encode import picture, rle_encode

ROBIN, OWL, GOOSE = "n01558993", "n01622779", "n01855672"
RUNS = {"alexnet": "alexnet-visual-summaries-1", "vgg16": "vgg16-visual-summaries-2"}
IMAGES = ["im0", "im1", "im2", "im3"]


def mask_of(model, index, side=16):
    """Return a mask: a square; vgg16's is the upper half of alexnet's on even images, equal on odd ones."""
    mask = np.zeros((side, side), dtype=bool)
    mask[4:12, 2 : 6 + index] = True
    if model == "vgg16" and index % 2 == 0:
        mask[8:12] = False
    return mask


def similarity_of(n):
    """Return a similarity matrix of n regions in two groups: even numbers are alike, odd ones are alike."""
    i, j = np.indices((n, n))
    scores = np.where((i - j) % 2 == 0, 0.9, 0.1) - 0.001 * (i + j)
    return scores.astype(np.float32)


def clusters(model, class_id):
    accepted = {("alexnet", ROBIN): [True], ("vgg16", ROBIN): [True, False, True]}.get((model, class_id), [])
    return [
        {
            "cluster_id": k,
            "position": k + 1,
            "exemplar_region_id": k,
            "n_regions": 3,
            "n_images": 3,
            "score": 1.0 - 0.1 * k,
            "accepted": is_accepted,
        }
        for k, is_accepted in enumerate(accepted)
    ]


def regions(n):
    return [
        {
            "region_id": k,
            "image_id": IMAGES[k % 4],
            "x": 4 * k,
            "y": 2,
            "w": 5,
            "h": 6,
            "proposal_rank": k,
            "cluster_id": 0 if k in (0, 2, 4) else -1,
            "is_exemplar": k == 2,
            "sim_exemplar": [0.5, None, 1.0, None, 0.7, None][k],
            "kept": True,
            "crop": picture(np.full((6, 5, 3), 10 * k, np.uint8), "png") if k != 4 else None,
        }
        for k in range(n)
    ]


def write_class(store, model, class_id):
    run_id = RUNS[model]
    rows = [{"image_id": name, "prob_target": 0.5, "correct": True} for name in IMAGES]
    store.write("predictions", run_id, class_id, rows)
    masks = [
        {
            "image_id": name,
            "kind": kind,
            "rle": rle_encode(mask_of(model, k)),
            "area_frac": float(mask_of(model, k).mean()),
            "prob_drop": 0.9 + 0.01 * k,
        }
        for k, name in list(enumerate(IMAGES))[0 if model == "alexnet" else 1 :]
        for kind in ("smooth", "sharp")
    ]
    store.write("masks", run_id, class_id, masks)
    scores = similarity_of(6)
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    store.write(
        "similarity",
        run_id,
        class_id,
        [{"region_i": i, "region_j": j, "score": float(scores[i, j])} for i, j in pairs],
    )
    store.write("regions", run_id, class_id, regions(6))
    store.write("clusters", run_id, class_id, clusters(model, class_id))


def build(url, **options):
    store = Store(url, **options)
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    names = {ROBIN: "American robin", OWL: "great grey owl", GOOSE: "goose"}
    for index, (class_id, name) in enumerate(names.items()):
        row = {"class_idx": index, "class_name": name, "wnid": class_id}
        store.write("classes", "imagenet:x?split=val", class_id, [row])
    for model, run_id in RUNS.items():
        run = {"run_id": run_id, "model": model, "status": "complete", "method": "visual-summaries", "created_at": at}
        asked = [ROBIN, OWL] if model == "alexnet" else [ROBIN, OWL, GOOSE]
        store.write_run({**run, "dataset": "imagenet:x?split=val", "class_ids": asked, "finished_at": at})
        write_class(store, model, ROBIN)
        if model == "alexnet":
            write_class(store, model, OWL)
        for class_id in (ROBIN, OWL):
            failed = model == "vgg16" and class_id == OWL
            record = {"status": "failed" if failed else "complete", "error": "out of memory" if failed else None}
            n_clusters = sum(each["accepted"] for each in clusters(model, class_id))
            row = {"class_name": names[class_id], "n_summaries": n_clusters, "n_clusters": n_clusters, **record}
            store.write("class_runs", run_id, class_id, [row])
    return store


@pytest.fixture(scope="session")
def in_parts(tmp_path_factory):
    """A store of which nothing is published."""
    return build(tmp_path_factory.mktemp("parts") / "store")


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """The same store, all runs published."""
    store = build(tmp_path_factory.mktemp("published") / "store")
    for run_id in RUNS.values():
        store.publish(run_id)
    return store


@pytest.fixture(scope="session")
def half_published(tmp_path_factory):
    """The same store, one of two runs published."""
    store = build(tmp_path_factory.mktemp("half") / "store")
    store.publish(RUNS["vgg16"])
    return store


@pytest.fixture(params=["in_parts", "published", "half_published"])
def store(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def own_store(tmp_path):
    """A store that the test may change."""
    return build(tmp_path / "store")
