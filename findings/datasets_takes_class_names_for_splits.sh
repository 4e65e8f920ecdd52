#!/usr/bin/env bash
# Hugging Face datasets 5.2.0, `load_dataset("imagefolder", data_dir=…)`, takes the word train, test, val, dev or eval
# anywhere in the name of a class folder or of a file for a split. ImageNet has a class "bullet train":
#   * three class folders by name: only the bullet trains are read, as the split `train`, without labels. The other classes
#     are left out without an error or a warning;
#   * train/ and val/ with these classes in each: the split `train` holds the bullet trains of val/ too, and its own
#     twice; `validation` is as it should be, so that its images of this class are among those trained on;
#   * class folders that hold files of ImageNet's training set and one ILSVRC2012_val_… file: that one file is all.
# Names that are WordNet ids, or `data_files={"train": "train/**", "validation": "val/**"}`, are read rightly;
# `drop_labels=False` brings the label back and not the classes.
#
# Seen on 2026-11-29, Python 3.11, x86-64:
#   class folders by name     {'train': 3}                      of 9 images, labels: None
#   ... drop_labels=False     {'train': 3}                      of 9 images, labels: ['bullet train']
#   train/ and val/           {'train': 12, 'validation': 6}    of 6 + 6 images
#   train/ and val/, shared   3 images of val/ in train, 3 images twice in it
#   one file of validation    {'validation': 1}                 of 7 images, labels: None
#   train/ and val/, by ids   {'train': 6, 'validation': 6}     of 6 + 6 images
#   patterns given            {'train': 6, 'validation': 6}     of 6 + 6 images
#
# Run by hand; needs PyPI and a minute. Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check datasets==5.2.0 pillow==12.3.0
cat > "$folder/read.py" <<'PYTHON'
import sys
from collections import Counter
from pathlib import Path

import datasets
from PIL import Image

datasets.disable_progress_bars()
FOLDER = Path(sys.argv[1])
seen = {}


def write(name, paths):
    for number, path in enumerate(paths):
        file = FOLDER / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(file)


def read(name, **options):
    return datasets.load_dataset("imagefolder", data_dir=str(FOLDER / name), cache_dir=str(FOLDER / "cache"), **options)


def told(title, found, of):
    labels = [split.features["label"].names if "label" in split.features else None for split in found.values()][0]
    seen[title] = ({name: len(split) for name, split in found.items()}, labels)
    print(f"{title:26}{str(seen[title][0]):34}of {of} images, labels: {labels}")


classes = ("airship", "bullet train", "goldfish")
write("classes", [f"{name}/{n}.png" for name in classes for n in range(3)])
told("class folders by name", read("classes"), "9")
told("... drop_labels=False", read("classes", drop_labels=False), "9")

splits = ("train", "val")
write("splits", [f"{split}/{name}/{n}.png" for split in splits for name in classes[1:] for n in range(3)])
found = read("splits")
told("train/ and val/", found, "6 + 6")
colours = Counter(image.getpixel((0, 0)) for image in found["train"]["image"])
among_val = {image.getpixel((0, 0)) for image in found["validation"]["image"]}
seen["shared"] = len(colours.keys() & among_val), sum(count > 1 for count in colours.values())
print(f"{'train/ and val/, shared':26}{seen['shared'][0]} images of val/ in train, {seen['shared'][1]} images twice in it")

files = [f"n01443537/n01443537_{n}.JPEG" for n in range(3)] + [f"n02917067/n02917067_{n}.JPEG" for n in range(3)]
write("mixed", [*files, "n02917067/ILSVRC2012_val_00000007.JPEG"])
told("one file of validation", read("mixed"), "7")

write("ids", [f"{split}/{name}/{n}.png" for split in splits for name in ("n02917067", "n01443537") for n in range(3)])
told("train/ and val/, by ids", read("ids"), "6 + 6")
told("patterns given", read("splits", data_files={"train": "train/**", "validation": "val/**"}), "6 + 6")

ids = ["n01443537", "n02917067"]
expected = {
    "class folders by name": ({"train": 3}, None),
    "... drop_labels=False": ({"train": 3}, ["bullet train"]),
    "train/ and val/": ({"train": 12, "validation": 6}, ["bullet train", "goldfish"]),
    "shared": (3, 3),
    "one file of validation": ({"validation": 1}, None),
    "train/ and val/, by ids": ({"train": 6, "validation": 6}, ids),
    "patterns given": ({"train": 6, "validation": 6}, ["bullet train", "goldfish"]),
}
for title, value in expected.items():
    if seen[title] != value:
        sys.exit(f"changed: {title} gives {seen[title]}, expected {value}")
PYTHON
HF_HUB_OFFLINE=1 HF_HOME="$folder/home" "$folder/env/bin/python" "$folder/read.py" "$folder/images"
echo "as stated"
