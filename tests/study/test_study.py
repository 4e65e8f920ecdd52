"""A study from store to scores: what is asked, what the file holds, who is counted, what simulated people tell."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from study_store import DATASET, NETWORKS, data_of, picture_of, write_every_family, write_store, write_units

from xvcore.errors import ParameterError, StoreError
from xvcore.parameters import replaced
from xvcore.query import table
from xvcore.store import Store
from xvcore.study.runs.answers import Answer, checksum
from xvcore.study.runs.build import build_study
from xvcore.study.runs.export import export_trials
from xvcore.study.runs.score import score_study
from xvcore.study.runs.simulate import simulate
from xvcore.study.settings import Study


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A store with a study of sixty questions, and its file."""
    folder = tmp_path_factory.mktemp("study")
    store = write_store(folder / "store")
    return store, build_study(store, folder / "study.html", Study(), picture_of=picture_of)


@pytest.fixture
def store(built, tmp_path) -> Store:
    """A copy of the store with the study."""
    shutil.copytree(built[0].url, tmp_path / "store")
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def questions(built):
    return table(built[0], "study_questions", run_id=built[1].study_id)


def scores(store, folder, **options):
    simulate(store, folder, **options)
    found = score_study(store, [folder]).scores
    all_together = found[(found["judged_model"] == "all") & (found["judged_method"] == "all")]
    return all_together[all_together["population"] == "counted"].set_index(["task", "subject_group"])


# What is asked


def test_as_many_questions_as_were_wanted_and_half_of_them_about_controls(questions) -> None:
    counted = questions[questions["role"] != "practice"]
    main = questions[questions["role"] == "main"]
    assert len(counted) <= 60
    assert len(main[main["task"] == "two_afc"]) == 15
    groups = Counter(main.loc[main["task"] == "two_afc", "subject_group"])
    assert groups["found"] == pytest.approx(groups["random_cluster"] + groups["raw_region"], abs=1)
    assert set(main["judged_model"]) == set(NETWORKS)


@pytest.mark.parametrize("task", ["intruder", "two_afc"])
def test_every_place_is_right_equally_often(questions, task) -> None:
    main = questions[(questions["task"] == task) & (questions["role"] == "main")]
    places = Counter(row["truth"][0] for row in main.to_dict("records"))
    assert max(places.values()) - min(places.values()) <= 1
    assert len(places) == {"intruder": 5, "two_afc": 2}[task]


def test_a_choice_of_two_has_equal_sides_and_its_query_is_no_reference(questions) -> None:
    for row in questions[(questions["task"] == "two_afc") & (questions["role"] == "main")].to_dict("records"):
        sides = Counter(row["sides"])
        assert sides["max"] == sides["min"] <= 9
        assert sides["query"] == 2
        high = [name for side, name in zip(row["sides"], row["pictures"], strict=True) if side == "max"]
        queries = [name for side, name in zip(row["sides"], row["pictures"], strict=True) if side == "query"]
        assert not set(high) & set(queries)


def test_the_query_of_a_catch_trial_is_one_of_the_references(questions) -> None:
    catch = questions[(questions["task"] == "two_afc") & (questions["role"] == "catch")]
    assert len(catch) == 5
    for row in catch.to_dict("records"):
        by_side = {
            side: [n for s, n in zip(row["sides"], row["pictures"], strict=True) if s == side] for side in row["sides"]
        }
        assert by_side["query"]["ab".index(row["truth"][0])] in by_side["max"]


def test_the_name_of_a_summary_is_its_part_and_a_control_has_what_its_pictures_have(questions) -> None:
    for row in questions[(questions["task"] == "name") & (questions["role"] == "main")].to_dict("records"):
        shares = Counter(part for each in row["picture_parts"] for part in each.split("|") if part)
        best = max(shares.values()) / len(row["picture_parts"]) if shares else 0
        assert (row["truth"].tolist() == ["none"]) == (best < 0.5 and bool(shares))
        if row["subject_group"] == "found":
            assert set(row["truth"]) & {"head", "tail"}


