"""Laws of ``module:function``: the user's own code is a network, where the user has allowed it to run."""

from pathlib import Path

import pytest
import torch

from xvcore.errors import ParameterError, WeightsError, XvError
from xvcore.models import find, load
from xvcore.models.function import ALLOWED

CODE = """
import torch
from torch import nn
from xvcore.models import Preprocessing, wrap

SMALL = Preprocessing((16, 16), None)


def plain(n_classes=3):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, n_classes))


def of_many(n_classes):
    return plain(n_classes)


def birds():
    return wrap(plain(2), preprocessing=SMALL, labels=["n01558993 robin", "n01580077 jay"])


def nothing():
    return "no network"


def needy(width, depth):
    return plain()


number = 3
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A module of the user's own, of another name for each test, that is allowed to run."""
    name = f"nets_of_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(ALLOWED, f"other.module, {name}")
    return name


def test_code_runs_only_where_it_is_allowed(nets: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for allowed in ("", "other.module", f"{nets}.below", nets[:-1]):
        monkeypatch.setenv(ALLOWED, allowed)
        with pytest.raises(ParameterError, match=f"would run the code of module {nets}.*{ALLOWED}={nets}"):
            load(f"{nets}:birds")
    monkeypatch.setenv(ALLOWED, nets)
    load(f"{nets}:birds")


def test_a_classifier_says_what_it_expects_and_what_its_outputs_stand_for(nets: str) -> None:
    classifier = load(f"{nets}:birds")
    assert classifier.name == "birds"
    assert classifier.preprocessing.input_px == (16, 16)
    assert [each.wnid for each in classifier.outputs] == ["n01558993", "n01580077"]
    assert load(f"{nets}:birds?name=mine&input=20").preprocessing.input_px == (20, 20)


def test_weights_that_nobody_gives_are_drawn_the_same_each_time(nets: str) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, other = load(f"{nets}:plain"), load(f"{nets}:plain")
    assert torch.equal(torch.get_rng_state(), state)
    assert one.weights_sha256 == other.weights_sha256
    assert load(f"{nets}:plain@random?seed=1").weights_sha256 != one.weights_sha256


def test_weights_come_from_a_file_with_as_many_outputs_as_it_has(nets: str, tmp_path: Path) -> None:
    network = find(f"{nets}:plain").build(7)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    for name in ("plain", "of_many"):
        classifier = load(f"{nets}:{name}@{tmp_path / 'w.pt'}")
        assert classifier.n_classes == 7
        assert torch.equal(classifier.network[0].weight, network[0].weight)
    with pytest.raises(WeightsError, match="do not fit"):
        load(f"{nets}:birds@{tmp_path / 'w.pt'}")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "returns a str: expected an nn.Module"),
        ("needy", "needs 2 arguments"),
        ("number", "is a int: expected a function"),
        ("nobody", "has no attribute 'nobody'"),
    ],
)
def test_what_is_no_network_is_named(nets: str, name: str, words: str) -> None:
    with pytest.raises(XvError, match=words):
        load(f"{nets}:{name}")


def test_an_address_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED, "nowhere_to_be_found")
    with pytest.raises(XvError, match="No module named 'nowhere_to_be_found'; is its folder on PYTHONPATH"):
        load("nowhere_to_be_found:net")
    with pytest.raises(ParameterError, match=r"expected module\.path:function"):
        load("no module:net")
