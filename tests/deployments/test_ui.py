"""The service in a browser: from the list of deployments over the run form to the pictures of a run (slow).

``XV_SCREENSHOTS`` names a folder for a picture of each step; without it they lie in the test's own.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import CHROMIUM, DRIVER, Browser, chromium
from service import BIRD, TINY, Api, free_ports, xv

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
SHIPPED = {"summarise", "evidence", "units", "analyse", "report"}
SETTINGS = ("request", "Settings")
MASK = (*SETTINGS, "Mask")
DATABASE_URL = "PREFECT_SERVER_DATABASE_CONNECTION_URL"


@pytest.fixture(autouse=True)
def _browser_is_installed() -> None:
    if importlib.util.find_spec("selenium") is None or not (CHROMIUM.exists() and DRIVER.exists()):
        pytest.skip(f"a browser is needed: {CHROMIUM}, {DRIVER} and selenium (pip install 'xv[dev]')")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network that knows the birds a little: one without training leaves no summaries, hence no pictures."""
    folder = tmp_path_factory.mktemp("network")
    train = ["train", "partbirds_narrow", "--dataset", "partbirds?split=train&images=100", "--steps", "200"]
    done = xv(*train, "--device", "cpu", "--out", str(folder / "narrow.pt"), folder=folder)
    assert done.returncode == 0, done.stderr
    return f"partbirds_narrow@{folder / 'narrow.pt'}"


