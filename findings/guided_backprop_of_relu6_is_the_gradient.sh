#!/usr/bin/env bash
# Guided backpropagation and the deconvnet's rule change what passes a ReLU down. captum 0.9.0 and zennit 0.5.1 look for
# modules of the class nn.ReLU: of a MobileNetV2, whose rectifiers are all nn.ReLU6, and of networks of SiLU or hard swish
# alone, both rules give the plain gradient, bit for bit, under the other rule's name. captum even warns that it has set
# its hooks on ReLU activations, for a network in which it set none. Of a MobileNetV3 the rule acts at some rectifiers
# (ReLU) and not at the others (hard swish), and one gets a mixture that neither paper defines.
#
# Seen on 2026-11-29, Python 3.11, x86-64, CPU (random weights, seed 0, one image of noise, 96 x 96 pixels):
#   resnet18               9 ReLU   0 others  captum: another map, another map      zennit: another map, another map
#   mobilenet_v2           0 ReLU  35 others  captum: the gradient, the gradient    zennit: the gradient, the gradient
#   what captum says of mobilenet_v2: Setting backward hooks on ReLU activations.
#   efficientnet_b0        0 ReLU  49 others  captum: the gradient, the gradient    zennit: the gradient, the gradient
#   mobilenet_v3_small    14 ReLU  19 others  captum: another map, another map      zennit: another map, another map
#
# Run by hand; needs PyPI and some minutes (torch is large). Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check captum==0.9.0 zennit==0.5.1 torch==2.15.0 torchvision==0.29.2
cat > "$folder/guided.py" <<'PYTHON'
import sys
import warnings

import torch
import torchvision
from captum import attr
from torch import nn
from zennit.attribution import Gradient
from zennit.composites import DeconvNet, GuidedBackprop

OTHERS = (nn.ReLU6, nn.SiLU, nn.Hardswish)
EXPECTED = {
    "resnet18": (9, "another map"),
    "mobilenet_v2": (0, "the gradient"),
    "efficientnet_b0": (0, "the gradient"),
    "mobilenet_v3_small": (14, "another map"),
}


def word(found, gradient):
    return "the gradient" if torch.equal(found, gradient) else "another map"


for name, expected in EXPECTED.items():
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None).eval()
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    image, one_of = torch.rand(1, 3, 96, 96), torch.eye(1000)[[1]]
    gradient = attr.Saliency(network).attribute(image.clone().requires_grad_(), target=1, abs=False)
    said, by_captum, by_zennit = "", [], []
    for method in (attr.GuidedBackprop, attr.Deconvolution):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            by_captum.append(word(method(network).attribute(image.clone().requires_grad_(), target=1), gradient))
        said = str(caught[0].message)[:43] if caught else ""
    with Gradient(network) as attributor:
        plain = attributor(image.clone(), one_of)[1]
    for composite in (GuidedBackprop(), DeconvNet()):
        with Gradient(network, composite=composite) as attributor:
            by_zennit.append(word(attributor(image.clone(), one_of)[1], plain))
    n_relu = sum(isinstance(module, nn.ReLU) for module in network.modules())
    n_others = sum(isinstance(module, OTHERS) for module in network.modules())
    beside = f"captum: {', '.join(by_captum):30}zennit: {', '.join(by_zennit)}"
    print(f"{name:20}{n_relu:4} ReLU{n_others:4} others  {beside}")
    if (n_relu, {*by_captum, *by_zennit}) != (expected[0], {expected[1]}):
        sys.exit(f"changed: {name}, expected {expected}")
    if name == "mobilenet_v2":
        print(f"what captum says of {name}: {said}")
        if "hooks on ReLU" not in said:
            sys.exit("changed: captum says something else")
PYTHON
"$folder/env/bin/python" "$folder/guided.py"
echo "as stated"
