"""Shares of right answers, and what a timing says."""

import time

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from xvcore.analyses.questions.accuracy import Throughput, TopAccuracy


def test_accuracy_is_the_share_of_ranks_up_to_k_among_the_images_with_a_prediction():
    table = pd.DataFrame(
        {"model": ["m"] * 5 + ["n"] * 2, "class_id": list("xxyyyxy"), "rank_target": [1, 5, 6, None, 2, 1, None]}
    )
    found = TopAccuracy()(table).set_index("model")
    assert found.loc["m", ["n_images", "n_errors"]].tolist() == [4, 1]
    assert found.loc["m", ["top1", "top5"]].tolist() == [0.25, 0.75]
    assert found.loc["m", "top5_error"] == pytest.approx((0.75 * 0.25 / 4) ** 0.5)
    by_class = TopAccuracy((2,))(table, by=("model", "class_id")).set_index(["model", "class_id"])
    assert by_class.loc[("m", "y"), "top2"] == 0.5
    assert np.isnan(by_class.loc[("n", "y"), "top2"])
    assert by_class.loc[("n", "y"), "n_errors"] == 1


def test_it_takes_ranks_as_the_store_gives_them():
    table = pd.DataFrame({"model": "m", "rank_target": pd.array([1, None, 3], dtype="Int32")})
    assert TopAccuracy((1,))(table)["top1"].tolist() == [0.5]


class Slow(nn.Module):
    """Takes 10 ms, the first time 200."""

    def __init__(self):
        super().__init__()
        self.linear, self.calls = nn.Linear(3, 4), []

    def forward(self, images):
        time.sleep(0.01 if self.calls else 0.2)
        self.calls.append(tuple(images.shape))
        return self.linear(images.mean(dim=(2, 3)))


def test_throughput_is_batch_size_by_the_median_after_the_first_batches(make_classifier):
    network = Slow()
    row = Throughput(batch_size=6, n_batches=3, n_warm=1)([make_classifier(network, "slow")]).iloc[0]
    assert network.calls == [(6, 3, 32, 32)] * 4
    assert 0.01 <= row["seconds"] < 0.15
    assert row["images_per_second"] == pytest.approx(6 / row["seconds"])
    assert row["n_parameters"] == 16
    assert (row["model"], row["device"], row["batch_size"], row["input_h"]) == ("slow", "cpu", 6, 32)
    assert row["n_threads"] == torch.get_num_threads()
