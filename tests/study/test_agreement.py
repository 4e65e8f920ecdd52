"""Agreement and intervals, against published numbers and slow restatements."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from xvcore.study.method.agreement import cohen_kappa, counts_of, fleiss_kappa, modal_share
from xvcore.study.method.intervals import by_chance, difference_interval, share_interval, wilson

FLEISS_1971 = np.array([
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
])  # fmt: skip
"""The worked example that textbooks and encyclopaedias print: ten subjects, fourteen raters, five categories."""


def test_kappa_of_the_worked_example_is_the_printed_one() -> None:
    assert fleiss_kappa(FLEISS_1971) == pytest.approx(0.210, abs=5e-4)


def test_kappa_is_one_where_all_agree_and_about_zero_by_chance() -> None:
    assert fleiss_kappa(np.array([[4, 0], [0, 4], [4, 0]])) == pytest.approx(1)
    drawn = np.random.default_rng(0).multinomial(8, [0.5, 0.3, 0.2], 3000)
    assert abs(fleiss_kappa(drawn)) < 0.02


def test_kappa_is_not_known_of_one_category_or_of_single_answers() -> None:
    assert np.isnan(fleiss_kappa(np.array([[3], [3]])))
    assert np.isnan(fleiss_kappa(np.array([[1, 0], [0, 1]])))
    assert np.isnan(modal_share(np.array([[1, 0]])))


def test_questions_with_one_answer_change_nothing() -> None:
    alone = np.zeros((1, 5), np.int64)
    alone[0, 3] = 1
    both = np.vstack([FLEISS_1971, alone])
    assert fleiss_kappa(both) == fleiss_kappa(FLEISS_1971)
    assert modal_share(both) == modal_share(FLEISS_1971)


def test_counts_do_not_depend_on_the_order_of_answers() -> None:
    pairs = [("q1", "a"), ("q1", "b"), ("q2", "a"), ("q1", "a")]
    assert counts_of(pairs).tolist() == counts_of(pairs[::-1]).tolist() == [[2, 1], [1, 0]]


def test_cohens_kappa_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    one, other = generator.integers(0, 4, (2, 60)).tolist()
    assert cohen_kappa(one, other) == pytest.approx(cohen_kappa_score(one, other))


@pytest.mark.parametrize(("right", "n"), [(0, 9), (5, 20), (20, 20)])
def test_wilsons_interval_is_that_of_scipy(right, n) -> None:
    low, high = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == pytest.approx((low, high), abs=1e-12)


def test_an_interval_holds_wilsons_and_widens_with_hard_questions() -> None:
    people, questions = (each.ravel() for each in np.meshgrid(np.arange(12), np.arange(10)))
    hard = questions < 5  # all are wrong on one half of the questions: ten answers, not 120, tell the share
    low, high = share_interval(~hard, people, questions)
    inner = wilson(60, 120)
    assert low < inner[0] - 0.1
    assert high > inner[1] + 0.1


def test_chance_lies_in_the_interval_of_random_answers() -> None:
    generator = np.random.default_rng(2)
    people, questions = (each.ravel() for each in np.meshgrid(np.arange(6), np.arange(20)))
    inside = 0
    for _ in range(40):
        low, high = share_interval(generator.random(120) < 0.25, people, questions, n_draws=200)
        inside += low <= 0.25 <= high
    assert inside >= 36


def test_a_difference_is_seen_where_there_is_one_and_only_there() -> None:
    generator = np.random.default_rng(3)
    people, questions = (each.ravel() for each in np.meshgrid(np.arange(8), np.arange(20)))
    good, bad = (generator.random(160) < share for share in (0.9, 0.4))
    low, _ = difference_interval((good, people, questions), (bad, people, questions))
    assert low > 0.2
    low, high = difference_interval((good, people, questions), (good, people, questions))
    assert low < 0 < high


def test_the_test_against_chance_is_exact() -> None:
    assert by_chance(3, 3, 0.5) == pytest.approx(0.125)
    assert np.isnan(by_chance(0, 0, 0.5))
