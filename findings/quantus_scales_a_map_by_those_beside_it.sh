#!/usr/bin/env bash
# quantus 0.6.0: metrics divide attributions by the largest value of all that were handed over in the call, not of each
# image (`normalise_by_max` without axes, the default of most metrics), and do so before batches are cut, so `batch_size=1`
# does not help either. A metric that compares values with a number then depends on which images stand beside one: the
# effective complexity of a map falls from 51 pixels to 0 when the map of another image is a hundred times as large.
# Ranks are not touched. Give `normalise_func_kwargs={"normalise_axes": [1, 2, 3]}`, or one image a call.
#
# Seen on 2026-11-29, Python 3.11, x86-64 (two maps of 8 x 8, threshold .1, the second multiplied by 1, 10, 100):
#   by default, the first map: 51, 1, 0; in batches of one: 51, 1, 0; alone: 51, 51, 51; scaled by image: 51, 51, 51
#
# Run by hand; needs PyPI and some minutes (torch is large). Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check quantus==0.6.0 torch==2.15.0 numpy==2.4.6
cat > "$folder/beside.py" <<'PYTHON'
import sys

import numpy as np
import quantus
import torch

maps = np.random.default_rng(0).normal(size=(2, 1, 8, 8))
images = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 5)).eval()
SCALES = (1, 10, 100)


def first(n_images=2, batch_size=64, **options):
    found = []
    for scale in SCALES:
        scaled = maps * np.array([1, scale]).reshape(2, 1, 1, 1)
        metric = quantus.EffectiveComplexity(eps=0.1, disable_warnings=True, **options)
        scores = metric(
            model=network,
            x_batch=images[:n_images],
            y_batch=np.arange(n_images),
            a_batch=scaled[:n_images],
            batch_size=batch_size,
            device="cpu",
        )
        found.append(int(scores[0]))
    return found


default, single, alone = first(), first(batch_size=1), first(n_images=1)
by_image = first(normalise_func_kwargs={"normalise_axes": [1, 2, 3]})
print(f"by default {default}; in batches of one {single}; alone {alone}; scaled by image {by_image}")
sys.exit(0 if default == single == [51, 1, 0] and alone == by_image == [51] * 3 else "changed")
PYTHON
"$folder/env/bin/python" "$folder/beside.py"
echo "as stated"
