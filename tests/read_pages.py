"""Pages as a reader's browser takes them: parsed, with their links followed."""

import html.parser
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from xvcore.report.site import STAMP

VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


class Page(html.parser.HTMLParser):
    """Elements of a page; a tag that is not closed, or closed and not open, is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.scripts: list[str] = []
        self.images: list[dict] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        assert len(given) == len(attributes), f"an attribute twice in {self.get_starttag_text()}"
        assert not [name for name in given if name.startswith("on")]
        self.tags.append(tag)
        if tag not in VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)
        if "id" in given:
            self.ids.append(given["id"])
        self.links += [given[name] for name in ("href", "src") if given.get(name)]
        if tag == "img":
            self.images.append(given)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        assert self.open[-1:] == [tag], f"</{tag}> at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)
        self.text += data


def pages_of(folder: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in folder.rglob("*.html")}


def crawl(folder: Path, pages: dict[Path, Page]) -> None:
    """Check that every address leads to a file of the site, and every fragment to an element of that page."""
    for path, page in pages.items():
        for address in page.links:
            parts = urlsplit(address)
            if parts.scheme == "data":  # a picture within a figure
                continue
            assert not any((parts.scheme, parts.netloc, parts.path.startswith("/"))), address
            target = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
            assert target.is_file(), f"{path}: {address}"
            assert folder in target.parents
            if parts.fragment:
                assert unquote(parts.fragment) in pages[target].ids, f"{path}: {address}"


def reached(folder: Path, pages: dict[Path, Page]) -> set[Path]:
    """Return the pages to which links lead from the first one."""
    found, new = set(), {folder / "index.html"}
    while new:
        found |= new
        addresses = {(path, urlsplit(each).path) for path in new for each in pages[path].links}
        new = {Path(os.path.normpath(path.parent / unquote(each))) for path, each in addresses if each}
        new = {path for path in new if path.suffix == ".html"} - found
    return found


def state(site: Path) -> dict[Path, tuple[int, bytes]]:
    """Return times and bytes of a site's files, without the seal, which follows the store."""
    files = [path for path in site.rglob("*") if path.is_file() and path != site / STAMP]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
