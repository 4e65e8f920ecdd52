"""Pages of analyses in a browser: nothing that axe-core, the console or a narrow screen has against them."""

from pathlib import Path

import numpy as np
import pytest
from analysis_runs import NARROW, WIDE, complete, spec
from reader import SCREENS, faults, reading

from xvcore.analyses.compare import compare
from xvcore.report import build
from xvcore.store import Store

pytestmark = pytest.mark.slow

NAMES = ("accuracy", "error_consistency", "scrambling", "occlusion")


def picture_of(run, _image_id, _class_id):
    side = int(run["input_px"])
    return np.full((side, side, 3), 200, np.uint8)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    store = tmp_path_factory.mktemp("store")
    for name in NAMES:
        compare([complete(spec(store, name, model)) for model in (NARROW, WIDE)])
    return build(Store(store), tmp_path_factory.mktemp("site"), picture_of=picture_of).parent


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_pages_of_analyses_have_no_fault(site, width, scheme):
    pages = [site / "index.html"]
    for name in NAMES:
        folder = site / "analyses" / name
        pages += [*folder.glob("compare/*.html"), folder / "partbirds_narrow" / "index.html"]
    pages += sorted((site / "analyses" / "occlusion" / "partbirds_narrow").glob("*/index.html"))[:1]
    with reading() as driver:
        assert {page.relative_to(site).as_posix(): faults(driver, page, width, scheme) for page in pages} == {
            page.relative_to(site).as_posix(): [] for page in pages
        }
