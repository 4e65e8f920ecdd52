#!/usr/bin/env bash
# Pictures with a palette (PNG and GIF of many collections, masks of VOC and DAVIS) come back from two streaming formats
# without it: mosaicml-streaming 0.13.0 (MDS, column "pil") and litdata 0.2.76 (its choice for a PIL picture that is no JPEG)
# store mode P and the indices alone. Converted to RGB such a picture is black there (MDS) or grey (litdata), and a
# network answers as for any other picture; nothing is said while writing or reading. The column "png" of MDS keeps them. Its
# column "jpeg" decodes an opened JPEG and compresses it again, at a quality that cannot be given, so that the network's
# input is another than the file's; litdata stores the file's bytes.
#
# Seen on 2026-11-29, Python 3.11, x86-64 (red, green, blue, and the first numbers of a noisy JPEG of quality 95):
#   original   palette P [255, 0, 0, 0, 255, 0, 0, 0, 255]   jpeg [162, 101, 179, 226, 198, 239]
SEEN
#
# Run by hand; needs PyPI and some minutes (torch is large). Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check \
    mosaicml-streaming==0.13.0 litdata==0.2.76 pillow==12.3.0 numpy==2.4.6
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


def numbers(picture, n):
    if hasattr(picture, "convert"):
        return np.asarray(picture.convert("RGB")).reshape(-1)[:n].tolist()
    return picture.permute(1, 2, 0).reshape(-1)[:n].tolist()


def by_mds(path, column):
    out = FOLDER / f"mds-{Path(path).stem}-{column}"
    with MDSWriter(out=str(out), columns={"picture": column}) as writer:
        writer.write({"picture": opened(path)})
    return LocalDataset(local=str(out))[0]["picture"]


def by_litdata(path):
    out = str(FOLDER / f"litdata-{Path(path).stem}")
    litdata.optimize(opened, [path], out, chunk_bytes="1MB", num_workers=1, verbose=False)
    return litdata.StreamingDataset(out)[0]


if __name__ == "__main__":
    palette, jpeg = pictures()
    colours, original = [255, 0, 0, 0, 255, 0, 0, 0, 255], numbers(opened(jpeg), 6)
    seen = {
        "original": (numbers(opened(palette), 9), original),
        "MDS pil": (numbers(by_mds(palette, "pil"), 9), numbers(by_mds(jpeg, "pil"), 6)),
        "MDS own": (numbers(by_mds(palette, "png"), 9), numbers(by_mds(jpeg, "jpeg"), 6)),
        "litdata": (numbers(by_litdata(palette), 9), numbers(by_litdata(jpeg), 6)),
    }
    for name, (one, other) in seen.items():
        print(f"{name:10} palette {one!s:38} jpeg {other}", flush=True)
    lost = [seen[name][0] != colours for name in ("MDS pil", "litdata")]
    kept = [seen["original"][0] == colours, seen["MDS own"][0] == colours, seen["MDS pil"][1] == original]
    if not all(lost + kept) or seen["MDS own"][1] == original or seen["litdata"][1] != original:
        sys.exit(f"changed: {seen}")
PYTHON
"$folder/env/bin/python" "$folder/read.py" "$folder"
echo "as stated"