def test_practice_shows_nothing_of_what_is_studied(questions) -> None:
    practice = questions[questions["role"] == "practice"]
    assert len(practice) == 6
    studied = {each for names in questions.loc[questions["role"] != "practice", "pictures"] for each in names}
    assert not studied & {each for names in practice["pictures"] for each in names}


def test_the_same_seed_gives_the_same_file_and_another_one_another(built, tmp_path) -> None:
    store = write_store(tmp_path / "again")
    same = build_study(store, tmp_path / "same.html", Study(), picture_of=picture_of)
    assert same.path.read_bytes() == built[1].path.read_bytes()
    other = build_study(store, tmp_path / "other.html", replaced(Study(), {"seed": 1}), picture_of=picture_of)
    assert other.study_id != same.study_id
    with pytest.raises(StoreError, match="has 2 studies"):
        score_study(store, [tmp_path])


def test_a_study_is_made_of_every_family(tmp_path) -> None:
    store = write_every_family(tmp_path / "store")
    made = build_study(store, tmp_path / "study.html", Study(), picture_of=picture_of)
    subjects = table(store, "study_subjects", run_id=made.study_id)
    found = subjects[subjects["subject_group"] == "found"]
    assert Counter(found["judged_method"]) == {
        "visual-summaries": 8, "top-activations": 6, "evidence": 2, "prototypes": 2,
    }  # fmt: skip
    assert set(found["judged_method"]) == set(subjects.loc[subjects["subject_group"] == "raw_region", "judged_method"])
    shown = [each for question in data_of(made.path)["questions"] for each in question["shown"]]
    assert any(projection is not None for _, _, projection in shown)
    assert all(projection is None for side, _, projection in shown if side == "query")


def test_without_the_images_there_is_no_control_of_raw_regions(tmp_path, caplog) -> None:
    store = write_store(tmp_path / "store")
    made = build_study(store, tmp_path / "study.html", Study())
    groups = set(table(store, "study_subjects", run_id=made.study_id)["subject_group"])
    assert groups == {"found", "random_cluster"}
    assert "no control of raw regions" in caplog.text


def test_what_no_study_can_be_made_of_is_refused(tmp_path) -> None:
    store = write_store(tmp_path / "store")
    with pytest.raises(StoreError, match="unknown run"):
        build_study(store, tmp_path / "s.html", Study(), run_ids=["wide-sumaries"])
    with pytest.raises(ParameterError, match="too few pictures"):
        build_study(store, tmp_path / "s.html", replaced(Study(), {"tasks": "intruder", "questions.n_items": 40}))
    lone = Store(tmp_path / "units")
    write_units(lone, "wide", 0)
    with pytest.raises(ParameterError, match="needs runs of"):
        build_study(lone, tmp_path / "s.html", replaced(Study(), {"tasks": "distinction"}))


# The file


def test_the_file_needs_nothing_but_itself_and_is_small(built) -> None:
    text = built[1].path.read_text()
    assert "default-src 'none'" in text
    assert re.findall(r"""(?:src|href)=["']?(?!data:)[^"' >]+""", text) == []
    assert "http://" not in text
    assert "https://" not in text
    assert built[1].n_bytes == len(text.encode()) <= 8_000_000


def test_what_is_right_is_not_in_the_file_but_for_practice(built, questions) -> None:
    asked = data_of(built[1].path)["questions"]
    assert {each["id"] for each in asked} == set(questions["question_id"])
    practice = set(questions.loc[questions["role"] == "practice", "question_id"])
    allowed = {"id", "block", "task", "options", "shown"}
    for each in asked:
        assert set(each) == allowed | ({"practice"} if each["id"] in practice else set())


# Who is counted


def test_people_who_see_parts_are_right_about_what_was_found(store, tmp_path) -> None:
    found = scores(store, tmp_path / "answers", error=0.0)
    for task in ("name", "intruder", "two_afc"):
        assert found.loc[(task, "found"), "accuracy"] > 0.95
        assert found.loc[(task, "found"), "accuracy_low"] > found.loc[(task, "found"), "chance"]


