#!/usr/bin/env bash
# Prefect 3.8.8 with torch 2.15.0: a task whose cache policy looks at its inputs (INPUTS, and DEFAULT, which holds it) never
# finds a tensor or a network again. The key of an equal tensor is another one as soon as it is another object: after
# `clone()`, or in the next process, so a flow of image jobs that is run again computes all of it again and keeps a result
# more each time. numpy arrays of the same numbers have equal keys in every process, as long as they lie in memory in
# the same order: an equal array in Fortran's order has another. Give such a task the path or a digest of the pixels,
# or `tensor.numpy()`, or a `cache_key_fn` of its own.
#
# Seen on 2026-11-28, Python 3.11, x86-64:
#   in one process: equal array True, equal array in Fortran's order False, equal tensor False, equal network False
#   in two: array True, tensor False, tensor as array True, network False
#
# Run by hand; needs PyPI and some minutes (torch is large); starts no server. Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check prefect==3.8.8 torch==2.15.0 numpy==2.4.6
cat > "$folder/keys.py" <<'PYTHON'
import copy
import json

import numpy as np
import torch
from prefect.cache_policies import INPUTS


def key(value):
    return INPUTS.compute_key(task_ctx=None, inputs={"images": value}, flow_parameters={})


array = np.arange(12, dtype=np.float32).reshape(3, 4)
tensor = torch.from_numpy(array.copy())
network = torch.nn.Linear(4, 2)
with torch.no_grad():
    for parameter in network.parameters():
        parameter.fill_(1)
equal = {
    "equal array": key(array) == key(array.copy()),
    "equal array in Fortran's order": key(array) == key(np.asfortranarray(array)),
    "equal tensor": key(tensor) == key(tensor.clone()),
    "equal network": key(network) == key(copy.deepcopy(network)),
}
keys = {"array": array, "tensor": tensor, "tensor as array": tensor.numpy(), "network": network}
print(json.dumps([equal, {name: key(value) for name, value in keys.items()}]))
PYTHON
cat > "$folder/both.py" <<'PYTHON'
import json
import subprocess
import sys

runs = [json.loads(subprocess.check_output([sys.executable, sys.argv[1]], text=True)) for _ in range(2)]
(equal, first), (_, second) = runs
again = {name: first[name] == second[name] for name in first}
print("in one process:", ", ".join(f"{name} {found}" for name, found in equal.items()))
print("in two:", ", ".join(f"{name} {found}" for name, found in again.items()))
if list(equal.values()) != [True, False, False, False] or list(again.values()) != [True, False, True, False]:
    sys.exit("changed")
PYTHON
PREFECT_HOME="$folder/prefect" DO_NOT_TRACK=1 "$folder/env/bin/python" "$folder/both.py" "$folder/keys.py"
echo "as stated"
