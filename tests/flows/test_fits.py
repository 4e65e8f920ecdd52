"""Laws of what can be done with a network: it says so itself, a refusal has its reason, an answer is kept."""

import pytest

from flows.fits import fit_lines, known
from flows.listing import listing
from xvcore.errors import XvError
from xvcore.runs import fits as asking
from xvcore.runs.fits import fits, n_parameters

WHAT = {"masks", "evidence", "units", "deconvnet", "guided", "gradient", "prototypes"}


def test_a_network_of_rectifiers_with_a_mean_at_its_end_takes_everything() -> None:
    answers = {each.what: each for each in fits("partbirds_wide")}
    assert set(answers) == WHAT
    assert all(each.is_fit for each in answers.values())
    assert answers["units"].detail.endswith(" layers")
    assert answers["prototypes"].detail.endswith("96 channels")
    assert "cells, which see more" in answers["evidence"].detail
    assert next(each for each in fits("partbirds_bagnet17") if each.what == "evidence").detail.endswith("patches")


def test_a_refusal_says_its_reason() -> None:
    answers = {each.what: each for each in fits("alexnet")}
    assert answers["deconvnet"].is_fit
    assert not answers["evidence"].is_fit
    assert "no mean over positions" in answers["evidence"].detail


def test_a_network_that_is_too_large_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MOST_PARAMETERS", n_parameters("partbirds_narrow") - 1)
    with pytest.raises(XvError, match="million parameters: at most"):
        list(fits("partbirds_narrow"))
    assert list(fit_lines(["partbirds_narrow", "nosuch"]))[1].startswith("nosuch\tcannot be asked: ")


def test_an_answer_is_kept_and_given_again(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = known("partbirds_narrow")
    monkeypatch.setattr("flows.fits.fits", lambda name: pytest.fail(f"{name} was asked again"))
    assert known("partbirds_narrow") == first
    lines = list(listing("architectures", "partbirds", like="partbirds_narrow", fits=True))
    assert lines[0] == "partbirds_narrow"
    assert [each.split("\t")[1] for each in lines[1:]] == ["yes"] * len(first)


def test_only_architectures_are_asked() -> None:
    with pytest.raises(XvError, match="--fits belongs to `xv list architectures`, not to datasets"):
        listing("datasets", "partbirds", fits=True)