def test_controls_serve_people_who_see_parts_worse_than_what_was_found(tmp_path) -> None:
    store = write_store(tmp_path / "store")
    many = replaced(Study(), {"tasks": "intruder,two_afc", "trials": "200", "questions.n_practice": "0"})
    build_study(store, tmp_path / "s.html", many, picture_of=picture_of)
    found = scores(store, tmp_path / "answers", error=0.1)
    for task in ("intruder", "two_afc"):
        for control in ("random_cluster", "raw_region"):
            assert found.loc[(task, control), "above"] > 0.15
            assert found.loc[(task, control), "above_low"] > 0


def test_kappa_and_accuracy_rise_as_the_error_falls(store, tmp_path) -> None:
    rows = [
        scores(store, tmp_path / str(error), error=error, people=8).loc[("name", "found")]
        for error in (0.9, 0.6, 0.3, 0)
    ]
    assert [row["kappa"] for row in rows] == sorted(row["kappa"] for row in rows)
    assert [row["accuracy"] for row in rows] == sorted(row["accuracy"] for row in rows)
    assert rows[-1]["kappa"] == pytest.approx(1)
    assert rows[0]["kappa"] < 0.5


def test_random_answers_are_right_as_often_as_chance_and_are_set_apart(store, tmp_path) -> None:
    simulate(store, tmp_path / "random", error=float("nan"), people=8)
    scored = score_study(store, [tmp_path / "random"])
    assert not scored.sessions["is_counted"].any()  # they miss the catch trials
    assert all("inattentive" in each for each in scored.sessions["marks"])
    rows = scored.scores
    assert set(rows["population"]) == {"marked"}
    # One interval a task: of the many that are written one in twenty may miss.
    rows = rows[(rows["judged_model"] == "all") & (rows["judged_method"] == "all") & (rows["subject_group"] == "found")]
    for row in rows[rows["task"].isin(["intruder", "two_afc"])].to_dict("records"):
        assert row["accuracy_low"] <= row["chance"] <= row["accuracy_high"]


def sign(said: dict) -> dict:
    answers = [Answer(**each) for each in said["answers"]]
    return {**said, "sha256": checksum(said, answers)}


