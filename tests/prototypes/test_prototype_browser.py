"""Pages of prototypes in a browser: nothing that axe-core, the console or a narrow screen has against them."""

from pathlib import Path

import pytest
from reader import SCREENS, faults, reading

from xvcore.parameters import replaced
from xvcore.prototypes.settings import Disentangle, Prototypes
from xvcore.report import build
from xvcore.runs.originals import Originals
from xvcore.runs.pipeline import complete_run
from xvcore.runs.run import RunSpec, open_run

pytestmark = pytest.mark.slow

DATASET = "partbirds?classes=2&images=3"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    training = replaced(Disentangle(), {"recipe.epochs": 2, "recipe.learning_rate": 0.05, "recipe.rotation_rate": 0.05})
    complete_run(open_run(RunSpec(DATASET, "partbirds_narrow@random?classes=7", str(folder), training)))
    settings = replaced(Prototypes(), {"n_patches": 2, "n_measured": 4})
    run = open_run(RunSpec(DATASET, f"infodisent@{next(folder.rglob('seed-0.pt'))}", str(folder), settings))
    complete_run(run)
    return build(run.store, tmp_path_factory.mktemp("site"), picture_of=Originals()).parent


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_pages_of_prototypes_have_no_fault(site, width, scheme):
    (network,) = [each for each in (site / "prototypes").iterdir() if each.is_dir()]
    every = sorted(network.rglob("*.html"))
    classes = [page for page in every if page.name == "index.html"][:1]
    of_class = classes[0].parent
    images = [page for page in sorted(of_class.glob("*.html")) if page.name != "index.html"][:1]
    prototypes = [page for page in every if page.parent != of_class and page.name != "index.html"][:2]
    pages = [site / "index.html", *classes, *images, *prototypes]
    assert len(pages) >= 4
    with reading() as driver:
        assert {page.relative_to(site).as_posix(): faults(driver, page, width, scheme) for page in pages} == {
            page.relative_to(site).as_posix(): [] for page in pages
        }
