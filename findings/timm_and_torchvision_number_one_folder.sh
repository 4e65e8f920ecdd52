#!/usr/bin/env bash
# timm 1.0.31 and torchvision 0.29.2 give the classes of one folder of folders different numbers. torchvision's ImageFolder
# sorts the names as Python sorts text: "10" comes before "2", capitals before small letters. timm's reader of the same
# layout sorts them naturally and without regard to case: "2" before "10", "auk" before "Finch". A head that was trained
# with one and is evaluated with the other is wrong for every class in between, at full confidence and without a word;
# with zero-padded or WordNet names both agree. What an output of a network means has to be told by name.
#
# Seen on 2026-11-28, Python 3.11, x86-64:
#   torchvision ['1', '10', '2', 'Finch', 'auk']
#   timm        ['1', '2', '10', 'auk', 'Finch']
#
# Run by hand; needs PyPI and some minutes (torch is large). Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check timm==1.0.31 torchvision==0.29.2
cat > "$folder/order.py" <<'PYTHON'
import sys
from pathlib import Path

from PIL import Image
from timm.data import create_dataset
from torchvision.datasets import ImageFolder


def numbered(names):
    root = Path(sys.argv[1]) / "-".join(names)
    for name in names:
        (root / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(root / name / "picture.png")
    orders = ImageFolder(root).class_to_idx, create_dataset("", root).reader.class_to_idx
    return [sorted(order, key=order.get) for order in orders]


torchvision, timm = numbered(["1", "2", "10", "Finch", "auk"])
print(f"torchvision {torchvision}\ntimm        {timm}")
if (torchvision, timm) != (["1", "10", "2", "Finch", "auk"], ["1", "2", "10", "auk", "Finch"]):
    sys.exit("changed")
padded, natural = numbered(["n01", "n02", "n10"])
assert padded == natural == ["n01", "n02", "n10"]
PYTHON
"$folder/env/bin/python" "$folder/order.py" "$folder"
echo "as stated"
