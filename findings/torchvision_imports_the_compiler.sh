#!/usr/bin/env bash
# torchvision 0.29.2: `import torchvision` imports torch's compiler with it (torch._dynamo, torch._inductor, sympy: 1100
# modules more), which takes as long again as `import torch` alone, whether anything is ever compiled or not. A single
# line does it: `torchvision/ops/roi_align.py` asks torch._dynamo.utils whether compiling is supported, above a decorator
# whose docstring says that it keeps dynamo from being imported early. Every command, data loader process and worker that
# only resizes pictures or loads a classifier pays. With that one name put in place beforehand the import takes a fraction,
# and classifiers, transforms and nms give the same.
#
# Seen on 2026-11-29, Python 3.11, x86-64 (CPU seconds; `without`: that one name is put in place beforehand):
#   torch: 1205 modules, torch._dynamo 0, sympy 0, 1.00 x the seconds of torch alone
#   torchvision: 2299 modules, torch._dynamo 1, sympy 1, 2.13 x the seconds of torch alone
#   without: 1417 modules, torch._dynamo 0, sympy 0, 1.08 x the seconds of torch alone
#
# Run by hand; needs PyPI and some minutes (torch is large). Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.15.0 torchvision==0.29.2 numpy==2.4.6
cat > "$folder/start.py" <<'PYTHON'
import sys
import time
import types

way = sys.argv[1]
began = time.process_time()
import torch

alone = time.process_time() - began
if way == "without":
    utils = types.ModuleType("torch._dynamo.utils")
    utils.is_compile_supported = lambda device: False
    sys.modules["torch._dynamo.utils"] = utils
    sys.modules["torch._dynamo"] = types.ModuleType("torch._dynamo")
if way != "torch":
    import torchvision
if way == "without":
    del sys.modules["torch._dynamo"], sys.modules["torch._dynamo.utils"]
ratio = (time.process_time() - began) / alone
found = [name in sys.modules for name in ("torch._dynamo", "sympy")]
print(len(sys.modules), *map(int, found), f"{ratio:.2f}")
if way == "without":
    network = torchvision.models.squeezenet1_1().eval()
    boxes, scores = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 30, 30]]), torch.tensor([0.9, 0.8, 0.7])
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
    assert torchvision.ops.nms(boxes, scores, 0.5).tolist() == [0, 2]
PYTHON
declare -A expected=([torch]="0 0" [torchvision]="1 1" [without]="0 0")
for way in torch torchvision without; do
    read -r modules dynamo sympy ratio < <("$folder/env/bin/python" "$folder/start.py" "$way")
    echo "$way: $modules modules, torch._dynamo $dynamo, sympy $sympy, $ratio x the seconds of torch alone"
    [ "$dynamo $sympy" = "${expected[$way]}" ] || { echo "changed: $way, expected ${expected[$way]}"; exit 1; }
    counted="${counted:-} $modules"
done
read -r torch torchvision without <<< "$counted"
[ $((torchvision - torch)) -gt 800 ] && [ $((without - torch)) -lt 500 ] || { echo "changed: modules $counted"; exit 1; }
echo "as stated"
