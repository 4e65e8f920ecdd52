#!/usr/bin/env bash
# torchvision 0.29.2: boxes that `masks_to_boxes` makes of masks one pixel wide never suppress each other in `nms`, however
# often the same mask comes. The function gives the last pixel, not the one after it, so a column of three pixels has a
# box without area (its documentation says that corners may coincide); the overlap of two such boxes is 0/0, NaN, which is
# above no threshold. Proposals of thin structures (legs, wires, stalks) pile up where those of thick ones are merged. With
# one added to the lower right corners, nms keeps one of the equal boxes, and the overlap is that of the pixels.
#
# Seen on 2026-11-28, Python 3.11, x86-64, three copies of a mask of 3 x 1 pixels:
#   as given     areas [0.0, 0.0, 0.0], overlap of the first two nan, kept [0, 1, 2]
#   one added    areas [3.0, 3.0, 3.0], overlap of the first two 1.0, kept [0]
#   two columns  areas [2.0, 2.0, 2.0], overlap of the first two 1.0, kept [0]
#
# Run by hand; needs PyPI and some minutes (torch is large). Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check torchvision==0.29.2 numpy==2.4.6
cat > "$folder/boxes.py" <<'PYTHON'
import sys

import torch
from torchvision.ops import box_area, box_iou, masks_to_boxes, nms


def copies(columns):
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:5, 3 : 3 + columns] = True
    return mask.expand(3, 8, 8).contiguous()


def said(boxes):
    overlap = box_iou(boxes, boxes)[0, 1].item()
    kept = sorted(nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist())
    return f"areas {box_area(boxes).tolist()}, overlap of the first two {overlap}, kept {kept}"


thin = masks_to_boxes(copies(1))
seen = {
    "as given": said(thin),
    "one added": said(thin + torch.tensor([0.0, 0.0, 1.0, 1.0])),
    "two columns": said(masks_to_boxes(copies(2))),
}
for name, line in seen.items():
    print(f"{name:12} {line}")
expected = {
    "as given": "areas [0.0, 0.0, 0.0], overlap of the first two nan, kept [0, 1, 2]",
    "one added": "areas [3.0, 3.0, 3.0], overlap of the first two 1.0, kept [0]",
    "two columns": "areas [2.0, 2.0, 2.0], overlap of the first two 1.0, kept [0]",
}
sys.exit(0 if seen == expected else "changed")
PYTHON
"$folder/env/bin/python" "$folder/boxes.py"
echo "as stated"
