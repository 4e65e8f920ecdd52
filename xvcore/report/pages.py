"""Templates filled in: every value is escaped, every address is relative to the page it stands on."""

from functools import partial
from importlib.resources import files
from typing import Any

import jinja2

from xvcore.keys import digest
from xvcore.report import wording
from xvcore.report.names import link
from xvcore.version import VERSION

_FILTERS = ("percent", "decimal", "count", "duration", "plural", "pretty")


class Pages:
    """The templates of this package, ready to be filled in."""

    def __init__(self) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("xvcore.report"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters.update({name: getattr(wording, name) for name in _FILTERS})
        self._environment.globals["version"] = VERSION

    def render(self, template: str, page: str, **values: Any) -> str:
        """Return the template filled in for the page with this path; ``to(path)`` is an address within the site."""
        return self._environment.get_template(template).render(to=partial(link, page), **values)


def static_files() -> dict[str, bytes]:
    """Return style, scripts and icon by name."""
    return {each.name: each.read_bytes() for each in files("xvcore.report").joinpath("static").iterdir()}


def digest_of_code() -> str:
    """Return a digest of this package's code and templates, and of what draws: pages made by others are made again."""
    folder = files("xvcore.report")
    drawing = files("xvcore.stages").joinpath("thumbnails.py")
    sources = [drawing, *folder.iterdir(), *folder.joinpath("templates").iterdir()]
    texts = {each.name: each.read_text() for each in sources if each.name.endswith((".py", ".html"))}
    return digest(texts)
