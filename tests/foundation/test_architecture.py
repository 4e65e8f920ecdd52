"""Laws of the code base that no linter knows."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("xvcore", "flows") for path in (ROOT / folder).rglob("*.py"))
DRAWERS = {"utils", "helpers", "common", "misc", "base", "core"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is_and_is_no_drawer(path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"
    assert path.stem not in DRAWERS


@pytest.mark.slow
def test_the_library_runs_without_prefect() -> None:
    script = """
import sys
for name in ("prefect", "pydantic", "typer", "rich", "flows"):
    sys.modules[name] = None
import importlib, pkgutil, xvcore
for module in pkgutil.walk_packages(xvcore.__path__, "xvcore."):
    if not module.name.endswith("timm"):
        importlib.import_module(module.name)
from xvcore.visual_summaries.settings import VisualSummaries
VisualSummaries()
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, timeout=300)
