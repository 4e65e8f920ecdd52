"""Which files are images: by suffix, by content where there is none, and what is left out is said."""

import io
import logging
import os
from pathlib import Path

import pytest
from PIL import Image
from test_datasets import ids, touch

from xvcore.data import ImageRecord, decode, open_dataset
from xvcore.data.decode import FORMATS
from xvcore.data.files import HEAD, SUFFIXES, begins_like_image, left_out


def encoded(name: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "green").save(file, name)
    return file.getvalue()


@pytest.mark.parametrize("name", FORMATS)
def test_what_can_be_decoded_is_told_by_its_first_bytes(name: str) -> None:
    data = encoded(name)
    assert begins_like_image(data[:HEAD])
    assert decode(data).size == (40, 30)


@pytest.mark.parametrize(
    "text", [b"", b"BMW and Audi, 1999, in a list of words", b"P5 of the paper", b"GIF is a format", b"\0" * 40]
)
def test_what_is_no_image_does_not_begin_like_one(text: bytes) -> None:
    assert not begins_like_image(text[:HEAD])


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_suffixes_of_images_count_in_any_case(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path / "a" / f"1{suffix}", tmp_path / "a" / f"2{suffix.upper()}")
    assert ids(open_dataset(f"imagefolder:{tmp_path}"), "a") == [f"a/1{suffix}", f"a/2{suffix.upper()}"]


NAMELESS = ["IMG_0001", "St. Bernard 3", "photo.2019", "photo.jpg_1", "photo.jpg~", "photo.jpg?w=100", "photo.jpg (2)"]


def test_files_without_suffix_are_told_by_content(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    for name in NAMELESS:
        (folder / name).write_bytes(encoded("JPEG"))
    touch(folder / "README", folder / "notes.1", folder / "empty")
    (folder / "empty").write_bytes(b"")
    dataset = open_dataset(f"imagefolder:{tmp_path}")
    assert ids(dataset, "a") == sorted(f"a/{name}" for name in NAMELESS)
    assert decode(dataset.read(dataset.images("a")[0])).size == (40, 30)


def test_a_suffix_of_another_kind_is_believed(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "half.part").write_bytes(encoded("JPEG"))
    assert ids(open_dataset(f"imagefolder:{tmp_path}"), "a") == ["a/1.png"]


def test_a_class_of_files_without_suffix_is_a_class(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1").write_bytes(encoded("PNG"))
    assert ids(open_dataset(f"imagefolder:{tmp_path}"), "a") == ["a/1"]


def test_a_pipe_is_no_image_and_nobody_waits_for_it(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.png")
    os.mkfifo(tmp_path / "a" / "pipe")
    assert ids(open_dataset(f"imagefolder:{tmp_path}"), "a") == ["a/1.png"]


def test_what_is_left_out_of_a_class_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["1.png", "2.heic", "3.HEIC", "3.xml", "README", ".DS_Store", "Thumbs.db", "below/4.avif"]
    touch(*(tmp_path / "a" / name for name in names), tmp_path / "b" / "1.png")
    dataset = open_dataset(f"imagefolder:{tmp_path}")
    with caplog.at_level(logging.WARNING):
        for class_id in ("a", "b", "a"):
            dataset.images(class_id)
    (message,) = caplog.messages
    assert message.startswith(f"class a of imagefolder:{tmp_path}: left out")
    assert "2 .heic, 1 .avif, 1 .xml, 1 without suffix" in message


def test_folders_without_images_and_images_beside_the_classes_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path / "a" / "1.png", tmp_path / "labels" / "1.txt", tmp_path / "loose.jfif")
    with caplog.at_level(logging.WARNING):
        open_dataset(f"imagefolder:{tmp_path}")
    assert "1 folders without images are left out: labels" in caplog.text
    assert "1 images lie beside the folders of classes" in caplog.text


def test_nothing_is_said_of_a_clean_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path / "a" / "1.png", tmp_path / "b" / "deep" / "1.jpg")
    with caplog.at_level(logging.WARNING):
        for class_id in ("a", "b"):
            open_dataset(f"imagefolder:{tmp_path}").images(class_id)
    assert not caplog.messages


def test_kinds_are_counted_the_most_first() -> None:
    assert left_out(["a/1.txt", "2.xml", "3.TXT", "desktop.ini", "LICENSE"]) == "2 .txt, 1 .xml, 1 without suffix"
    assert left_out([]) == ""


def test_an_image_without_suffix_that_went_away_is_its_row(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("1", "2"):
        (tmp_path / "a" / name).write_bytes(encoded("PNG"))
    dataset = open_dataset(f"imagefolder:{tmp_path}")
    (tmp_path / "a" / "1").unlink()
    with pytest.raises(FileNotFoundError):
        dataset.read(ImageRecord("a/1", "", "a"))
