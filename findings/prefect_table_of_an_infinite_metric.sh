#!/usr/bin/env bash
# Prefect 3.8.8, `create_table_artifact` with a row a picture, as image jobs leave their metrics: a NaN becomes null, but an
# infinite value (the PSNR of a picture that came back unchanged) is stored as `Infinity`, which is no JSON. Nothing is
# said, the run is Completed, and Prefect's own client reads it back. The page of the artifact then shows none of the rows,
# those with finite values included: "0 items, No results" (seen in headless Chromium, both at once with a table beside it
# that lacks the infinite row and is shown). So one perfect picture hides the table of all others.
#
# Seen on 2026-11-29, Python 3.11, x86-64:
#   finite     [{"picture": "robin", "psnr": 34.15}]                                              JSON
#   not known  [{"picture": "robin", "psnr": 34.15}, {"picture": "wren", "psnr": null}]           JSON
#   infinite   [{"picture": "robin", "psnr": 34.15}, {"picture": "wren", "psnr": Infinity}]       no JSON: Infinity
#
# Run by hand; needs PyPI and some minutes. Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check prefect==3.8.8 fastapi==0.150.0 numpy==2.4.6
cat > "$folder/table.py" <<'PYTHON'
import json
import sys

import numpy as np
from prefect import flow
from prefect.artifacts import Artifact, create_table_artifact
from prefect.testing.utilities import prefect_test_harness

PICTURE = np.full((8, 8), 100.0)
CASES = {
    "finite": ([("robin", PICTURE + 5)], "JSON"),
    "not known": ([("robin", PICTURE + 5), ("wren", PICTURE * np.nan)], "JSON"),
    "infinite": ([("robin", PICTURE + 5), ("wren", PICTURE)], "no JSON: Infinity"),
}


def psnr(found):
    with np.errstate(divide="ignore"):
        return round(float(10 * np.log10(255**2 / np.mean((found - PICTURE) ** 2))), 2)


def refuse(word):
    raise ValueError(word)


def as_json(text):
    try:
        json.loads(text, parse_constant=refuse)
    except ValueError as error:
        return f"no JSON: {error}"
    return "JSON"


@flow
def measured(name, pictures):
    rows = [{"picture": picture, "psnr": psnr(found)} for picture, found in pictures]
    create_table_artifact(table=rows, key=name.replace(" ", "-"))


with prefect_test_harness(server_startup_timeout=120):
    for name, (pictures, expected) in CASES.items():
        state = measured(name, pictures, return_state=True)
        text = Artifact.get(name.replace(" ", "-")).data
        print(f"{name:11}{text:83}{as_json(text)}")
        if not state.is_completed() or as_json(text) != expected:
            sys.exit(f"changed: {name}, expected {expected}")
PYTHON
HOME="$folder" PREFECT_LOGGING_LEVEL=ERROR PREFECT_SERVER_ANALYTICS_ENABLED=false "$folder/env/bin/python" -W ignore "$folder/table.py"
echo "as stated"
