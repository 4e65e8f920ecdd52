"""A report of a store that has not changed looks at nothing, and several processes write what one writes."""

import shutil
from pathlib import Path

import pytest
from bird_store import picture_of, write_store

from xvcore.errors import XvError
from xvcore.keys import digest_of_folder
from xvcore.report import build, spread
from xvcore.report.site import LOCK, STAMP
from xvcore.store import Store
from xvcore.store.place import Place


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = write_store(tmp_path_factory.mktemp("store"))
    return store, build(store, tmp_path_factory.mktemp("site"), picture_of=picture_of).parent


@pytest.fixture
def store_and_site(made, tmp_path):
    for each, name in zip((Path(made[0].url), made[1]), ("store", "site"), strict=True):
        shutil.copytree(each, tmp_path / name)
    store = Store(tmp_path / "store")
    return store, build(store, tmp_path / "site", picture_of=picture_of).parent


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refuse(monkeypatch):
    def refused(*_arguments, **_named):
        raise AssertionError("a table was read")

    monkeypatch.setattr(Place, "read_unless", refused)


def test_what_has_not_changed_is_not_read(store_and_site, monkeypatch):
    store, site = store_and_site
    before = contents(site)
    with monkeypatch.context() as patched:
        refuse(patched)
        build(store, site, picture_of=picture_of)
    assert contents(site) == before


def test_a_site_that_was_moved_is_still_whole(store_and_site, tmp_path, monkeypatch):
    store, site = store_and_site
    moved = site.rename(tmp_path / "moved")
    refuse(monkeypatch)
    build(store, moved, picture_of=picture_of)


@pytest.mark.parametrize("change", ["table", "page", "picture", "further page", "runs", "names"])
def test_what_has_changed_is_read(store_and_site, change, monkeypatch):
    store, site = store_and_site
    options = {"run_ids": None, "name_of": None}
    if change == "table":
        part = next(Path(store.url).glob("parts/masks/*/*.parquet"))
        data = part.read_bytes()
        part.unlink()
        part.write_bytes(data)
    elif change == "page":
        next(site.glob("*/*/*.html")).unlink()
    elif change == "picture":
        next(site.glob("images/*/*/*.jpg")).unlink()
    elif change == "further page":
        (site / "mine.html").write_text("")
    elif change == "runs":
        options["run_ids"] = ["wide-run"]
    else:
        options["name_of"] = lambda _run, index: f"output {index}"
    refuse(monkeypatch)
    with pytest.raises(AssertionError, match="a table was read"):
        build(store, site, picture_of=picture_of, **options)


def test_pages_that_may_be_better_another_time_are_looked_at_again(tmp_path):
    store = write_store(tmp_path / "store")
    site = build(store, tmp_path / "site").parent
    assert (site / STAMP).exists()  # where nobody is asked for pictures, none comes back
    build(store, site, picture_of=lambda *_: None)
    assert not (site / STAMP).exists()
    build(store, site, picture_of=picture_of)
    assert (site / STAMP).exists()
    assert list(site.glob("images/*/*/*.jpg"))


@pytest.mark.parametrize("url", ["{}/store", "memory://a-store-of-states"])
def test_the_state_of_a_store_changes_with_its_files(url, tmp_path):
    place = Place(url.format(tmp_path))
    store = write_store(place.url)
    before = place.state()
    assert before == place.state()
    rows = store.read_arrow("clusters", "wide-run", "robin")
    assert before == place.state()
    store.write("clusters", "wide-run", "robin", rows)
    after = place.state()
    assert after != before
    store.remove("clusters", "wide-run", "robin")
    assert place.state() not in {before, after}


def test_a_folder_is_not_read_for_its_digest(tmp_path):
    assert digest_of_folder(tmp_path / "none") == digest_of_folder(tmp_path)
    empty = digest_of_folder(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("one")
    one = digest_of_folder(tmp_path)
    (tmp_path / "a" / "new").write_text("two")
    (tmp_path / "a" / "new").replace(tmp_path / "a" / "file")
    two = digest_of_folder(tmp_path)
    (tmp_path / "a" / "__pycache__").mkdir()
    (tmp_path / "a" / "__pycache__" / "file.pyc").write_text("")
    assert len({empty, one, two}) == 3
    assert digest_of_folder(tmp_path) == two


@pytest.mark.slow
def test_several_processes_write_what_one_writes(made, tmp_path, monkeypatch):
    store, one = made
    monkeypatch.setattr(spread, "TOPICS_EACH", 1)
    several = build(store, tmp_path / "site", picture_of=picture_of, processes=2).parent
    assert contents(several) == contents(one)
    assert LOCK in contents(one)


@pytest.mark.parametrize(
    ("processes", "source", "said"),
    [(0, None, "expected 1 or more, not 0"), (2, lambda *_: None, "2 processes cannot share .*of a module")],
)
def test_processes_that_cannot_be_are_refused(processes, source, said, tmp_path):
    with pytest.raises(XvError, match=said):
        build(Store(tmp_path / "store"), tmp_path / "site", picture_of=source, processes=processes)
    assert not (tmp_path / "site").exists()
