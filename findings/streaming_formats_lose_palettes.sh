#!/usr/bin/env bash
# Pictures with a palette (PNG and GIF of many collections, masks of VOC and DAVIS) come back from two streaming formats
# without it: mosaicml-streaming 0.13.0 (MDS, column "pil") and litdata 0.2.76 (its choice for a PIL picture that is no JPEG)
# store mode P and the indices alone. Converted to RGB such a picture is black, and a network answers as for any other;
# nothing is said while writing or reading. The column "png" of MDS keeps the colours. Of a JPEG that was opened by its path
# both keep the bytes (MDS by the column "jpeg"); one that was opened from memory (a row of Parquet, a member of a tar) both
# compress anew, at a quality that cannot be given: the network's input is another than the file's.
#
# Seen on 2026-11-29, Python 3.11, x86-64 (red, green, blue; first numbers of a noisy JPEG of quality 95, by path, from memory):
#   original   [255, 0, 0, 0, 255, 0, 0, 0, 255] [162, 101, 179, 226, 198, 239] [162, 101, 179, 226, 198, 239]
#   MDS pil    [0, 0, 0, 0, 0, 0, 0, 0, 0] [162, 101, 179, 226, 198, 239] [162, 101, 179, 226, 198, 239]
#   MDS own    [255, 0, 0, 0, 255, 0, 0, 0, 255] [162, 101, 179, 226, 198, 239] [154, 113, 173, 222, 196, 231]
#   litdata    [0, 0, 0, 0, 0, 0, 0, 0, 0] [162, 101, 179, 226, 198, 239] [154, 113, 173, 222, 196, 231]
#
# Run by hand; needs PyPI and some minutes (torch is large). Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check \
    mosaicml-streaming==0.13.0 litdata==0.2.76 pillow==12.3.0
cat > "$folder/read.py" <<'PYTHON'
import io
import logging
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

import litdata
import numpy as np
from PIL import Image
from streaming import LocalDataset, MDSWriter

FOLDER = Path(sys.argv[1])


def pictures():
    palette = Image.new("P", (3, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.putdata([0, 1, 2])
    palette.save(FOLDER / "palette.png")
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(FOLDER / "noise.jpg", quality=95)
    return [str(FOLDER / name) for name in ("palette.png", "noise.jpg")]


def opened(path):
    return Image.open(path)


def from_memory(path):
    return Image.open(io.BytesIO(Path(path).read_bytes()))


def numbers(picture, n):
    if hasattr(picture, "convert"):
        return np.asarray(picture.convert("RGB")).reshape(-1)[:n].tolist()
    return picture.permute(1, 2, 0).reshape(-1)[:n].tolist()


def by_mds(path, column, way=opened):
    out = FOLDER / f"mds-{Path(path).stem}-{column}-{way.__name__}"
    with MDSWriter(out=str(out), columns={"picture": column}) as writer:
        writer.write({"picture": way(path)})
    return LocalDataset(local=str(out))[0]["picture"]


def by_litdata(path, way=opened):
    out = str(FOLDER / f"litdata-{Path(path).stem}-{way.__name__}")
    litdata.optimize(way, [path], out, chunk_bytes="1MB", num_workers=1, verbose=False)
    return litdata.StreamingDataset(out)[0]


if __name__ == "__main__":
    palette, jpeg = pictures()
    colours, original = [255, 0, 0, 0, 255, 0, 0, 0, 255], numbers(opened(jpeg), 6)
    seen = {
        "original": (opened(palette), opened(jpeg), from_memory(jpeg)),
        "MDS pil": (by_mds(palette, "pil"), by_mds(jpeg, "pil"), by_mds(jpeg, "pil", from_memory)),
        "MDS own": (by_mds(palette, "png"), by_mds(jpeg, "jpeg"), by_mds(jpeg, "jpeg", from_memory)),
        "litdata": (by_litdata(palette), by_litdata(jpeg), by_litdata(jpeg, from_memory)),
    }
    found = {}
    for name, pictures_of in seen.items():
        found[name] = [numbers(picture, n) for picture, n in zip(pictures_of, (9, 6, 6))]
        print(f"{name:10}", *found[name], flush=True)
    black = [0] * 9
    expected = {"original": [colours, original], "MDS pil": [black, original], "MDS own": [colours, original]}
    expected |= {"litdata": [black, original]}
    is_compressed = {name: each[2] != original for name, each in found.items()}
    if any(found[name][:2] != value for name, value in expected.items()) or is_compressed != {
        "original": False, "MDS pil": False, "MDS own": True, "litdata": True,
    }:  # fmt: skip
        sys.exit("changed")
PYTHON
"$folder/env/bin/python" "$folder/read.py" "$folder"
echo "as stated"
