"""The page of a study: what it is about beside names, machine scores, questions and answers; who was set apart."""

import re

import pytest
from study_store import picture_of, write_store

from xvcore.models import Preprocessing, wrap
from xvcore.parameters import replaced
from xvcore.report import build
from xvcore.store import Store
from xvcore.study.method.similarity import LayerSimilarity
from xvcore.study.runs.build import build_study
from xvcore.study.runs.judge import judge_study
from xvcore.study.runs.score import score_study
from xvcore.study.runs.simulate import simulate
from xvcore.study.runs.tag import tag_study
from xvcore.study.settings import Judge, Study


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    from test_machine_score import small

    folder = tmp_path_factory.mktemp("study")
    store = write_store(folder / "store")
    build_study(store, folder / "s.html", replaced(Study(), {"trials": 24}), picture_of=picture_of)
    simulate(store, folder / "answers", error=0.1, people=2)
    (folder / "answers" / "torn.json").write_text("{")
    simulate(store, folder / "answers", error=float("nan"), people=1)
    score_study(store, [folder / "answers"])
    tag_study(store, "parts")
    tag_study(store, "people")
    trunk = wrap(small(), preprocessing=Preprocessing((64, 64), None), labels=["a", "b"], name="<small>")
    judge_study(store, Judge(), picture_of=picture_of, similarity=LayerSimilarity(trunk))
    build(store, folder / "site", picture_of=picture_of)
    return folder / "site"


def page_of(site):
    (path,) = (site / "study").rglob("index.html")
    return path, path.read_text()


def test_the_page_shows_scores_names_and_machines_beside_the_pictures(site) -> None:
    _, text = page_of(site)
    for words in (
        "named by parts",
        "named by people",
        "MIS, layers &lt;small&gt;",
        "summary 1",
        "random cluster beside",
        ">head<",
    ):
        assert words in text
    assert "<small>layers" not in text  # a network's name is text


def test_who_does_not_count_is_named_and_scored_apart(site) -> None:
    _, text = page_of(site)
    assert "torn.json" in text
    assert "unreadable" in text
    assert "inattentive" in text
    assert "Scores of answers that do not count" in text
    assert "4 files of answers, of which 2 count" in text


def test_every_picture_of_the_page_is_there(site) -> None:
    path, text = page_of(site)
    sources = re.findall(r'<img src="([^"]+)"', text)
    assert len(sources) > 30
    assert all((path.parent / each).is_file() for each in sources)
    assert (path.parent / re.search(r'src="([^"]+tags.js)"', text)[1]).is_file()


def test_the_first_page_leads_to_it(site) -> None:
    text = (site / "index.html").read_text()
    assert "User study" in text
    assert "1 study asks whether people understand" in text


def test_building_again_changes_nothing_and_a_study_without_answers_is_shown(site, tmp_path) -> None:
    path, text = page_of(site)
    build(Store(site.parent / "store"), site, picture_of=picture_of)
    assert path.read_text() == text
    store = write_store(tmp_path / "store")
    build_study(store, tmp_path / "s.html", replaced(Study(), {"trials": 8, "tasks": "name"}), picture_of=picture_of)
    build(store, tmp_path / "site", picture_of=picture_of)
    assert "Nobody has answered yet" in page_of(tmp_path / "site")[1]
