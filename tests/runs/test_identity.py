"""What decides the numbers is part of the run id; what is not asked for leaves it as it was."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from xvcore.keys import run_id
from xvcore.models import load
from xvcore.runs.run import RunSpec, _identity
from xvcore.runs.settings import ImageSettings


@dataclass(frozen=True)
class Nothing(ImageSettings):
    """Looks at nothing."""

    method: ClassVar[str] = "nothing"
    version: ClassVar[int] = 1


class Empty:
    """A dataset without images."""

    name, split, classes = "dots", "all", ()

    def images(self, class_id):
        return ()

    def read(self, record):
        return b""

    def parts(self, class_id):
        return ()


SPEC = RunSpec("dots", "net", "/nowhere", Nothing())
DATASET = Empty()


def id_of(classifier):
    return run_id("nothing", _identity(SPEC, DATASET, classifier))


@pytest.fixture(scope="module")
def plain():
    return load("partbirds_narrow@random")


def test_a_network_without_options_has_the_identity_it_had(plain):
    identity = _identity(SPEC, DATASET, plain)
    assert identity["preprocessing"] == {
        "input_px": [128, 128],
        "resize_px": None,
        "interpolation": "bilinear",
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
    }
    assert "state" not in identity
    same = load("partbirds_narrow@random?mean=0.5&std=0.25,0.25,0.25&channels=rgb&interpolation=bilinear")
    assert id_of(same) == id_of(plain)
    in_bytes = load("partbirds_narrow@random?scale=256&mean=128&std=64")
    assert id_of(in_bytes) == id_of(plain)


def test_what_the_network_is_given_decides_the_run_id(plain):
    options = ("mean=0.4", "std=0.5", "channels=bgr", "scale=255&mean=0&std=1", "interpolation=bicubic")
    ids = {id_of(plain), *(id_of(load(f"partbirds_narrow@random?{each}")) for each in options)}
    assert len(ids) == 1 + len(options)


def test_which_of_several_state_dicts_decides_the_run_id(plain):
    assert id_of(replace(plain, state="model_ema")) != id_of(plain)
