"""``help()`` of every public name says what comes out, takes every parameter, names errors, and has an example that runs."""

import ast
import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
import textwrap
from pathlib import Path

import pytest
from bird_store import picture_of
from method_store import LOCAL, evidence_store

import xvcore
from xvcore.registry import Registry

PACKAGES = ["xvcore", *(f"xvcore.{each.name}" for each in pkgutil.iter_modules(xvcore.__path__))]
MODULES = [importlib.import_module(each) for each in PACKAGES]
EXPORTED = {
    f"{module.__name__}.{name}": getattr(module, name) for module in MODULES for name in getattr(module, "__all__", ())
}
NAMES = {name: each for name, each in EXPORTED.items() if inspect.isclass(each) or inspect.isfunction(each)}
NAMES["xvcore.registry.Registry"] = Registry
WAYS_OUT = {"self", "cls", "args", "kwargs"}


def doc_of(name: str) -> str:
    return inspect.getdoc(NAMES[name]) or ""


def parameters_of(public: object) -> list[str]:
    if dataclasses.is_dataclass(public):
        return [each.name for each in dataclasses.fields(public) if each.init and not each.name.startswith("_")]
    if getattr(public, "_is_protocol", False):
        return []
    return [each for each in inspect.signature(public).parameters if each not in WAYS_OUT]


def raises_by_itself(function: object) -> bool:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return any(isinstance(each, ast.Raise) and each.exc is not None for each in ast.walk(tree))


def test_names_are_found_and_constants_are_few() -> None:
    assert len(NAMES) > 35
    values = {name for name in EXPORTED if name not in NAMES}
    assert all(isinstance(EXPORTED[name], Registry | int) for name in values), values
    assert {"xvcore.show", "xvcore.leaf", "xvcore.models.load", "xvcore.query.table"} <= set(NAMES)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_first_paragraph_is_a_sentence(name: str) -> None:
    summary = " ".join(doc_of(name).partition("\n\n")[0].split())
    assert re.fullmatch(r"[A-Z].{7,}[.:]", summary), summary
    if inspect.isfunction(NAMES[name]):
        assert re.match(r"(Return|Write|Yield) ", summary), "a function says what comes out"


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_parameter_is_described(name: str) -> None:
    found = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", doc_of(name), re.DOTALL | re.MULTILINE)
    described = set()
    for line in re.findall(r"^([^\s].*?) : ", found[1] if found else "", re.MULTILINE):
        described |= {each.strip().lstrip("*") for each in line.split(",")}
    assert set(parameters_of(NAMES[name])) <= described


@pytest.mark.parametrize("name", sorted(name for name, each in NAMES.items() if inspect.isfunction(each)))
def test_a_function_that_raises_names_the_error(name: str) -> None:
    if raises_by_itself(NAMES[name]):
        assert re.search(r"^Raises\n-+\n\w", doc_of(name), re.MULTILINE)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """The store that examples read, in the folder ``store``."""
    folder = tmp_path_factory.mktemp("examples")
    evidence_store(folder / "store", LOCAL)
    return folder


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_example_runs_and_gives_what_it_says(name: str, store: Path, monkeypatch) -> None:
    monkeypatch.chdir(store)
    monkeypatch.setattr("xvcore.runs.originals.Originals.__call__", lambda _, *which: picture_of(*which))
    found = doctest.DocTestFinder(recurse=False).find(NAMES[name], name, globs={})
    (example,) = [each for each in found if each.examples]
    assert len(example.examples) >= 2
    assert "SKIP" not in doc_of(name)
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST).run(example, out=said.append)
    assert result.failed == 0, "".join(said)
