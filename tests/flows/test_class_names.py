"""Classes whose names hold commas, equals signs or quotes can be given on the command line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.flags import ClassFlags, mapped, names
from xvcore.errors import ParameterError, UnknownNameError

NAMES = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=' ,="@'), min_size=1).filter(
    lambda name: name.strip() == name
)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@given(st.lists(NAMES, min_size=1))
def test_quoted_names_come_out_as_they_are(given_names: list[str]) -> None:
    assert names(", ".join(map(quoted, given_names)), "--classes") == given_names


@given(st.dictionaries(NAMES, NAMES))
def test_a_quoted_map_comes_out_as_it_is(class_map: dict[str, str]) -> None:
    assert (
        mapped([f"{quoted(name)}={quoted(output)}" for name, output in class_map.items()], "--class-map") == class_map
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("robin", ["robin"]),
        ("robin,, jay ,", ["robin", "jay"]),
        ('"tench, Tinca tinca",jay', ["tench, Tinca tinca", "jay"]),
        ('jay , "tench, Tinca tinca" ', ["jay", "tench, Tinca tinca"]),
        ('a 6" nail,jay', ['a 6" nail', "jay"]),
        ('"say ""hi"", bird"', ['say "hi", bird']),
        ("a=b", ["a=b"]),
        ("bird@home", ["bird@home"]),
    ],
)
def test_names_are_separated_by_commas_outside_of_quotes(text: str, expected: list[str]) -> None:
    assert names(text, "--classes") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jay=3", ("jay", "3")),
        (" jay = blue jay ", ("jay", "blue jay")),
        ("jay=a=b", ("jay", "a=b")),
        ('"a=b"=3', ("a=b", "3")),
        ('"a=b"="x=y"', ("a=b", "x=y")),
        ("tench, Tinca tinca=0", ("tench, Tinca tinca", "0")),
        ('a 6" nail=4', ('a 6" nail', "4")),
        ('"@home"=1', ("@home", "1")),
    ],
)
def test_a_class_ends_at_the_first_equals_sign_outside_of_quotes(text: str, expected: tuple[str, str]) -> None:
    assert mapped([text], "--class-map") == dict([expected])


@pytest.mark.parametrize("text", [",", '"tench', '"tench"x,jay', '"', "@/nowhere/at/all"])
def test_lists_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="--classes"):
        names(text, "--classes")


@pytest.mark.parametrize("text", ["jay", "=3", '""=3', '"a=b', "@/nowhere/at/all"])
def test_maps_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="--class-map"):
        mapped([text], "--class-map")


def test_one_class_twice_is_refused_unless_it_says_the_same() -> None:
    assert mapped(["jay=1", '"jay"=1'], "--class-map") == {"jay": "1"}
    with pytest.raises(ParameterError, match="jay is given twice, as '1' and as '2'"):
        mapped(["jay=1", "jay=2"], "--class-map")


def test_files_hold_names_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text('\ufefftench, Tinca tinca\n\n  a=b\n"quoted"\n@home\n', encoding="utf-8")
    expected = ["tench, Tinca tinca", "a=b", '"quoted"', "@home"]
    assert names(f"@{tmp_path}/classes.txt", "--classes") == expected
    (tmp_path / "map.json").write_text(json.dumps({"a=b": 3, "tench, Tinca tinca": "n01440764"}))
    (tmp_path / "map.txt").write_text('jay=17\n"x=y"=5\n')
    both = mapped([f"@{tmp_path}/map.json", f"@{tmp_path}/map.txt", "crow=1"], "--class-map")
    assert both == {"a=b": "3", "tench, Tinca tinca": "n01440764", "jay": "17", "x=y": "5", "crow": "1"}


@pytest.mark.parametrize("text", ['{"a": [1]}', '{"a": true}', '{"a": 1', '{"a": 1, "a": 2}', "jay"])
def test_files_of_a_map_that_cannot_be_read_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "map").write_text(text)
    with pytest.raises(ParameterError, match="--class-map"):
        mapped([f"@{tmp_path}/map"], "--class-map")


def test_classes_with_commas_and_equals_signs_reach_the_request(tmp_path: Path) -> None:
    for name in ("tench, Tinca tinca", "a=b", "jay"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"x")
    asked = {"model": ["squeezenet1_1@random"], "dataset": f"imagefolder:{tmp_path}", "store": str(tmp_path / "store")}
    flags = ClassFlags(**asked, classes='"tench, Tinca tinca",a=b', class_map=['"a=b"=3', "tench, Tinca tinca=0"])
    flags.check()
    request = flags.request()
    assert request["classes"] == ["tench, Tinca tinca", "a=b"]
    assert request["class_map"] == {"a=b": "3", "tench, Tinca tinca": "0"}
    with pytest.raises(UnknownNameError, match="stands in double quotes, or in a file: --classes @FILE"):
        ClassFlags(**asked, classes="tench, Tinca tinca").check()
    with pytest.raises(UnknownNameError, match="jai") as refused:
        ClassFlags(**asked, classes="jai").check()
    assert "double quotes" not in str(refused.value)
