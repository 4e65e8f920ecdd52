"""Laws of names: digests, file names, registries."""

import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xvcore.data import open_dataset
from xvcore.errors import DataError, LabelError, UnknownNameError, WeightsError, XvError
from xvcore.keys import canonical, digest, file_name, run_id, slug, typed_path
from xvcore.models import load
from xvcore.models.load import check_names
from xvcore.registry import Registry


def test_order_of_keys_does_not_matter_to_a_digest() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_nan_has_no_digest() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical(float("nan"))


@given(st.text(min_size=1), st.text(min_size=1))
def test_different_keys_have_different_visible_flat_file_names(one: str, other: str) -> None:
    first, second = file_name(one), file_name(other)
    assert (first == second) == (one == other)
    assert "/" not in first
    assert not first.startswith((".", "_"))


def test_a_run_id_tells_model_and_method_and_changes_with_everything() -> None:
    identity = {"model": "timm/ResNet 50", "params": {"steps": 1}}
    name = run_id("visual-summaries", identity)
    assert name.startswith("timm-resnet-50-visual-summaries-")
    assert name != run_id("visual-summaries", {**identity, "params": {"steps": 2}})
    assert slug("A b/C") == "a-b-c"


def test_a_module_in_the_package_registers_itself_and_unknown_names_are_answered_with_near_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "drawers"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from xvcore.registry import Registry\nthings = Registry('thing', 'drawers.*')\n"
    )
    (package / "spoon.py").write_text(
        textwrap.dedent("""
        from drawers import things

        @things.register("spoon")
        def spoon():
            return "spoon"
        """)
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import drawers  # type: ignore[import-not-found]

    things: Registry = drawers.things
    assert "drawers.spoon" not in sys.modules
    assert list(things) == ["spoon"]
    assert things["spoon"]() == "spoon"
    with pytest.raises(UnknownNameError, match=r"unknown thing 'spon'; did you mean spoon\? \(known: spoon\)"):
        things["spon"]
    with pytest.raises(XvError, match="twice"):
        things.register("spoon")(lambda: "other")


@pytest.mark.parametrize("text", ["a" * 5000, "x\0y", "~nobody-at-all/x"])
def test_what_cannot_be_a_path_is_refused_wherever_one_is_typed(text: str) -> None:
    for typed, error in (
        (lambda: open_dataset(f"imagefolder:{text}"), DataError),
        (lambda: open_dataset(f"imagenet:{text}"), DataError),
        (lambda: open_dataset(f"cub:{text}"), DataError),
        (lambda: load(f"partbirds_narrow@{text}"), WeightsError),
        (lambda: check_names(f"partbirds_narrow@{text}"), WeightsError),
        (lambda: check_names(f"partbirds_narrow@random?labels={text}"), LabelError),
        (lambda: load(f"partbirds_narrow@random?labels={text}"), LabelError),
    ):
        with pytest.raises(error) as refused:
            typed()
        assert repr(text)[1:50] in str(refused.value)
        assert len(str(refused.value)) < 6000


def test_a_typed_path_is_that_of_the_home_and_may_be_of_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert typed_path("~/nothing/here", "a path", DataError) == tmp_path / "nothing" / "here"
