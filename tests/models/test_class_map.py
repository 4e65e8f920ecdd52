"""Laws of the class map as a whole: every entry names exactly one class of the dataset, and no class twice."""

from dataclasses import dataclass

import pytest

from xvcore.errors import LabelError
from xvcore.models.labels import check_map


@dataclass(frozen=True)
class Known:
    class_id: str
    class_name: str
    wnid: str | None = None


CLASSES = (
    Known("n01", "tench, Tinca tinca"),
    Known("n02", "crane"),
    Known("n03", "crane"),
    Known("n04", "Tench's friend (owl)"),
    Known("crane's id", "bird"),
)


@pytest.mark.parametrize("key", ["n01", "tench", "Tinca_tinca", "TENCH", "owl", "crane's id", "bird"])
def test_an_entry_names_a_class_by_id_or_by_any_spelling_of_its_name(key) -> None:
    check_map({key: "0"}, CLASSES)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"tnch": "0"}, "'tnch'; did you mean tench"),
        ({"n1": "0"}, "did you mean n01"),
        ({"tench": "0", "nothing like it": "1"}, r"'nothing like it' \(5 classes"),
        ({"crane": "0"}, r"'crane' names 2 classes \(n02, n03\)"),
        ({"tench": "0", "n01": "1"}, "'tench' and 'n01' are one class"),
        ({"tench": " "}, "'tench' has no output"),
        ({"": "0"}, "''"),
    ],
)
def test_any_other_entry_is_refused_by_name(entries, words) -> None:
    with pytest.raises(LabelError, match=words):
        check_map(entries, CLASSES)


def test_saying_the_same_twice_is_no_contradiction() -> None:
    check_map({"tench": "0", "n01": "0"}, CLASSES)
    check_map({}, CLASSES)
