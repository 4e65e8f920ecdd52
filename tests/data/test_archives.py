"""Images in Parquet files, tar shards and tables: the same images as in folders, read safely."""

import csv
import io
import json
import logging
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from test_datasets import class_ids, ids, touch, write

from xvcore.data import Dataset, ImageRecord, decode, load_batches, manifest, open_dataset
from xvcore.errors import DataError, ImageError

NAMES = ["tench, Tinca tinca", "n01558993-robin", "a=b"]


def picture(shade: int, name: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (shade, 0, 0)).save(file, name)
    return file.getvalue()


SHELF = [(n % 3, picture(10 * n)) for n in range(8)]
"""Label and file of each image."""


def hugging_face(file: Path, *, rows: list[tuple[int | None, bytes | None]] | None = None, group: int = 3) -> None:
    rows = SHELF if rows is None else rows
    cells = [{"bytes": data, "path": f"{n}.png"} for n, (_, data) in enumerate(rows)]
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())])
    features = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
    schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pydict({"image": cells, "label": [label for label, _ in rows]}, schema=schema)
    parquet.write_table(table, file, row_group_size=group)


def shard(file: Path, members: list[tuple[str, bytes]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as content:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            content.addfile(info, io.BytesIO(data))


def samples(rows: list[tuple[int, bytes]], prefix: str = "s") -> list[tuple[str, bytes]]:
    return [
        each
        for n, (label, data) in enumerate(rows)
        for each in ((f"{prefix}{n:03d}.png", data), (f"{prefix}{n:03d}.cls", str(label).encode()))
    ]


def in_parquet(root: Path) -> str:
    hugging_face(root / "data" / "train-00000-of-00002.parquet", rows=SHELF[:5])
    hugging_face(root / "data" / "train-00001-of-00002.parquet", rows=SHELF[5:])
    return f"parquet:{root}"


def in_shards(root: Path) -> str:
    shard(root / "train-000000.tar", samples(SHELF[:5]))
    shard(root / "train-000001.tar", samples(SHELF[5:]))
    write(root / "classnames.txt", *NAMES)
    return f"webdataset:{root}"


def in_table(root: Path) -> str:
    for n, (_, data) in enumerate(SHELF):
        (root / f"{n}.png").write_bytes(data)
    with (root / "list.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "class"])
        rows.writerows([f"./{n}.png", NAMES[label]] for n, (label, _) in enumerate(SHELF))
    return f"csv:{root}/list.csv"


SHELVES = {"parquet": in_parquet, "webdataset": in_shards, "csv": in_table}


def contents(dataset: Dataset) -> dict[str, list[bytes]]:
    return {
        info.class_id: sorted(dataset.read(each) for each in dataset.images(info.class_id)) for info in dataset.classes
    }


@pytest.mark.parametrize("kind", SHELVES)
def test_every_kind_holds_the_same_images(tmp_path: Path, kind: str) -> None:
    dataset = open_dataset(SHELVES[kind](tmp_path))
    assert isinstance(dataset, Dataset)
    assert contents(dataset) == {
        name: sorted(data for label, data in SHELF if label == n) for n, name in enumerate(NAMES)
    }
    by_id = {info.class_id: (info.class_name, info.wnid) for info in dataset.classes}
    assert by_id == {NAMES[0]: (NAMES[0], None), NAMES[1]: ("robin", "n01558993"), NAMES[2]: (NAMES[2], None)}
    assert [info.class_idx for info in dataset.classes] == [0, 1, 2]
    assert dataset.parts(NAMES[0]) == ()
    assert dataset.name.startswith(f"{kind}:{tmp_path}")
    with pytest.raises(DataError, match="did you mean a=b"):
        dataset.images("a=c")


@pytest.mark.parametrize("kind", SHELVES)
def test_images_keep_their_identity(tmp_path: Path, kind: str) -> None:
    spec = SHELVES[kind](tmp_path)
    one, other = open_dataset(spec), open_dataset(f"{spec}?name=mine")
    rows = [row for info in one.classes for row in manifest(one, info.class_id, max_images=None)]
    assert rows == [row for info in other.classes for row in manifest(other, info.class_id, max_images=None)]
    assert other.name == "mine"
    assert len({row.image_id for row in rows}) == len({row.sha256 for row in rows}) == len(SHELF)
    assert all(row.error is None for row in rows)
    for info in one.classes:
        assert ids(one, info.class_id) == sorted(ids(one, info.class_id))


@pytest.mark.parametrize("kind", SHELVES)
def test_threads_get_what_one_reader_gets(tmp_path: Path, kind: str) -> None:
    dataset = open_dataset(SHELVES[kind](tmp_path))
    rows = manifest(dataset, NAMES[0], max_images=None) + manifest(dataset, NAMES[1], max_images=None)

    def shade(image):
        import torch

        return torch.tensor([[[float(image.getpixel((0, 0))[0])]]] * 3)

    for n_threads in (1, 4):
        batches = list(load_batches(dataset, rows, shade, batch_size=2, n_threads=n_threads))
        shades = [float(image[0, 0, 0]) for batch in batches for image in batch.images]
        assert shades == [decode(dataset.read(ImageRecord(row.image_id, "", ""))).getpixel((0, 0))[0] for row in rows]


@pytest.mark.parametrize("kind", SHELVES)
def test_what_is_no_image_of_the_dataset_is_not_read(tmp_path: Path, kind: str) -> None:
    dataset = open_dataset(SHELVES[kind](tmp_path))
    (tmp_path / "secret").write_text("x")
    for image_id in ("secret", "../secret", "/etc/passwd", "list.csv", ""):
        with pytest.raises(ImageError, match="is no image of"):
            dataset.read(ImageRecord(image_id, "", ""))


@pytest.mark.parametrize("kind", SHELVES)
def test_a_file_that_is_too_large_is_its_row(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    dataset = open_dataset(SHELVES[kind](tmp_path))
    for module in ("places", "webdataset", "parquet_images"):
        monkeypatch.setattr(sys.modules[f"xvcore.data.{module}"], "MAX_BYTES", 20)
    rows = manifest(dataset, NAMES[0], max_images=None)
    assert all("too large" in (row.error or "") for row in rows)


@pytest.mark.parametrize("kind", SHELVES)
def test_a_dataset_that_went_away_is_no_fault_of_its_images(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in").mkdir()
    dataset = open_dataset(SHELVES[kind](tmp_path / "in"))
    (tmp_path / "in").rename(tmp_path / "away")
    with pytest.raises(DataError, match="is empty now, or away"):
        dataset.read(dataset.images(NAMES[0])[0])


@pytest.mark.parametrize("kind", SHELVES)
def test_nothing_there_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_dataset(f"{kind}:{tmp_path}/nowhere")
    with pytest.raises(DataError, match="needs a folder or a file"):
        open_dataset(kind)
    with pytest.raises(DataError, match="a password in a URL"):
        open_dataset(f"{kind}:ftp://me:secret@host/folder")
    with pytest.raises(DataError, match=r"is a folder; expected a table|has no \.(tar|parquet) files"):
        open_dataset(f"{kind}:{tmp_path}")


# -- parquet ---------------------------------------------------------------------------------------------------------


def test_splits_of_parquet_are_told_by_names(tmp_path: Path) -> None:
    in_parquet(tmp_path)
    hugging_face(tmp_path / "data" / "validation-00000-of-00001.parquet", rows=SHELF[:1])
    hugging_face(tmp_path / "default" / "test" / "0000.parquet", rows=SHELF[:2])
    sizes = {}
    for split in ("train", "val", "validation", "test"):
        dataset = open_dataset(f"parquet:{tmp_path}?split={split}")
        sizes[dataset.split, split] = sum(len(dataset.images(each)) for each in class_ids(dataset))
    assert sizes == {("train", "train"): 8, ("val", "val"): 1, ("val", "validation"): 1, ("test", "test"): 2}
    with pytest.raises(DataError, match=r"unknown split.*'dev set two'.*known: test, train, val"):
        open_dataset(f"parquet:{tmp_path}?split=dev set two")


def test_images_without_label_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hugging_face(tmp_path / "a.parquet", rows=[*SHELF, (-1, picture(1)), (None, picture(2))])
    with caplog.at_level(logging.WARNING):
        dataset = open_dataset(f"parquet:{tmp_path}/a.parquet")
    assert sum(len(dataset.images(each)) for each in class_ids(dataset)) == len(SHELF)
    assert "left out: 2 images without label" in caplog.text


def test_a_cell_without_bytes_is_its_row_and_its_path_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(picture(1))
    hugging_face(tmp_path / "a.parquet", rows=[(0, None), *SHELF])
    rows = manifest(open_dataset(f"parquet:{tmp_path}/a.parquet"), NAMES[0], max_images=None)
    assert [row.error is None for row in rows] == [False, True, True, True]
    assert "not followed" in (rows[0].error or "")


def test_columns_are_told_by_type_and_name_or_chosen(tmp_path: Path) -> None:
    table = pa.table(
        {"picture": [data for _, data in SHELF], "coarse": ["x"] * 8, "label": [f"c{n}" for n, _ in SHELF]}
    )
    parquet.write_table(table, tmp_path / "plain.parquet")
    assert class_ids(open_dataset(f"parquet:{tmp_path}")) == ["c0", "c1", "c2"]
    assert class_ids(open_dataset(f"parquet:{tmp_path}?label=coarse")) == ["x"]
    with pytest.raises(DataError, match="column label holds string; expected bytes"):
        open_dataset(f"parquet:{tmp_path}?image=label")
    with pytest.raises(DataError, match=r"unknown column.*'labl'; did you mean label"):
        open_dataset(f"parquet:{tmp_path}?label=labl")
    parquet.write_table(table.append_column("mask", table["picture"]), tmp_path / "plain.parquet")
    with pytest.raises(DataError, match=r"several columns have a image \(picture, mask\); choose one: \?image="):
        open_dataset(f"parquet:{tmp_path}")
    assert class_ids(open_dataset(f"parquet:{tmp_path}?image=mask")) == ["c0", "c1", "c2"]
    parquet.write_table(table.drop_columns(["label"]), tmp_path / "plain.parquet")
    with pytest.raises(DataError, match="no column has a label that could be told"):
        open_dataset(f"parquet:{tmp_path}")


def test_numbers_without_names_are_classes_in_their_order(tmp_path: Path) -> None:
    table = pa.table({"image": [data for _, data in SHELF], "label": [n * 5 for n, _ in SHELF]})
    parquet.write_table(table, tmp_path / "plain.parquet")
    assert class_ids(open_dataset(f"parquet:{tmp_path}")) == ["0", "5", "10"]
    write(tmp_path / "names.txt", *(f"class {n}" for n in range(11)))
    assert class_ids(open_dataset(f"parquet:{tmp_path}?names={tmp_path}/names.txt")) == [
        "class 0",
        "class 5",
        "class 10",
    ]
    write(tmp_path / "names.txt", "only one")
    with pytest.raises(DataError, match="label '10' is none of the 1 classes"):
        open_dataset(f"parquet:{tmp_path}?names={tmp_path}/names.txt")


def test_a_group_of_rows_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xvcore.data import parquet_images

    dataset = open_dataset(in_parquet(tmp_path))
    monkeypatch.setattr(parquet_images, "MAX_GROUP_BYTES", 10)
    rows = manifest(dataset, NAMES[0], max_images=None)
    assert all("too large: its group of rows holds" in (row.error or "") for row in rows)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + b"x" * 50 + b"PAR1"])
def test_a_damaged_table_is_named(tmp_path: Path, data: bytes) -> None:
    in_parquet(tmp_path)
    (tmp_path / "data" / "train-00001-of-00002.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"train-00001-of-00002\.parquet cannot be read as Parquet"):
        open_dataset(f"parquet:{tmp_path}")


# -- webdataset ------------------------------------------------------------------------------------------------------


def test_shards_may_be_one_or_a_range_or_a_split(tmp_path: Path) -> None:
    in_shards(tmp_path)
    shard(tmp_path / "val-000000.tar", samples(SHELF[:2]))
    assert ids(open_dataset(f"webdataset:{tmp_path}/val-000000.tar"), NAMES[0]) == ["val-000000.tar/s000.png"]
    some = open_dataset(f"webdataset:{tmp_path}/train-{{000000..000001}}.tar")
    assert (some.name, contents(some)) == (
        f"webdataset:{tmp_path}/train-{{000000..000001}}.tar",
        contents(open_dataset(f"webdataset:{tmp_path}?split=train")),
    )
    assert ids(open_dataset(f"webdataset:{tmp_path}?split=val"), NAMES[1]) == ["val-000000.tar/s001.png"]
    with pytest.raises(DataError, match=r"has no train-000002\.tar"):
        open_dataset(f"webdataset:{tmp_path}/train-{{000000..000002}}.tar")
    with pytest.raises(DataError, match=r"unknown split.*'test'.*known: train, val"):
        open_dataset(f"webdataset:{tmp_path}?split=test")


def test_pictures_of_a_shard_may_end_in_several_ways(tmp_path: Path) -> None:
    """Readers that take the columns from the first samples lose the pictures of the others."""
    shard(
        tmp_path / "a.tar",
        [
            each
            for n, suffix in enumerate(["jpg"] * 6 + ["png", "jpeg", "JPEG", "webp"])
            for each in ((f"s{n}.{suffix}", picture(9 * n, "PNG" if suffix == "png" else "JPEG")), (f"s{n}.cls", b"0"))
        ],
    )
    dataset = open_dataset(f"webdataset:{tmp_path}/a.tar")
    assert [decode(dataset.read(image)).size for image in dataset.images("0")] == [(8, 6)] * 10


def test_labels_of_shards_come_from_json_where_there_is_no_cls(tmp_path: Path) -> None:
    members = []
    for n, (label, data) in enumerate(SHELF):
        members += [(f"d/{n}.PNG", data), (f"d/{n}.json", json.dumps({"label": label, "kind": f"k{label}"}).encode())]
    shard(tmp_path / "a.tar", [*members, ("d/99.txt", b"a caption")])
    assert class_ids(open_dataset(f"webdataset:{tmp_path}")) == ["0", "1", "2"]
    assert class_ids(open_dataset(f"webdataset:{tmp_path}?label=kind")) == ["k0", "k1", "k2"]


def test_samples_without_label_or_image_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    more = [("x.png", picture(1)), ("y.cls", b"1"), ("z.png", picture(2)), ("z.cls", b"-1")]
    shard(tmp_path / "a.tar", [*samples(SHELF), *more])
    with caplog.at_level(logging.WARNING):
        dataset = open_dataset(f"webdataset:{tmp_path}")
    assert sum(len(dataset.images(each)) for each in class_ids(dataset)) == len(SHELF)
    assert "2 samples without label" in caplog.text
    assert "1 samples without image" in caplog.text


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "./../evil.png"])
def test_a_member_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    shard(tmp_path / "a.tar", [*samples(SHELF), (name, picture(1))])
    with pytest.raises(DataError, match="leads out of the shard"):
        open_dataset(f"webdataset:{tmp_path}")


def test_names_of_members_are_valid_text(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as content:
        for name, data in (("caf\udce9.png", picture(3)), ("caf\udce9.cls", b"0")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            content.addfile(info, io.BytesIO(data))
    dataset = open_dataset(f"webdataset:{tmp_path}")
    assert ids(dataset, "0") == ["a.tar/caf\\xe9.png"]
    assert dataset.read(dataset.images("0")[0]) == picture(3)


def test_links_in_a_shard_are_not_followed(tmp_path: Path) -> None:
    shard(tmp_path / "a.tar", samples(SHELF))
    (tmp_path / "secret.png").write_bytes(picture(99))
    with tarfile.open(tmp_path / "a.tar", "a") as content:
        for kind, name in ((tarfile.SYMTYPE, "l.png"), (tarfile.LNKTYPE, "h.png"), (tarfile.CHRTYPE, "c.png")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(tmp_path / "secret.png")
            content.addfile(info)
        info = tarfile.TarInfo("l.cls")
        info.size = 1
        content.addfile(info, io.BytesIO(b"0"))
    assert contents(open_dataset(f"webdataset:{tmp_path}")) == {
        str(n): sorted(d for label, d in SHELF if label == n) for n in range(3)
    }


def test_several_pictures_of_a_sample_are_chosen_from(tmp_path: Path) -> None:
    members = [
        each
        for n, (label, data) in enumerate(SHELF)
        for each in (
            (f"{n}.jpg", picture(n, "JPEG")),
            (f"{n}.png", data),
            (f"{n}.seg.png", picture(0)),
            (f"{n}.cls", str(label).encode()),
        )
    ]
    shard(tmp_path / "a.tar", members)
    with pytest.raises(DataError, match=r"has several pictures \(jpg, png\); choose one"):
        open_dataset(f"webdataset:{tmp_path}")
    assert ids(open_dataset(f"webdataset:{tmp_path}?image=png"), "2") == ["a.tar/2.png", "a.tar/5.png"]
    with pytest.raises(DataError, match=r"has no picture \.webp"):
        open_dataset(f"webdataset:{tmp_path}?image=webp")


def test_a_shard_that_is_compressed_damaged_or_cut_is_said(tmp_path: Path) -> None:
    in_shards(tmp_path)
    whole = (tmp_path / "train-000000.tar").read_bytes()
    with tarfile.open(tmp_path / "train-000000.tar", "w:gz") as content:
        content.addfile(tarfile.TarInfo("a.cls"))
    with pytest.raises(DataError, match=r"train-000000\.tar cannot be read as a tar file: damaged, or compressed"):
        open_dataset(f"webdataset:{tmp_path}")
    for data in (b"", b"nothing like it" * 50):
        (tmp_path / "train-000000.tar").write_bytes(data)
        with pytest.raises(DataError, match="cannot be read as a tar file"):
            open_dataset(f"webdataset:{tmp_path}/train-000000.tar")
    (tmp_path / "train-000000.tar").write_bytes(whole)
    dataset = open_dataset(f"webdataset:{tmp_path}/train-000000.tar")
    (tmp_path / "train-000000.tar").write_bytes(whole[:530])
    with pytest.raises(ImageError, match="cut off: the shard holds 18 of its"):
        dataset.read(dataset.images(NAMES[0])[0])
    touch(tmp_path / "packed" / "a.tar.gz")
    with pytest.raises(DataError, match=r"a\.tar\.gz is compressed"):
        open_dataset(f"webdataset:{tmp_path}/packed")


# -- csv -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", [("path", "class"), ("File Name", "Label"), None])
def test_tables_are_read_as_people_write_them(tmp_path: Path, delimiter: str, header: tuple[str, str] | None) -> None:
    touch(tmp_path / "a" / "1.png", tmp_path / "a" / "2.png")
    rows = [("a\\2.png", "cat"), (f"{tmp_path}/a/1.png", "dog")]
    lines = [delimiter.join(row) for row in ([header] if header else []) + rows]
    (tmp_path / "list.csv").write_text("\ufeff" + "\r\n".join(lines) + "\r\n\r\n", encoding="utf-8")
    dataset = open_dataset(f"csv:{tmp_path}/list.csv")
    if header is None:
        assert class_ids(dataset) == ["cat", "dog"]
    assert {key: ids(dataset, key) for key in class_ids(dataset)} == {"cat": ["a/2.png"], "dog": ["a/1.png"]}


def test_images_of_a_table_may_lie_elsewhere_and_in_splits(tmp_path: Path) -> None:
    touch(tmp_path / "pictures" / "1.png")
    write(tmp_path / "list.csv", "id,img,species,split", "7,1.png,cat,train", "8,2.png,dog,val")
    dataset = open_dataset(f"csv:{tmp_path}/list.csv?root={tmp_path}/pictures")
    assert dataset.read(dataset.images("cat")[0]) == b"x"
    assert "cannot be read: No such file" in (manifest(dataset, "dog", max_images=None)[0].error or "")
    assert class_ids(open_dataset(f"csv:{tmp_path}/list.csv?root={tmp_path}/pictures&split=val")) == ["dog"]
    assert class_ids(open_dataset(f"csv:{tmp_path}/list.csv?label=id&image=img")) == ["7", "8"]
    with pytest.raises(DataError, match=r"unknown split.*'test'.*known: train, val"):
        open_dataset(f"csv:{tmp_path}/list.csv?split=test")


@pytest.mark.parametrize(
    "path",
    [
        "../1.png",
        "a/../../1.png",
        "/etc/passwd",
        "..",
        ".",
        "..\\1.png",
        "s3://bucket/1.png",
        "file:///etc/passwd",
        "C:\\1.png",
        "{0}/../1.png",
        "{0}x/1.png",
    ],
)
def test_a_path_that_leads_out_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "in").mkdir()
    touch(tmp_path / "1.png", tmp_path / "inx" / "1.png")
    write(tmp_path / "in" / "list.csv", "path,class", f"{path.format(tmp_path / 'in')},cat")
    with pytest.raises(DataError, match=r"list\.csv, row 2: path .* does not lie in"):
        open_dataset(f"csv:{tmp_path}/in/list.csv")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["path,class", "1.png"], "row 2: 1 cells, expected 2"),
        (["path,class", "1.png,"], "row 2: no class"),
        (["path,class", ",cat"], "row 2: no path"),
        (["path,class", "1.png,cat", "./1.png,dog"], "row 3: 1.png is both cat and dog"),
        (["path,class"], "no rows"),
        ([""], "an empty table"),
        (["a,b", "1.png,cat"], r"which column has the image\? It has a, b; expected path or image"),
        (["path,b", "1.png,cat"], r"which column has the label.*or \?label=COLUMN"),
        (["path,class", '"1.png,cat'], "cannot be read as a table"),
    ],
)
def test_tables_that_say_too_little_are_refused(tmp_path: Path, lines: list[str], words: str) -> None:
    write(tmp_path / "list.csv", *lines)
    with pytest.raises(DataError, match=words):
        open_dataset(f"csv:{tmp_path}/list.csv")


# -- by URL ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(s3_server, monkeypatch, request):
    """An empty bucket, reached by what the environment says."""
    import s3fs

    settings = {
        "ACCESS_KEY_ID": "test",
        "SECRET_ACCESS_KEY": "test",
        "DEFAULT_REGION": "us-east-1",
        "ENDPOINT_URL": s3_server,
    }
    for name, value in {**settings, "EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    s3fs.S3FileSystem.clear_instance_cache()
    filesystem = s3fs.S3FileSystem()
    name = request.node.name.replace("_", "-").replace("[", "-").replace("]", "").lower()[-60:].strip("-")
    filesystem.mkdir(name)
    yield filesystem, f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize("kind", [*SHELVES, "imagefolder"])
def test_the_same_images_lie_on_an_object_store(tmp_path: Path, bucket, kind: str) -> None:
    filesystem, url = bucket
    if kind == "imagefolder":
        for n, (label, data) in enumerate(SHELF):
            (tmp_path / f"c{label}").mkdir(exist_ok=True)
            (tmp_path / f"c{label}" / f"{n}.png").write_bytes(data)
        spec = f"imagefolder:{tmp_path}"
    else:
        spec = SHELVES[kind](tmp_path)
    filesystem.put(f"{tmp_path}/", f"{url}/some/", recursive=True)
    here = open_dataset(spec)
    there = open_dataset(spec.replace(str(tmp_path), f"{url}/some"))
    assert there.classes == here.classes
    for info in here.classes:
        assert ids(there, info.class_id) == ids(here, info.class_id)
        assert [here.read(each) for each in here.images(info.class_id)] == [
            there.read(each) for each in there.images(info.class_id)
        ]
        assert all(each.path.startswith(f"{url}/some/") for each in there.images(info.class_id))
    assert there.name == here.name.replace(str(tmp_path), f"{url}/some")


def test_splits_on_an_object_store_are_no_classes(bucket) -> None:
    filesystem, url = bucket
    for name in ("Train/cat/1.png", "Train/dog/2.PNG", "Test/cat/1.png", "notes/readme.txt"):
        filesystem.pipe_file(f"{url}/{name}", b"x")
    with pytest.raises(DataError, match=r"Test, Train look like splits.*beside them: notes"):
        open_dataset(f"imagefolder:{url}")
    dataset = open_dataset(f"imagefolder:{url}?split=Train")
    assert {key: ids(dataset, key) for key in class_ids(dataset)} == {
        "cat": ["Train/cat/1.png"],
        "dog": ["Train/dog/2.PNG"],
    }
    with pytest.raises(DataError, match="unknown split"):
        open_dataset(f"imagefolder:{url}?split=Val")


def test_an_object_store_out_of_reach_is_a_connection_and_nothing_there_is_said(bucket, monkeypatch) -> None:
    filesystem, url = bucket
    filesystem.pipe_file(f"{url}/a/1.png", b"x")
    dataset = open_dataset(f"imagefolder:{url}")
    with pytest.raises(DataError, match="does not exist"):
        open_dataset(f"imagefolder:{url}/nowhere")
    from botocore.exceptions import EndpointConnectionError

    def unreachable(*_, **__):
        raise EndpointConnectionError(endpoint_url="http://nowhere")

    monkeypatch.setattr(dataset.files.filesystem, "cat_file", unreachable)
    with pytest.raises(ConnectionError, match="EndpointConnectionError"):
        dataset.read(dataset.images("a")[0])
