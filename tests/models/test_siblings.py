"""A weights file that fits several networks is said to, and the listing says which."""

import logging

import pytest
import torch

from flows.listing import listing
from xvcore.models import load
from xvcore.models.catalogue import find
from xvcore.models.siblings import near, siblings
from xvcore.models.weights import draw

pytest.importorskip("timm")
PLAIN, TF = "timm/efficientnet_lite0", "timm/tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "lite0.pt"
    torch.save(draw(find(TF).build, 7, 0).state_dict(), path)
    return path


@pytest.mark.parametrize(("one", "other"), [(PLAIN, TF), (TF, PLAIN)])
def test_a_file_that_fits_another_network_too_is_said_to_with_what_differs(one, other, file, caplog):
    with caplog.at_level(logging.WARNING, "xvcore"):
        classifier = load(f"{one}@{file}?input=64")
    assert classifier.also_fits == (other,)
    (said,) = [record.getMessage() for record in caplog.records if "does not tell which" in record.getMessage()]
    assert f"{file} of {one} fit {other} (" in said
    assert ("Conv2dSame for Conv2d" if other == TF else "Conv2d for Conv2dSame") in said
    assert "eps" in said


def test_the_two_make_other_logits_of_it(file):
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, second = (load(f"{name}@{file}?input=64").logits(images) for name in (PLAIN, TF))
    assert (first - second).abs().max() > 1e-3 * first.abs().max()


@pytest.mark.parametrize("spec", [f"{TF}@{{}}?input=64&preprocessing=in1k", f"{TF}.in1k@{{}}?input=64"])
def test_who_says_which_it_is_of_is_not_told(spec, file, caplog):
    with caplog.at_level(logging.WARNING, "xvcore"):
        assert load(spec.format(file)).also_fits == ()
    assert not caplog.records


def test_networks_of_other_tensors_or_of_the_same_logits_are_no_siblings():
    for name in ("timm/resnet18", "resnet18", "partbirds_narrow"):
        architecture = find(name)
        found = siblings(architecture, draw(architecture.build, 5, 0), 5)
        assert all("resnet18d" not in each.name and each.name != name for each in found)
        assert all(each.differences for each in found)
    assert near("partbirds_narrow") == near("os:getcwd") == []


def test_names_are_near_by_letters_put_in_or_taken_out():
    assert TF in near(PLAIN)
    assert PLAIN in near(TF)
    assert "timm/resnetaa50" in near("timm/resnet50")
    assert "timm/resnet101" not in near("timm/resnet50")
    assert all(name != "timm/resnet50" for name in near("timm/resnet50"))


def test_the_listing_names_them():
    (line,) = listing("architectures", "partbirds", PLAIN)
    name, words = line.split("\t")
    assert name == TF
    assert "Conv2dSame for Conv2d" in words
    (line,) = listing("architectures", "partbirds", "partbirds_narrow")
    assert line.startswith("no network of a name like partbirds_narrow")
