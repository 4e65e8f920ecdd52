"""Datasets: labelled images by short strings, what a run saw of them (manifest), and decoding beside the network."""

from xvcore.data.dataset import ClassInfo, Dataset, ImageRecord, PartBox, datasets, open_dataset

__all__ = [
    "ClassInfo",
    "Dataset",
    "ImageRecord",
    "PartBox",
    "datasets",
    "open_dataset",
]
