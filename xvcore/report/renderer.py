"""Templates to pages; pages need no server, every address is relative to the page it stands on."""

import functools
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import jinja2
from markupsafe import Markup

from xvcore.keys import digest
from xvcore.report import wording
from xvcore.report.names import link
from xvcore.version import VERSION

_FILTERS = ("percent", "decimal", "count", "duration", "plural", "pretty", "with_interval", "p_number", "p_words")
_KIT = "xvcore.report"
_DRAWING = ("xvcore.runs", "thumbnails.py")
"""Draws, and lies elsewhere."""


class Renderer:
    """The templates of this package and of the families, ready to be filled in.

    Parameters
    ----------
    packages : of each family the package beside whose code its templates lie, by the prefix of their names
    """

    def __init__(self, packages: Mapping[str, str]) -> None:
        self._packages = dict(packages)
        self._environment = _environment(tuple(sorted(packages.items())))

    def __reduce__(self) -> tuple[type["Renderer"], tuple[dict[str, str]]]:
        """Return what another process makes it from: templates are compiled there."""
        return Renderer, (self._packages,)

    def render(self, template: str, page: str, **values: Any) -> str:
        """Return the template filled in for the page with this path; ``to(path)`` is an address within the site."""
        return self._environment.get_template(template).render(to=partial(link, page), **values)

    def part(self, template: str, page: str, **values: Any) -> Markup:
        """Return a piece of a page, ready to be put into it."""
        return Markup(self.render(template, page, **values))


@functools.cache
def _environment(packages: tuple[tuple[str, str], ...]) -> jinja2.Environment:
    """Return the templates of this package and of families; a process compiles each once."""
    of_families = {prefix: jinja2.PackageLoader(package) for prefix, package in packages}
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(_KIT), jinja2.PrefixLoader(of_families)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update({name: getattr(wording, name) for name in _FILTERS})
    environment.globals["version"] = VERSION
    return environment


def static_files(package: str = _KIT) -> dict[str, bytes]:
    """Return style, scripts and icon of a package by name; those of a family are optional."""
    folder = files(package).joinpath("static")
    return {each.name: each.read_bytes() for each in folder.iterdir()} if folder.is_dir() else {}


@functools.cache
def digest_of_code(package: str) -> str:
    """Return a digest of a family's code and templates, of this package's, and of what draws pictures."""
    texts = {f"{each}/{name}": text for each in (_KIT, package) for name, text in _sources(files(each))}
    folder, drawing = _DRAWING
    return digest({**texts, drawing: files(folder).joinpath(drawing).read_text()})


def _sources(folder: Traversable) -> Iterator[tuple[str, str]]:
    for each in folder.iterdir():
        if each.name.endswith((".py", ".html")):
            yield each.name, each.read_text()
        elif each.name == "templates":
            yield from _sources(each)
