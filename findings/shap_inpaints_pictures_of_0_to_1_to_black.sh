#!/usr/bin/env bash
# shap 0.51.0: `maskers.Image("inpaint_telea", …)` and `("inpaint_ns", …)` of a picture of floats between 0 and 1, as
# networks take it, give a black picture: OpenCV inpaints bytes, so the whole picture is cut down to whole numbers, the
# pixels that are kept too. As soon as anything is hidden the network sees black, and every pixel gets the same SHAP
# value, without a word. The maskers `blur(…)` of the same picture are right; so is inpainting of 0 to 255 up to less than 1, kept pixels
# included.
#
# Seen on 2026-11-29, Python 3.11, x86-64 (32 x 32 pixels, a square of 16 hidden, or nothing):
#   0 to 1,   inpaint_telea: kept pixels differ by up to 1.00, hidden ones are 0.00 on average; nothing hidden: 1.00
#   0 to 255, inpaint_telea: kept pixels differ by up to 1.00, hidden ones are 0.53 of 255 on average; nothing hidden: 1.00
#   0 to 1,   blur(5,5):     kept pixels differ by up to 0.00, hidden ones are 0.49 on average; nothing hidden: 0.00
#   SHAP values of a network that sums the square, 100 evaluations: inpaint_telea -.124 to -.124, blur(5,5) -.011 to .000
#
# Run by hand; needs PyPI and two minutes. Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check shap==0.51.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
cat > "$folder/inpaint.py" <<'PYTHON'
import sys

import numpy as np
import shap

SQUARE = slice(8, 24)
picture = np.random.default_rng(0).random((32, 32, 3))
kept = np.ones(picture.shape, bool)
kept[SQUARE, SQUARE] = False


def looked_at(kind, scale):
    scaled = picture * scale
    masker = shap.maskers.Image(kind, picture.shape)
    masked = np.asarray(masker(kept.ravel(), scaled)[0][0], float)
    whole = np.asarray(masker(np.ones(picture.size, bool), scaled)[0][0], float)
    changed = np.abs(masked - scaled)[kept].max()
    return round(changed, 2), round(masked[~kept].mean() / scale, 2), round(np.abs(whole - scaled).max(), 2)


def network(pictures):
    return np.asarray(pictures, float)[:, SQUARE, SQUARE].sum(axis=(1, 2, 3))[:, None]


def values(kind):
    explainer = shap.Explainer(network, shap.maskers.Image(kind, picture.shape))
    found = explainer(picture[None], max_evals=100, batch_size=50, silent=True).values
    return round(float(found.min()), 3), round(float(found.max()), 3)


rows = {(kind, scale): looked_at(kind, scale) for kind, scale in [("inpaint_telea", 1), ("inpaint_telea", 255), ("blur(5,5)", 1)]}
for (kind, scale), (changed, hidden, whole) in rows.items():
    print(f"0 to {scale}, {kind}: kept pixels differ by up to {changed:.2f}, hidden ones are {hidden:.2f} on average; nothing hidden: {whole:.2f}")
inpainted, blurred = values("inpaint_telea"), values("blur(5,5)")
print(f"SHAP values: inpaint_telea {inpainted}, blur(5,5) {blurred}")
black = rows["inpaint_telea", 1] == (1.0, 0.0, 1.0) and inpainted[0] == inpainted[1]
right = rows["blur(5,5)", 1][0] == 0 and abs(rows["inpaint_telea", 255][1] - 0.5) < 0.1 and blurred[0] < blurred[1]
sys.exit(0 if black and right else "changed")
PYTHON
"$folder/env/bin/python" "$folder/inpaint.py"
echo "as stated"
