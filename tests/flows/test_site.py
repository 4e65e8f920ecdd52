"""The report site gives the files of its folder: no lists, nothing beside the folder, no secrets in its surroundings."""

import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flows.site import serve
from flows.up import _made, _of_site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[httpx.Client]:
    root = tmp_path / "report"
    (root / "pages").mkdir(parents=True)
    (root / "pages" / "one.html").write_text("one")
    (tmp_path / "beside.txt").write_text("beside")
    (root / "out.txt").symlink_to(tmp_path / "beside.txt")
    (root / "up").symlink_to(tmp_path)
    (root / "led").mkdir()
    (root / "led" / "index.html").symlink_to(tmp_path / "beside.txt")
    (root / "same.html").symlink_to(root / "pages" / "one.html")
    with serve(root, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host, port = server.server_address[:2]
        with httpx.Client(base_url=f"http://{host}:{port}", trust_env=False) as client:
            yield client
        server.shutdown()


def test_files_of_the_folder_are_given_and_folders_are_not_listed(site: httpx.Client, tmp_path: Path) -> None:
    assert site.get("/pages/one.html").text == site.get("/same.html").text == "one"
    assert site.get("/pages/").status_code == 404
    first = site.get("/")
    assert first.status_code == 200
    assert "No report has been written yet" in first.text
    (tmp_path / "report" / "index.html").write_text("the front page")
    assert site.get("/").text == "the front page"


@pytest.mark.parametrize("path", ["/out.txt", "/up/beside.txt", "/up/", "/led/", "/nothing.html"])
def test_links_do_not_lead_out_of_the_folder(site: httpx.Client, path: str) -> None:
    found = site.get(path)
    assert found.status_code == 404
    assert "beside" not in found.text


def test_the_site_is_started_without_the_password_and_the_home_is_its_owners(tmp_path: Path) -> None:
    environment = {"PATH": "/bin", "PREFECT_API_AUTH_STRING": "a:b", "PREFECT_SERVER_API_AUTH_STRING": "a:b"}
    assert _of_site(environment) == {"PATH": "/bin"}
    home = _made(tmp_path / "home")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    home.chmod(0o755)  # as an earlier version left it
    assert stat.S_IMODE(_made(home).stat().st_mode) == 0o700
