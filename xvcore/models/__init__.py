"""Classifiers: architectures by name, their preprocessing, their weights, and what their outputs stand for.

``load("squeezenet1_1@w/squeezenet1_1.pt")`` is the way in, :func:`wrap` for a network in memory;
:func:`xvcore.models.labels.outputs_for` tells which output stands for a class of a dataset.
"""

from xvcore.models.architecture import Architecture, Output, PublishedWeights, architectures
from xvcore.models.catalogue import find
from xvcore.models.classifier import Classifier
from xvcore.models.labels import outputs_for
from xvcore.models.layout import laid_out
from xvcore.models.load import load
from xvcore.models.preprocessing import Geometry, Preprocessing
from xvcore.models.two_classes import TwoClasses
from xvcore.models.wrap import wrap

__all__ = [
    "Architecture",
    "Classifier",
    "Geometry",
    "Output",
    "Preprocessing",
    "PublishedWeights",
    "TwoClasses",
    "architectures",
    "find",
    "laid_out",
    "load",
    "outputs_for",
    "wrap",
]
