"""Names by parts, people, the user and a text-image model, and how far they agree."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from study_store import picture_of, write_store

from xvcore.errors import ParameterError, StoreError, UnknownNameError, WeightsError, XvError
from xvcore.parameters import replaced
from xvcore.query import table
from xvcore.study.runs.build import build_study
from xvcore.study.runs.score import score_study
from xvcore.study.runs.simulate import simulate
from xvcore.study.runs.tag import tag_study
from xvcore.study.runs.text_image import TextImage
from xvcore.study.settings import Study


@pytest.fixture
def study(tmp_path):
    store = write_store(tmp_path / "store")
    settings = replaced(Study(), {"tasks": "name", "trials": "40", "questions.found_share": "0.7"})
    return store, build_study(store, tmp_path / "s.html", settings, picture_of=picture_of).study_id


def test_parts_name_what_was_found_as_it_was_drawn(study) -> None:
    store, run_id = study
    tag_study(store, "parts")
    tags = table(store, "study_tags", run_id=run_id).set_index("subject_id")
    subjects = table(store, "study_subjects", run_id=run_id).set_index("subject_id")
    found = subjects[subjects["subject_group"] == "found"]
    drawn = {"summary 1": "head", "summary 2": "tail"}
    assert [tags.loc[each, "tag"] for each in found.index] == [drawn[label] for label in found["label"]]
    assert (tags.loc[found.index, "share"] == 1).all()


def test_people_who_see_parts_agree_with_the_annotation_the_less_the_more_they_err(study, tmp_path) -> None:
    store, _ = study
    with pytest.raises(StoreError, match="no answers"):
        tag_study(store, "people")
    tag_study(store, "parts")
    agreed = []
    for error in (0.9, 0.0):
        simulate(store, tmp_path / str(error), error=error, people=5)
        score_study(store, [tmp_path / str(error)])
        rows = tag_study(store, "people").set_index(["tagger", "other", "subjects"])
        assert (
            rows.loc[("people", "parts", "found"), "agreement"] == rows.loc[("parts", "people", "found"), "agreement"]
        )
        agreed.append(rows.loc[("people", "parts", "found"), "agreement"])
    assert agreed[0] < agreed[1] == 1


def test_the_user_names_some_and_mistakes_in_the_table_are_named(study, tmp_path) -> None:
    store, run_id = study
    subjects = table(store, "study_subjects", run_id=run_id)["subject_id"].to_list()
    path = tmp_path / "tags.csv"
    path.write_text(f"subject_id,tag\n{subjects[0]},  Red   Cap \n{subjects[1]},\n")
    tag_study(store, "user", path=path)
    assert table(store, "study_tags", run_id=run_id)["tag"].to_list() == ["red cap"]
    for text, message in [
        ("subject_id,tag\nnobody,head\n", "unknown subject 'nobody'"),
        ("subject,tag\n", "no column subject_id"),
        (f"subject_id,tag\n{subjects[0]},a\n{subjects[0]},b\n", "one for each"),
        ("", "no table of tags"),
    ]:
        path.write_text(text)
        with pytest.raises(ParameterError, match=message):
            tag_study(store, "user", path=path)
    with pytest.raises(ParameterError, match="name the table"):
        tag_study(store, "user")
    with pytest.raises(UnknownNameError, match="unknown tagger 'prats'"):
        tag_study(store, "prats")


class Tiny(torch.nn.Module):
    """Pictures and words meet in the mean colour: red is a head, green a body, blue a tail."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = torch.nn.Parameter(torch.tensor(3.0))

    def encode_image(self, images):
        return images.mean(dim=(2, 3))

    def encode_text(self, tokens):
        return tokens


@pytest.fixture
def open_clip(monkeypatch, tmp_path):
    """A stand-in of the package, whose weights are any file."""
    places = {"head": 0, "body": 1, "tail": 2}

    def tokens(sentences):
        return torch.stack(
            [torch.eye(3)[next(at for word, at in places.items() if word in each)] for each in sentences]
        )

    def create(name, pretrained):
        assert (name, pretrained) == ("tiny", str(tmp_path / "tiny.pt"))

        def preprocess(image):
            return torch.from_numpy(np.array(image.resize((8, 8)))).permute(2, 0, 1).float() / 255

        return Tiny(), None, preprocess

    stand_in = SimpleNamespace(create_model_and_transforms=create, get_tokenizer=lambda _: tokens)
    monkeypatch.setitem(sys.modules, "open_clip", stand_in)
    (tmp_path / "tiny.pt").write_bytes(b"weights")
    return tmp_path / "tiny.pt"


def test_a_text_image_model_chooses_the_nearest_words(open_clip) -> None:
    from PIL import Image

    shares = TextImage("tiny", str(open_clip))(
        [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")], ["tail", "head"]
    )
    assert shares.sum(axis=1) == pytest.approx(1)
    assert shares.argmax(axis=1).tolist() == [1, 0]


def test_a_text_image_model_tags_a_study(study, open_clip) -> None:
    store, run_id = study
    agreement = tag_study(store, "tiny", model=TextImage("tiny", str(open_clip)), picture_of=picture_of)
    assert len(agreement) == 0
    tags = table(store, "study_tags", run_id=run_id)
    assert set(tags["tag"]) <= {"head", "body", "tail"}
    assert len(tags) == len(table(store, "study_subjects", run_id=run_id))


def test_without_package_or_weights_it_is_said(open_clip, monkeypatch) -> None:
    with pytest.raises(WeightsError, match="no file"):
        TextImage("tiny", "nowhere.pt")
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(XvError, match="pip install"):
        TextImage("tiny", str(open_clip))
