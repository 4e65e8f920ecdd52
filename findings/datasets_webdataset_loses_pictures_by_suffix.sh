#!/usr/bin/env bash
# Hugging Face datasets 5.2.0, `load_dataset("webdataset")`, takes the columns from the first five samples of a tar. Where
# the first pictures are named .jpg and later ones .png, .jpeg or .JPEG (collections of several sources, ImageNet beside
# Caltech), every later picture is None and keeps its label: no error, no warning, and the number of rows is right. Where
# both suffixes are among the first five, the same tar is refused. The webdataset library 1.0.2 reads all of them with
# `decode("pil").to_tuple("jpg;png;jpeg", "cls")`.
#
# Seen on 2026-11-29, Python 3.11, x86-64:
#   jpg, then png    8 rows, 2 without a picture, labels [0, 1, 0, 1, 0, 1, 0, 1]   webdataset: 8 pictures
#   jpg, then jpeg   8 rows, 2 without a picture, labels [0, 1, 0, 1, 0, 1, 0, 1]   webdataset: 8 pictures
#   jpg, then JPEG   8 rows, 2 without a picture, labels [0, 1, 0, 1, 0, 1, 0, 1]   webdataset: 8 pictures
#   in turn          ValueError                                                     webdataset: 8 pictures
#
# Run by hand; needs PyPI and a minute. Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check \
    datasets==5.2.0 pillow==12.3.0 webdataset==1.0.2 numpy==2.4.6
cat > "$folder/read.py" <<'PYTHON'
import io
import sys
import tarfile
import warnings
from pathlib import Path

import datasets
import webdataset
from PIL import Image

warnings.simplefilter("ignore")
datasets.disable_progress_bars()
datasets.logging.set_verbosity_error()
FOLDER = Path(sys.argv[1])
N = 8


def written(name, suffixes):
    path = FOLDER / f"{name}.tar"
    with tarfile.open(path, "w") as tar:
        for number, suffix in enumerate(suffixes):
            picture = io.BytesIO()
            Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(picture, "PNG" if suffix == "png" else "JPEG")
            for ending, data in ((suffix, picture.getvalue()), ("cls", str(number % 2).encode())):
                member = tarfile.TarInfo(f"{number:04}.{ending}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return str(path)


def by_datasets(path):
    try:
        rows = datasets.load_dataset("webdataset", data_files=path, cache_dir=str(FOLDER / "cache"))["train"]
    except ValueError as error:
        return type(error).__name__
    missing = sum(row["jpg"] is None for row in rows)
    return f"{len(rows)} rows, {missing} without a picture, labels {rows['cls'][:]}"


def by_webdataset(path):
    rows = webdataset.WebDataset(path, shardshuffle=False).decode("pil").to_tuple("jpg;png;jpeg", "cls")
    return sum(picture.size == (8, 8) for picture, _ in rows)


lost = f"{N} rows, 2 without a picture, labels {[0, 1] * 4}"
cases = {f"jpg, then {other}": (["jpg"] * 6 + [other] * 2, lost) for other in ("png", "jpeg", "JPEG")}
cases["in turn"] = (["jpg", "png"] * 4, "ValueError")
for number, (title, (suffixes, expected)) in enumerate(cases.items()):
    path = written(number, suffixes)
    found, whole = by_datasets(path), by_webdataset(path)
    print(f"{title:17}{found:63}webdataset: {whole} pictures")
    if (found, whole) != (expected, N):
        sys.exit(f"changed: {title} gives {found} and {whole}, expected {expected} and {N}")
PYTHON
HF_HUB_OFFLINE=1 HF_HOME="$folder/home" "$folder/env/bin/python" "$folder/read.py" "$folder"
echo "as stated"
