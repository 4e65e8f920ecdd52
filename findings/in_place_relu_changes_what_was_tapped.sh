#!/usr/bin/env bash
# What is tapped of a convolution whose ReLU works in place, as in torchvision's VGG, AlexNet and SqueezeNet.
# grad-cam 1.5.7 keeps the tensor itself: by the time that it weighs the activations they are rectified, while the gradients
# are those before the ReLU, and nothing is said. The map of one image is another one when only `inplace` is set to
# False, with the same weights and the same logits: on the last convolution of a VGG 11 by up to .9 of its range.
# captum 0.9.0's LayerGradCam gives one map for both. torchvision 0.29.2's `create_feature_extractor` is of two minds:
# asked for the convolution alone it cuts the rest away and gives what the convolution gives; asked for it and for a later layer,
# it gives it rectified. What a node is depends on which others are asked for.
#
# Seen on 2026-11-29, Python 3.11, x86-64, CPU (VGG 11 of ten classes, seed 0, four images of noise, 64 x 64 pixels):
#   logits differ by 0.0; maps of features.18: grad-cam by 0.94 of 1 (correlations 0.73 0.52 0.72 0.62), captum by 0.0
#   least value of features.18: alone below 0, with features.20 beside it 0
#
# Run by hand; needs PyPI and some minutes (torch is large). Fails when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check grad-cam==1.5.7 captum==0.9.0 torch==2.15.0 torchvision==0.29.2
cat > "$folder/tapped.py" <<'PYTHON'
import copy
import sys

import numpy as np
import torch
import torchvision
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torchvision.models.feature_extraction import create_feature_extractor

torch.manual_seed(0)
in_place = torchvision.models.vgg11(num_classes=10).eval()
images = torch.randn(4, 3, 64, 64)
beside = copy.deepcopy(in_place)
for module in beside.modules():
    if isinstance(module, torch.nn.ReLU):
        module.inplace = False


def by_grad_cam(network):
    with GradCAM(model=network, target_layers=[network.features[18]]) as cam:
        return cam(input_tensor=images, targets=[ClassifierOutputTarget(1)] * len(images))


def by_captum(network):
    return LayerGradCam(network, network.features[18]).attribute(images, 1, relu_attributions=True).detach().numpy()


def least(nodes):
    with torch.no_grad():
        return create_feature_extractor(in_place, nodes)(images)["features.18"].min().item()


with torch.no_grad():
    logits = (in_place(images) - beside(images)).abs().max().item()
first, second = by_grad_cam(in_place), by_grad_cam(beside)
peer = np.abs(by_captum(in_place) - by_captum(beside)).max()
apart = np.abs(first - second).max()
alike = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(first, second)]
alone, together = least(["features.18"]), least(["features.18", "features.20"])
print(f"logits differ by {logits}; maps of features.18: grad-cam by {apart:.2f} of 1 (correlations", *(f"{each:.2f}" for each in alike), f"), captum by {peer}")
print(f"least value of features.18: alone {alone:.2f}, with features.20 beside it {together:.2f}")
sys.exit(0 if logits == peer == together == 0 and apart > 0.5 and alone < 0 else "changed")
PYTHON
"$folder/env/bin/python" "$folder/tapped.py"
echo "as stated"