def spoil(said: dict, how: str) -> dict:
    answers = said["answers"]
    if how == "unfinished":
        return sign({**said, "answers": answers[: len(answers) // 2]})
    if how == "edited":
        return {**said, "answers": [{**answers[0], "milliseconds": 1}, *answers[1:]]}
    if how == "impossible":
        return sign({**said, "answers": [{**answers[0], "choice": "never offered"}, *answers[1:]]})
    if how == "twice":
        return sign({**said, "answers": [*answers, answers[0]]})
    if how == "foreign":
        return sign({**said, "study": "study-of-others"})
    if how == "hasty":
        return sign({**said, "answers": [{**each, "milliseconds": 200} for each in answers]})
    return said


MARKS = {
    "unfinished": "unfinished", "edited": "edited", "impossible": "edited", "twice": "edited", "foreign": "foreign",
    "hasty": "hasty",
}  # fmt: skip


@pytest.mark.parametrize(("how", "mark"), MARKS.items(), ids=MARKS)
def test_bad_answers_are_kept_marked_and_change_no_score_that_counts(store, tmp_path, how, mark) -> None:
    folder = tmp_path / "answers"
    files = simulate(store, folder, error=0.3, people=3)
    before = score_study(store, [folder]).scores
    said = json.loads(files[0].read_text())
    bad = {**said, "session": f"bad-{how}", "participant": "someone"}
    (folder / "bad.json").write_text(json.dumps(spoil(sign(bad), how)))
    after = score_study(store, [folder])
    row = after.sessions.set_index("file").loc["bad.json"]
    assert list(row["marks"]) == [mark]
    assert not row["is_counted"]
    assert row["error"]
    counted = after.scores[after.scores["population"] == "counted"].reset_index(drop=True)
    assert counted.equals(before.reset_index(drop=True))
    kept = table(store, "study_answers", run_id=after.study_id)
    n_kept = len(kept[kept["session"] == f"bad-{how}"])
    assert n_kept == 0 if how == "foreign" else n_kept >= row["n_answered"] > 0


def test_a_sitting_and_a_person_count_once(store, tmp_path) -> None:
    folder = tmp_path / "answers"
    files = simulate(store, folder, people=1)
    said = json.loads(files[0].read_text())
    shutil.copy(files[0], folder / "zz-copy.json")
    (folder / "zz-part.json").write_text(json.dumps(spoil(said, "unfinished")))
    (folder / "zz-again.json").write_text(json.dumps(sign({**said, "session": "another sitting"})))
    sessions = score_study(store, [folder]).sessions.set_index("file")
    assert sessions["is_counted"].sum() == 1
    assert sessions.loc[files[0].name, "is_counted"]
    for name in ("zz-copy.json", "zz-part.json", "zz-again.json"):
        assert "doubled" in sessions.loc[name, "marks"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": "other"}', '{"format": "xv-study-answers", "version": 9}', "\x00"]
)
def test_a_file_that_is_no_answers_is_a_row_that_says_so(store, tmp_path, text) -> None:
    folder = tmp_path / "answers"
    folder.mkdir()
    (folder / "a.json").write_text(text)
    (row,) = score_study(store, [folder]).sessions.to_dict("records")
    assert list(row["marks"]) == ["unreadable"]
    assert row["n_answered"] == 0


def test_values_of_wrong_types_are_no_crash(store, tmp_path) -> None:
    folder = tmp_path / "answers"
    said = json.loads(simulate(store, folder, people=1)[0].read_text())
    for index, wrong in enumerate([None, "7", True, 1.5]):
        answers = [{**said["answers"][0], "milliseconds": wrong}, *said["answers"][1:]]
        (folder / f"bad{index}.json").write_text(json.dumps({**said, "session": str(index), "answers": answers}))
    sessions = score_study(store, [folder]).sessions.set_index("file")
    assert all(list(sessions.loc[f"bad{index}.json", "marks"]) == ["edited"] for index in range(4))


def test_scoring_again_forgets_files_that_are_gone(store, tmp_path) -> None:
    folder = tmp_path / "answers"
    files = simulate(store, folder, people=2)
    assert len(score_study(store, [folder]).sessions) == 2
    assert len(score_study(store, [files[1]]).sessions) == 1
    with pytest.raises(StoreError, match="no answers"):
        score_study(store, [tmp_path / "nowhere"])


# Export


def test_trials_are_exported_in_the_published_layout(store, tmp_path) -> None:
    simulate(store, tmp_path / "answers", people=2)
    score_study(store, [tmp_path / "answers"])
    number = export_trials(store, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "task_1" / "index.json").read_text())
    assert index["n_trials"] == number == 22
    assert len(index["catch_trials"]) == 5
    assert len(index["demo_trials"]) == 2
    for trial in range(1, number + 1):
        folder = tmp_path / "out" / "task_1" / "trials" / f"trial_{trial}"
        assert sorted(path.name for path in (folder / "queries").iterdir()) == ["max.png", "min.png"]
        references = sorted(path.name for path in (folder / "references").iterdir())
        assert len(references) % 2 == 0
        assert {"max_0.png", "min_0.png"} <= set(references)
    assert (tmp_path / "out" / "answers.csv").read_text().count("\n") == 2 * number + 1


def test_the_study_is_published_with_the_other_runs(built) -> None:
    store, made = built
    status = store.status(made.study_id)
    assert status["status"].tolist() == ["complete"]
    assert status["dataset"].tolist() == [DATASET]
    assert (Path(store.url) / "tables" / "study_questions" / f"{made.study_id}.parquet").exists()
