#!/usr/bin/env bash
# Hugging Face datasets 5.2.0, `load_dataset("imagefolder")`, calls a picture by the folder that it lies in, not by the
# folder of its class; torchvision 0.29.2's ImageFolder takes the first folder below the root. So of one tree they say:
#   * classes with folders inside (a/adult, a/young, b/adult, b/young): the labels are adult and young, a and b are lost;
#   * Tiny ImageNet's layout (CLASS/images/…): no label at all, and with `drop_labels=False` the single label "images";
#   * one picture deeper than the others, or one beside the class folders: labels are dropped for all.
# None of these says a word.
#
# Seen on 2026-11-29, Python 3.11, x86-64:
#   folders inside classes   8 images   datasets: ['adult', 'young']   torchvision: ['a', 'b'], 8 images
#   Tiny ImageNet's layout   4 images   datasets: None                 torchvision: ['n01443537', 'n02917067'], 4 images
#   ... drop_labels=False    4 images   datasets: ['images']           torchvision: ['n01443537', 'n02917067'], 4 images
#   one picture deeper       5 images   datasets: None                 torchvision: ['a', 'b'], 5 images
#   one picture beside       5 images   datasets: None                 torchvision: ['a', 'b'], 4 images
#
# Run by hand; needs PyPI and some minutes (torch is large). Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check \
    datasets==5.2.0 pillow==12.3.0 numpy==2.4.6 torch==2.15.0 torchvision==0.29.2
cat > "$folder/read.py" <<'PYTHON'
import sys
from pathlib import Path

import datasets
from PIL import Image
from torchvision.datasets import ImageFolder

datasets.disable_progress_bars()
FOLDER = Path(sys.argv[1])


def written(name, paths):
    for number, path in enumerate(paths):
        file = FOLDER / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(file)
    return str(FOLDER / name)


def by_datasets(path, **options):
    rows = datasets.load_dataset("imagefolder", data_dir=path, cache_dir=str(FOLDER / "cache"), **options)["train"]
    return len(rows), rows.features["label"].names if "label" in rows.features else None


flat = [f"{name}/{n}.png" for name in "ab" for n in range(2)]
ages = written("ages", [f"{name}/{age}/{n}.png" for name in "ab" for age in ("adult", "young") for n in range(2)])
ids = ["n01443537", "n02917067"]
tiny = written("tiny", [f"{name}/images/{name}_{n}.JPEG" for name in ids for n in range(2)])
deeper, beside = written("deeper", [*flat, "b/more/9.png"]), written("beside", [*flat, "9.png"])
cases = {
    "folders inside classes": (ages, {}, (8, ["adult", "young"]), (8, ["a", "b"])),
    "Tiny ImageNet's layout": (tiny, {}, (4, None), (4, ids)),
    "... drop_labels=False": (tiny, {"drop_labels": False}, (4, ["images"]), (4, ids)),
    "one picture deeper": (deeper, {}, (5, None), (5, ["a", "b"])),
    "one picture beside": (beside, {}, (5, None), (4, ["a", "b"])),
}
for title, (path, options, *expected) in cases.items():
    found, other = by_datasets(path, **options), ImageFolder(path)
    seen = [found, (len(other), other.classes)]
    print(f"{title:25}{found[0]} images   datasets: {found[1]!s:21}torchvision: {other.classes}, {len(other)} images")
    if seen != expected:
        sys.exit(f"changed: {title} gives {seen}, expected {expected}")
PYTHON
HF_HUB_OFFLINE=1 HF_HOME="$folder/home" "$folder/env/bin/python" "$folder/read.py" "$folder"
echo "as stated"
