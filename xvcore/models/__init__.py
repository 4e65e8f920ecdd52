"""Classifiers: architectures by name, their preprocessing, their weights, and what their outputs stand for."""

from xvcore.models.architecture import Architecture, PublishedWeights, architectures
from xvcore.models.classifier import Classifier, Output
from xvcore.models.preprocessing import Geometry, Preprocessing

__all__ = [
    "Architecture",
    "Classifier",
    "Geometry",
    "Output",
    "Preprocessing",
    "PublishedWeights",
    "architectures",
]
