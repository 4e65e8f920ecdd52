#!/usr/bin/env bash
# pycocotools 2.0.11 with numpy 2: `mask.area` of 256 or more run-length masks in one call raises
# "OverflowError: Python integer 256 out of bounds for uint8". With 255 masks it works, and with numpy 1.26 it works for
# any number; `toBbox`, `iou`, `merge` and `decode` of the same masks work with both. The package's own bounds allow
# numpy 2. Whoever asks for the areas of a class of 300 images in one call, as one does for a class of ImageNet, meets it;
# asked for in portions of 255 they are right.
#
# Seen on 2026-11-28, Python 3.11, x86-64:
#   numpy 2.4.6:  255 -> 255 areas; 256 -> OverflowError; 600 -> OverflowError; boxes of 600: 600
#   numpy 1.26.4: 255 -> 255 areas; 256 -> 256 areas; 600 -> 600 areas; boxes of 600: 600
#
# Run by hand; needs a Python that numpy 1.26.4 has wheels for (3.9 to 3.12), PyPI, and a minute. Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/areas.py" <<'PYTHON'
import sys

import numpy as np
from pycocotools import mask as coco


def areas_of(number):
    masks = np.zeros((4, 4, number), np.uint8, order="F")
    masks[0, 0] = 1
    codes = coco.encode(masks)
    assert len(coco.toBbox(codes)) == coco.decode(codes).shape[2] == number
    try:
        areas = coco.area(codes)
    except OverflowError as error:
        return f"OverflowError: {error}"
    assert set(areas.tolist()) == {1}
    return f"{len(areas)} areas"


seen = {number: areas_of(number) for number in (255, 256, 600)}
print(f"numpy {np.__version__}: {seen}")
whole = {number: f"{number} areas" for number in seen}
broken = {number: f"OverflowError: Python integer {number} out of bounds for uint8" for number in (256, 600)}
expected = whole if np.__version__.startswith("1.") else {**whole, **broken}
sys.exit(0 if seen == expected else f"changed: expected {expected}")
PYTHON

for numpy in 2.4.6 1.26.4; do
    "${PYTHON:-python3}" -m venv "$folder/$numpy"
    "$folder/$numpy/bin/python" -m pip install --quiet --disable-pip-version-check "pycocotools==2.0.11" "numpy==$numpy"
    "$folder/$numpy/bin/python" "$folder/areas.py"
done
echo "as stated"
