"""The machine's score: its formula, LPIPS against the package, and accepted summaries above random clusters."""

import numpy as np
import pytest
import torch
from study_store import NETWORKS, picture_of, write_store

from xvcore.errors import ParameterError
from xvcore.models import Preprocessing, load, wrap
from xvcore.parameters import replaced
from xvcore.query import table
from xvcore.study.method.machine_score import MachineScore
from xvcore.study.method.similarity import LayerSimilarity, Lpips
from xvcore.study.runs.build import build_study
from xvcore.study.runs.judge import judge_study
from xvcore.study.settings import Judge, Study


def similar(n_members: int, n_others: int, inside: float, across: float) -> np.ndarray:
    """Members are alike by ``inside``, others among themselves too, and the two by ``across``."""
    n = n_members + n_others
    found = np.full((n, n), across)
    found[:n_members, :n_members] = found[n_members:, n_members:] = inside
    return found


def test_the_score_is_the_formula() -> None:
    score = MachineScore(alpha=2.0)(similar(12, 12, -0.1, -0.6), 12)
    delta = (-0.1 - -0.6) - (-0.6 - -0.1)
    assert score.mis == pytest.approx(1 / (1 + np.exp(-2.0 * delta)))
    assert (score.two_afc, score.n_references) == (1.0, 9)


def test_chance_is_a_half_and_steepness_moves_the_score_to_its_limit() -> None:
    assert MachineScore()(similar(9, 9, -0.3, -0.3), 9).mis == pytest.approx(0.5)
    assert MachineScore()(similar(9, 9, -0.3, -0.3), 9).two_afc == pytest.approx(0.5)
    generator = np.random.default_rng(0)
    noisy = similar(15, 15, -0.2, -0.25) + generator.normal(0, 0.1, (30, 30))
    noisy = (noisy + noisy.T) / 2
    steep = MachineScore(alpha=1e6)(noisy, 15)
    assert steep.mis == pytest.approx(steep.two_afc)


def test_a_query_is_no_reference_of_its_own() -> None:
    """Were it among them, pictures like nothing but themselves would be found with ease."""
    alone = np.full((20, 20), -1.0)
    np.fill_diagonal(alone, 0.0)
    assert MachineScore()(alone, 10).mis == pytest.approx(0.5)


def test_few_pictures_give_few_references() -> None:
    assert MachineScore()(similar(3, 12, -0.1, -0.6), 3).n_references == 2


def small() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, 2), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3, 2), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 2),
    )  # fmt: skip


@pytest.fixture
def trunk():
    return wrap(small(), preprocessing=Preprocessing((64, 64), None), labels=["a", "b"], name="small")


def test_equal_pictures_are_most_alike_and_order_changes_nothing(trunk) -> None:
    pictures = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    pictures[5] = pictures[0]
    found = LayerSimilarity(trunk)(pictures)
    assert found[0, 5] == found[2, 2] == 0
    assert (found <= 0).all()
    assert np.allclose(found, found.T)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert np.allclose(LayerSimilarity(trunk)(pictures[order]), found[np.ix_(order, order)], atol=1e-6)


def test_lpips_has_no_heads_for_any_network(trunk) -> None:
    pytest.importorskip("lpips", reason="the extra study is not installed")
    with pytest.raises(ParameterError, match="no heads"):
        Lpips(trunk)


def test_a_judge_without_a_network_is_refused(tmp_path) -> None:
    store = write_store(tmp_path / "store")
    build_study(store, tmp_path / "s.html", replaced(Study(), {"trials": 6}), picture_of=picture_of)
    with pytest.raises(ParameterError, match="name the network that judges"):
        judge_study(store, Judge())


def test_summaries_score_above_their_controls_and_the_table_says_who_judged(tmp_path, trunk) -> None:
    store = write_store(tmp_path / "store")
    made = build_study(store, tmp_path / "s.html", replaced(Study(), {"trials": 6}), picture_of=picture_of)
    judge_study(store, Judge(), picture_of=picture_of, similarity=LayerSimilarity(trunk))
    scores = table(store, "machine_scores", run_id=made.study_id)
    assert set(scores["judge"]) == {"layers small"}
    assert not scores["is_circular"].any()
    subjects = table(store, "study_subjects", run_id=made.study_id)
    assert set(scores["subject_id"]) == set(subjects["subject_id"])
    means = table(store, "machine_means", run_id=made.study_id).set_index(["judged_model", "subject_group"])
    for model in NETWORKS:
        assert means.loc[(model, "random_cluster"), "above_low"] > 0
        assert means.loc[(model, "found"), "mis"] > means.loc[(model, "raw_region"), "mis"]


@pytest.mark.slow
def test_lpips_is_the_package_s_with_a_trunk_from_a_file(test_data) -> None:
    lpips = pytest.importorskip("lpips", reason="the extra study is not installed")
    path = test_data / "weights" / "squeezenet1_1.pt"
    if not path.exists():
        pytest.skip(f"no {path}")
    judge = Lpips(load(f"squeezenet1_1@{path}"))
    pictures = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    found = judge(pictures)
    network = judge._network
    assert isinstance(network, lpips.LPIPS)
    with torch.no_grad():
        for one in range(4):
            for other in range(4):
                said = float(network(pictures[one : one + 1], pictures[other : other + 1], normalize=True))
                assert -found[one, other] == pytest.approx(said, abs=1e-5)