@pytest.fixture
def screenshots(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    chosen = os.environ.get("XV_SCREENSHOTS")
    folder = Path(chosen) / request.node.callspec.id if chosen else tmp_path / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Postgres:
    """A PostgreSQL server of our own; it refuses to run as root, and is then run as the user `postgres`."""

    def __init__(self, programs: Path, folder: Path, port: int) -> None:
        self.programs, self.folder, self.port = programs, folder, port
        self.data = folder / "data"

    def __enter__(self) -> "Postgres":
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres")
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "--no-sync")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "-w", "-t", "120", "-D", str(self.data), "-l", log, "-o", options)
        return self

    def __exit__(self, *error: object) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self.data))

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/postgres"

    def query(self, statement: str) -> str:
        connection = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]
        return self._run("psql", *connection, "-A", "-t", "-c", statement)

    def _run(self, program: str, *arguments: str) -> str:
        as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        command = [*as_user, str(self.programs / program), *arguments]
        # A server that inherited a pipe would keep it open.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
            output.seek(0)
            text = output.read()
        assert done.returncode == 0, text
        return text.strip()


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda each: int(each.parts[-3]))
    if not versions:
        pytest.skip("PostgreSQL is needed, as Debian's package brings it: no /usr/lib/postgresql/*/bin/initdb")
    # The path of a Unix socket may have 107 letters, and tmp_path is closed to other users.
    with ExitStack() as stack:
        place = tempfile.TemporaryDirectory(prefix="xv-pg-", dir="/tmp", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(place))
        yield stack.enter_context(Postgres(versions[-1].parent, folder, free_ports(1)[0]))


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_run_is_started_from_its_form_and_shows_pictures(
    database: str,
    network: str,
    tmp_path: Path,
    screenshots: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server: Postgres | None = request.getfixturevalue("postgres") if database == "postgresql" else None
    monkeypatch.delenv(DATABASE_URL, raising=False)
    if server:
        monkeypatch.setenv(DATABASE_URL, server.url)
    port, report_port = free_ports(2)
    home = tmp_path / "home"
    with ExitStack() as stack:
        stack.callback(lambda: xv("down", "--home", str(home), folder=tmp_path))
        ports = ["--port", str(port), "--report-port", str(report_port)]
        started = xv("up", "--home", str(home), *ports, folder=tmp_path)
        assert started.returncode == 0, started.stderr
        api = stack.enter_context(Api(port, home))
        browser = stack.enter_context(chromium(f"http://127.0.0.1:{port}", screenshots))
        browser.log_in((home / "password").read_text().strip(), take="login")
        open_the_form(browser)
        check_the_form(browser)
        refuse_nonsense(browser, api)
        run = submit_a_small_run(browser, api, network)
        show_the_artifacts(browser, api, run)
        show_the_report(browser, api, report_port)
        is_sqlite = bool(list(home.rglob("*.db")))
        if server:
            assert server.query(f"select state_type from flow_run where id = '{run}'") == "COMPLETED"
            assert not is_sqlite, "the server uses PostgreSQL alone"
        else:
            assert is_sqlite


def open_the_form(browser: Browser) -> None:
    browser.open("/deployments")
    browser.wait(lambda: set(browser.links()) >= SHIPPED)
    links = browser.links()
    browser.take("deployments")
    browser.driver.get(f"{links['summarise']}/run")
    browser.wait_for_text("Batch Size")
    browser.take("form_top")
    browser.take("form", height=6000)


def check_the_form(browser: Browser) -> None:
    """Choices are dropdowns, numbers have bounds, flags are switches, groups have descriptions."""
    batch = browser.inside("input[type=number]", "request", "Batch Size")
    assert [batch.get_attribute(each) for each in ("min", "max", "step", "value")] == ["1", "4096", "1", "16"]
    assert browser.inside("input[type=number]", *SETTINGS, "Max Images").get_attribute("value") == "10"
    assert browser.inside("input[type=number]", *MASK, "Smooth Steps").get_attribute("min") == "0"
    switch = browser.inside("button[role=switch]", *SETTINGS, "Skip Misclassified")
    assert switch.get_attribute("aria-checked") == "false"
    assert browser.inside("textarea", "request", "Models").get_attribute("value") == "partbirds_wide@random?classes=7"
    assert browser.says(*MASK) == "Sparse masks, where they are the method"
    assert browser.says(*SETTINGS, "Coherence", "Dense Flow") == "The dense flow"
    in_order = ("Dataset", "Models", "Batch Size", "Fan Out", "Settings"), ("Max Images", "Similarity", "Mask", "Drop")
    for group, titles in zip((("request",), SETTINGS), in_order, strict=True):
        tops = [browser.field(*group, each).location["y"] for each in titles]
        assert tops == sorted(tops), "the order of the library, which PostgreSQL by itself does not keep"
    assert browser.choose("top50", *SETTINGS, "Similarity") == ["full", "top50", "none"]
    browser.take("form_choice")


def refuse_nonsense(browser: Browser, api: Api) -> None:
    """In the form and by the API, and no run is there afterwards."""
    page = browser.driver.current_url
    batch = browser.inside("input[type=number]", "request", "Batch Size")
    browser.fill(batch, 0)
    browser.submit()
    time.sleep(2)
    browser.take("refused_number")
    invalid = browser.driver.find_elements("css selector", "input:invalid")
    assert [each.get_attribute("id") for each in invalid] == [batch.get_attribute("id")]
    assert "greater than or equal to 1" in str(batch.get_attribute("validationMessage"))
    assert browser.driver.current_url == page
    browser.fill(batch, 4)

    shard = browser.inside("textarea", "request", "Shard")
    browser.fill(shard, "0/3")
    browser.submit()
    browser.wait_for_text("Validation failed for field 'request.shard'")
    browser.take("refused_text")
    assert browser.driver.current_url == page

    wrong = api.start("summarise", **(TINY | {"settings": {"similarity": "nonsense"}}))
    assert wrong.status_code == httpx.codes.CONFLICT
    assert "request.settings.similarity" in wrong.text
    assert runs_of(api, "summarise") == []


def submit_a_small_run(browser: Browser, api: Api, network: str) -> str:
    """Fill in a small run, submit it, wait for its end and return its id."""
    # After a refusal by the server Prefect's form does nothing at the next click on its button, only at the one after.
    browser.driver.refresh()
    browser.wait_for_text("Batch Size")
    browser.choose("top50", *SETTINGS, "Similarity")
    browser.fill(browser.inside("input", "request", "Batch Size"), 4)
    browser.fill(browser.inside("textarea", "request", "Models"), network)
    browser.add_item(BIRD, "request", "Classes")
    browser.fill(browser.inside("input", *MASK, "Smooth Steps"), 100)
    browser.fill(browser.inside("input", *MASK, "Crisp Steps"), 50)
    browser.fill(browser.inside("input", *SETTINGS, "Proposals", "N Boxes"), 200)
    page = browser.driver.current_url
    browser.show(browser.field("request", "Models"))
    browser.take("form_filled")
    browser.submit()
    browser.wait(lambda: browser.driver.current_url != page)
    browser.take("submitted")
    (run,) = runs_of(api, "summarise")
    asked = run["parameters"]["request"]
    assert (asked["models"], asked["classes"], asked["batch_size"]) == ([network], [BIRD], 4)
    assert asked["settings"]["similarity"] == "top50"
    assert asked["settings"]["mask"]["smooth_steps"] == 100
    assert api.end_of(run["id"], seconds=900).startswith("Completed")
    return str(run["id"])


def show_the_artifacts(browser: Browser, api: Api, run: str) -> None:
    browser.open(f"/runs/flow-run/{run}")
    browser.wait_for_text("Completed")
    browser.take("run")
    found = api.client.post("/artifacts/filter", json={"flow_runs": {"id": {"any_": [run]}}}).json()
    identities = {each["type"]: each["id"] for each in found}
    assert set(identities) == {"markdown", "table", "progress"}

    browser.open(f"/runs/flow-run/{run}?tab=Artifacts")
    browser.wait_for_text("visual-summaries-summary")
    browser.take("artifacts")

    browser.open(f"/artifacts/artifact/{identities['markdown']}")
    browser.wait_for_text("All of it")
    pictures = [each for each in browser.pictures() if each["source"].startswith("data:image/")]
    browser.take("markdown", height=1600)
    assert pictures
    assert all(each["width"] > 0 for each in pictures)

    browser.open(f"/artifacts/artifact/{identities['table']}")
    browser.wait_for_text("zigzag-crest ringed-wing spotted-tail")
    browser.take("table")
    assert "images/s" in browser.text()


def show_the_report(browser: Browser, api: Api, report_port: int) -> None:
    """It follows the run by itself, by the automation."""
    until = time.monotonic() + 120
    while not (reports := runs_of(api, "write-report")):
        assert time.monotonic() < until, "no report has followed the run"
        time.sleep(1)
    assert api.end_of(reports[0]["id"], seconds=300).startswith("Completed")
    browser.driver.get(f"http://127.0.0.1:{report_port}/index.html")
    browser.wait_for_text("partbirds_narrow")
    browser.take("report")


def runs_of(api: Api, flow: str) -> list[dict[str, Any]]:
    return api.client.post("/flow_runs/filter", json={"flows": {"name": {"any_": [flow]}}}).json()
