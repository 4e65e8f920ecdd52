"""A run and rows of it."""

import numpy as np
import pytest

from xvcore.store import Store
from xvcore.store.encode import rle_encode

RUN = {"run_id": "net-vs-1", "model": "net", "status": "running", "method": "visual-summaries", "dataset": "birds"}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.write_run({**RUN, "params_hash": "abc", "class_ids": ["a", "b", "c"]})
    return store


@pytest.fixture
def prediction_rows():
    def rows(n, prob=0.5):
        return [{"image_id": f"i{k:05}", "prob_target": prob, "correct": k % 2 == 0} for k in range(n)]

    return rows


@pytest.fixture
def cluster_rows():
    def rows(n):
        return [
            {"cluster_id": k, "position": k + 1, "n_regions": 3, "n_images": 2, "accepted": k % 2 == 0}
            for k in range(n)
        ]

    return rows


@pytest.fixture
def mask_rows():
    def rows(n, kind="sharp"):
        masks = np.random.default_rng(0).random((n, 12, 9)) < 0.3
        return [
            {
                "image_id": f"i{k:05}",
                "kind": kind,
                "rle": rle_encode(mask),
                "soft_map": np.linspace(0, 1, 6, dtype=np.float32),
                "soft_h": 2,
                "soft_w": 3,
                "area_frac": float(mask.mean()),
            }
            for k, mask in enumerate(masks)
        ]

    return rows
