#!/usr/bin/env bash
# Prefect 3.8.8 with torch 2.15.0: `task.map(images, network)` goes over both. A `torch.nn.Sequential` can be iterated, so it
# counts as one more list: where it has as many layers as there are images, the first image goes through the first layer
# alone, the second through the second, and every task ends well; otherwise the lengths are said not to fit. A network of
# another class, as torchvision's SqueezeNet, is handed to every task whole, so what works with one network does not with
# another of the same weights. Tables are gone over too, column by column: pandas' by their names, Arrow's by their
# values. `unmapped(network)` in the call of `map` is right for all.
#
# Seen on 2026-11-29, Python 3.11, x86-64 (three images of 3 x 8 x 8):
#   Sequential of 3: Conv2d 4x6x6, ReLU 3x8x8, AdaptiveAvgPool2d 3x1x1
#   the same as a Module of its own, and unmapped: 4x1x1 each
#   Sequential of 4: MappingLengthMismatch
#   pandas.DataFrame: x, y; pyarrow.Table: [1, 2], [3, 4]
#
# Run by hand; needs PyPI and some minutes (torch is large); starts a server of Prefect in the temporary folder and ends it.
# Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check prefect==3.8.8 fastapi==0.150.0 torch==2.15.0 numpy==2.4.6 pandas==3.1.1 pyarrow==26.0.1
cat > "$folder/mapped.py" <<'PYTHON'
import sys

import pandas
import pyarrow
import torch
from prefect import flow, task, unmapped
from prefect.exceptions import MappingLengthMismatch
from prefect.testing.utilities import prefect_test_harness
from torch import nn


class Network(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, image):
        return self.layers(image)


@task
def infer(image, network):
    return type(network).__name__ + " " + "x".join(str(side) for side in network(image).shape)


@task
def shown(value):
    return value if isinstance(value, str) else str(value.to_pylist())


@flow
def of_images(network, whole=False):
    try:
        return [future.result() for future in infer.map(images, unmapped(network) if whole else network)]
    except MappingLengthMismatch as error:
        return [type(error).__name__]


@flow
def of_table(table):
    return [future.result() for future in shown.map(table)]


images = [torch.zeros(3, 8, 8) for _ in range(3)]
layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
three = nn.Sequential(*layers)
with prefect_test_harness(server_startup_timeout=300):
    seen = {
        "Sequential of 3": of_images(three),
        "Module": of_images(Network(three)),
        "unmapped": of_images(three, whole=True),
        "Sequential of 4": of_images(nn.Sequential(*layers, nn.Flatten())),
        "pandas": of_table(pandas.DataFrame({"x": [1, 2], "y": [3, 4]})),
        "pyarrow": of_table(pyarrow.table({"x": [1, 2], "y": [3, 4]})),
    }
for name, found in seen.items():
    print(f"{name}: {', '.join(found)}")
expected = {
    "Sequential of 3": ["Conv2d 4x6x6", "ReLU 3x8x8", "AdaptiveAvgPool2d 3x1x1"],
    "Module": ["Network 4x1x1"] * 3,
    "unmapped": ["Sequential 4x1x1"] * 3,
    "Sequential of 4": ["MappingLengthMismatch"],
    "pandas": ["x", "y"],
    "pyarrow": ["[1, 2]", "[3, 4]"],
}
sys.exit(0 if seen == expected else f"changed: expected {expected}")
PYTHON
PREFECT_HOME="$folder/prefect" PREFECT_LOGGING_LEVEL=CRITICAL DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false "$folder/env/bin/python" "$folder/mapped.py"
echo "as stated"
