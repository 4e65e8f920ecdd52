"""Datasets: labelled images by short strings, what a run saw of them (manifest), and decoding beside the network."""

from xvcore.data.dataset import ClassInfo, Dataset, ImageRecord, PartBox, datasets, open_dataset
from xvcore.data.decode import MAX_PIXELS, decode
from xvcore.data.loader import Batch, load_batches
from xvcore.data.manifest import ManifestRow, manifest

__all__ = [
    "MAX_PIXELS",
    "Batch",
    "ClassInfo",
    "Dataset",
    "ImageRecord",
    "ManifestRow",
    "PartBox",
    "datasets",
    "decode",
    "load_batches",
    "manifest",
    "open_dataset",
]
