#!/usr/bin/env bash
# torch 2.15.0: `torch.nn.utils.parametrizations.orthogonal` of a 1 x 1 convolution does not make the map between its
# channels orthogonal, though a 1 x 1 convolution is how prototype heads write it. It takes the last two axes of the weight
# for the matrix, here 1 x 1, and makes each number +1 or -1: all output channels are sums and differences of the same
# inputs, the map has a length of up to the number of channels and may have no inverse, it trains to nothing (the gradient of
# every parameter is zero), and nothing is said. Convolutions of 3 x 3 get an orthogonal 3 x 3 kernel for each pair of
# channels. `spectral_norm`, beside it in the same module, takes the channels of the same layer; a Linear layer is right.
#
# Seen on 2026-11-29, Python 3.11, x86-64 (8 channels, seed 0):
#   Linear(8, 8)                        max |W W' - 1| 0.0, largest singular value 1.00, numbers of +-1: 0 of 64, gradient not zero
#   Conv2d(8, 8, 1)                     max |W W' - 1| 7.0, largest singular value 5.08, numbers of +-1: 64 of 64, gradient zero
#   spectral_norm of Conv2d(8, 8, 1)    largest singular value 1.00
#
# Run by hand; needs PyPI and some minutes (torch is large). Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.15.0 numpy==2.4.6
cat > "$folder/orthogonal.py" <<'PYTHON'
import sys

import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal, spectral_norm

C = 8


def looked_at(layer):
    torch.manual_seed(1)
    x = torch.randn(5, C, 1, 1) if isinstance(layer, nn.Conv2d) else torch.randn(5, C)
    (layer(x) * torch.randn(5, C).reshape(x.shape)).sum().backward()
    weight = layer.weight.detach().reshape(C, C)
    away = (weight @ weight.T - torch.eye(C)).abs().max().item()
    signs = int((weight.abs() - 1).abs().lt(1e-6).sum())
    moves = any(each.grad is not None and each.grad.abs().max() > 1e-6 for each in layer.parameters())
    return away, torch.linalg.svdvals(weight)[0].item(), signs, moves


torch.manual_seed(0)
linear = looked_at(orthogonal(nn.Linear(C, C, bias=False)))
torch.manual_seed(0)
convolution = looked_at(orthogonal(nn.Conv2d(C, C, 1, bias=False)))
torch.manual_seed(0)
spectral = spectral_norm(nn.Conv2d(C, C, 1, bias=False), n_power_iterations=200).eval()
largest = torch.linalg.svdvals(spectral.weight.detach().reshape(C, C))[0].item()
for name, (away, value, signs, moves) in {"Linear(8, 8)": linear, "Conv2d(8, 8, 1)": convolution}.items():
    numbers = f"max |W W' - 1| {away:.1f}, largest singular value {value:.2f}, numbers of +-1: {signs} of {C * C}"
    print(f"{name:35}{numbers}, gradient {'not zero' if moves else 'zero'}")
print(f"{'spectral_norm of Conv2d(8, 8, 1)':35}largest singular value {largest:.2f}")
right = linear[0] < 1e-5 and abs(linear[1] - 1) < 1e-5 and linear[3] and abs(largest - 1) < 1e-2
if not right or convolution[0] < 1 or convolution[2] != C * C or convolution[3]:
    sys.exit(f"changed: {linear}, {convolution}, {largest}")
PYTHON
"$folder/env/bin/python" "$folder/orthogonal.py"
echo "as stated"
