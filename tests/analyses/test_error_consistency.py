"""Kappa and class-wise correlation against other implementations."""

from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from xvcore.analyses.analysis import Results
from xvcore.analyses.questions.error_consistency import ErrorConsistency, agreement, class_figure
from xvcore.analyses.runs.error_consistency import findings
from xvcore.errors import ParameterError

SVG = "{http://www.w3.org/2000/svg}"


def drawn(n_images=120, n_classes=8, seed=0):
    """Predictions of three networks: b is related to a, c to none; some images are missing or have no prediction."""
    generator = np.random.default_rng(seed)
    a = generator.integers(1, 12, n_images)
    ranks = {"b": np.where(generator.random(n_images) < 0.6, a, generator.integers(1, 12, n_images)), "a": a}
    ranks["c"] = generator.integers(1, 9, n_images)
    classes = [f"class{k}" for k in generator.integers(n_classes, size=n_images)]
    images = pd.DataFrame({"class_id": classes, "image_id": [f"image{k}" for k in range(n_images)]})
    tables = [images.assign(model=model, rank_target=values) for model, values in ranks.items()]
    tables[0] = tables[0].iloc[10:]
    tables[1].loc[20:25, "rank_target"] = np.nan
    return pd.concat(tables, ignore_index=True).sample(frac=1, random_state=1)


@pytest.mark.parametrize("k", [1, 5])
def test_kappa_is_that_of_scikit_learn_on_the_images_both_have(k):
    table = drawn()
    found = ErrorConsistency(k=k)(table)
    assert found[["model_a", "model_b"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    for row in found.itertuples():
        ranks = [table[table["model"] == model].set_index("image_id")["rank_target"] for model in row[1:3]]
        shared = sorted(set.intersection(*(set(each.dropna().index) for each in ranks)))
        a, b = (each[shared] <= k for each in ranks)
        assert row.n_images == len(shared)
        assert row.kappa == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)
        assert (row.accuracy_a, row.accuracy_b) == pytest.approx((a.mean(), b.mean()))
    kappas = found.set_index(["model_a", "model_b"])["kappa"]
    assert kappas["a", "b"] > 0.3 > kappas["a", "c"]


def test_class_correlations_are_those_of_class_wise_accuracies_on_shared_images():
    table = drawn()
    row = ErrorConsistency(k=5)(table).iloc[0]
    wide = table.pivot(index=["class_id", "image_id"], columns="model", values="rank_target")[["a", "b"]].dropna()
    accuracies = [
        [np.mean([rank <= 5 for rank in wide.loc[each, model]]) for each in sorted(set(wide.index.get_level_values(0)))]
        for model in "ab"
    ]
    assert row["class_correlation"] == pytest.approx(np.corrcoef(accuracies)[0, 1], abs=1e-12)
    assert row["class_rank_correlation"] == pytest.approx(spearmanr(*accuracies).statistic, abs=1e-12)
    assert row["n_classes"] == 8


def test_a_network_is_consistent_with_its_twin_and_opposite_to_its_negative():
    right = np.array([True, True, False, False])
    assert agreement(right, right)["kappa"] == 1
    assert agreement(right, ~right)["kappa"] == -1
    assert agreement(np.ones(4, bool), right)["kappa"] == 0


def test_kappa_is_undefined_where_chance_agrees_always():
    assert np.isnan(agreement(np.ones(5, bool), np.ones(5, bool))["kappa"])
    assert agreement(np.ones(5, bool), np.ones(5, bool))["observed"] == 1


def test_networks_that_share_no_image_have_a_row_without_numbers():
    images = pd.DataFrame({"class_id": "k", "image_id": ["i", "j"], "model": ["a", "b"], "rank_target": [1, 1]})
    row = ErrorConsistency()(images).iloc[0]
    assert (row["n_images"], row["n_classes"]) == (0, 0)
    assert row[["kappa", "class_correlation", "accuracy_a"]].isna().all()


def test_classes_with_few_images_can_be_left_out():
    table = drawn()
    sizes = table.pivot(index=["class_id", "image_id"], columns="model", values="rank_target")
    sizes = sizes[["a", "b"]].dropna().groupby("class_id").size()
    least = int(sizes.median())
    row = ErrorConsistency(least_images=least)(table).iloc[0]
    assert row["n_classes"] == (sizes >= least).sum() < 8


def test_class_accuracy_is_the_mean_of_a_class_for_each_network():
    table = drawn()
    found = ErrorConsistency(k=3).class_accuracy(table)
    chosen = table[(table["model"] == "c") & (table["class_id"] == "class2")]
    assert found.loc["class2", "c"] == pytest.approx((chosen["rank_target"] <= 3).mean())
    figure = class_figure(found, "a", "c", 3)
    assert figure.count("<circle") == 8
    assert "Top-3 accuracy by class" in figure
    assert "c, top-3 accuracy (%)" in figure
    written = " ".join(each.text or "" for each in ElementTree.fromstring(figure).iter(f"{SVG}text"))
    assert all(f"class{index}" in written for index in range(8))


def test_classes_on_one_spot_share_a_name_and_no_name_lies_on_another():
    crowd = pd.DataFrame({"a": [1.0] * 30 + [0.5], "c": [1.0] * 30 + [0.5]}, index=[f"k{n}" for n in range(31)])
    texts = [each.text for each in ElementTree.fromstring(class_figure(crowd, "a", "c", 5)).iter(f"{SVG}text")]
    assert "k0, k1, k2, k3 + 26" in texts
    assert "k30" in texts
    dense = pd.DataFrame(np.random.default_rng(0).random((400, 2)), columns=["a", "c"]).rename(index="class {}".format)
    names = ElementTree.fromstring(class_figure(dense, "a", "c", 5)).iter(f"{SVG}text")
    places = [(float(each.get("x")), float(each.get("y"))) for each in names if (each.text or "").startswith("class ")]
    assert 20 < len(places) < 400
    for index, (x, y) in enumerate(places):
        assert all(abs(x - other_x) >= 30 or abs(y - other_y) >= 12 for other_x, other_y in places[:index])


def test_two_predictions_of_one_image_are_refused():
    table = drawn()
    with pytest.raises(ParameterError, match="has several predictions of image"):
        ErrorConsistency()(pd.concat([table, table[table["model"] == "c"]]))


def test_an_interval_of_kappa_does_not_leave_its_range():
    row = {"model_a": "a", "model_b": "b", "n_images": 12, "observed": 11 / 12, "expected": 0.7, "kappa": 0.72}
    (found,) = findings(Results((), (), {"error_consistency": pd.DataFrame([row])}))
    assert (found.high, found.holds) == (1.0, True)
    assert 0 < found.low < 0.72
    assert "κ = 0.72 (" in found.sentence
