"""Networks drawn from all that torchvision and timm define give the answers that the plain libraries give."""

import pytest
from benchmarks.networks_sweep import QUESTIONS, Answer, asked, counts, guarded, sample, timm_names, units

from xvcore.models import load
from xvcore.units.method.top_activations import TopActivations

SEED = 0


def drawn() -> list[str]:
    try:
        return sample(15, SEED)
    except ImportError:  # without timm
        return ["resnet18"]


@pytest.mark.slow
@pytest.mark.parametrize("place", range(15))
def test_a_drawn_network_has_no_fault(place):
    pytest.importorskip("timm")
    name = drawn()[place]
    answers = list(asked(name))
    assert not [each for each in answers if each.is_fault]
    assert len(answers) == (1 if answers[0].outcome != "loaded" else 1 + len(QUESTIONS))
    for each in answers:
        if "not affine" in each.outcome:
            assert "differs from the logits by up to" in each.detail


@pytest.mark.slow
def test_the_sweep_has_one_network_of_each_family():
    pytest.importorskip("timm")
    names = timm_names()
    assert len(set(names)) == len(names) >= 120
    assert names[: len(names) // 2] == timm_names(len(names) // 2)


def test_a_question_that_raises_is_a_fault_and_others_go_on():
    def broken(name, classifier):
        raise ZeroDivisionError("by zero")

    answer = guarded("units", broken, "any", load("partbirds_wide@random"))
    assert answer == Answer("units", "FAULT: raised", "ZeroDivisionError: by zero")
    assert answer.is_fault


def test_units_that_differ_from_plain_hooks_are_a_fault(monkeypatch):
    classifier = load("partbirds_wide@random")
    assert units("any", classifier)[0] == "those of plain hooks"
    of_batch = TopActivations.of_batch

    def moved(summary, classifier, images, numbers, before):
        tops = of_batch(summary, classifier, images, numbers, before)
        tops.values[3, 0] += 1e-3
        return tops

    monkeypatch.setattr(TopActivations, "of_batch", moved)
    assert units("any", classifier)[0] == "FAULT: differs"


def test_answers_are_counted_by_library():
    found = {
        "a": [Answer("load", "loaded"), Answer("units", "refused")],
        "timm/b": [Answer("load", "loaded")],
        "timm/c": [Answer("load", "loaded")],
    }
    assert counts(found).splitlines()[2:] == ["| load | loaded | 1 | 2 |", "| units | refused | 1 | 0 |"]
