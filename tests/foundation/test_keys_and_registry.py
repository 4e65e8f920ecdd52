"""Laws of names: digests, file names, registries."""

import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xvcore.errors import UnknownNameError, XvError
from xvcore.keys import canonical, digest, file_name, run_id, slug
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
