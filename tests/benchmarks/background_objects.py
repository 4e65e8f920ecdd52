"""Background independence on FunnyBirds: does the decision hang on an object that is no part of the bird?

    python tests/benchmarks/background_objects.py FUNNYBIRDS MODEL [MODEL …] [--images 3]

Every object of the background of a test image is painted over with the colour of the empty scene, which is uniform, and
is *independent* when the predicted logit falls by less than 5 % of itself (Hesse, Schaub-Meyer, Roth, FunnyBirds, ICCV
2023; there the objects are left out of the scene, here what an object hides of the bird stays hidden). Printed: the
share of independent objects, the mean of the images.
"""

import argparse

import cv2
import numpy as np
import torch
from PIL import Image

from xvcore.data import open_dataset
from xvcore.data.decode import decode
from xvcore.data.funnybirds import FunnyBirds
from xvcore.models import Classifier, load
from xvcore.prototypes.method.part_scores import UNIMPORTANT

EDGE = np.ones((3, 3), np.uint8)
"""Edges of objects are a pixel wider than the map says: they are smoothed."""


def share(classifier: Classifier, dataset: FunnyBirds, n_images: int) -> tuple[float, int]:
    """Return the mean share of independent objects, and how many objects were painted over."""
    shares, n_objects = [], 0
    for info in dataset.classes:
        for record in dataset.images(info.class_id)[:n_images]:
            picture = decode(dataset.read(record))
            pixels, masks = np.asarray(picture), dataset.background_masks(record)
            empty = np.median(pixels[(dataset.part_map(record) == 0).all(axis=2)], axis=0).astype(np.uint8)
            seen = [pixels]
            for mask in masks.values():
                wide = cv2.dilate(mask.astype(np.uint8), EDGE).astype(bool)
                seen.append(np.where(wide[..., None], empty, pixels))
            images = torch.stack([classifier.preprocessing.pixels(Image.fromarray(each)) for each in seen])
            with torch.inference_mode():
                logits = classifier.logits(images)
            own = logits[:, logits[0].argmax()]
            if masks:
                shares.append(float((own[0] - own[1:] < UNIMPORTANT * own[0].abs()).float().mean()))
                n_objects += len(masks)
    return float(np.mean(shares)), n_objects


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--images", type=int, default=3, help="of each class")
    given = parser.parse_args()
    torch.set_num_threads(1)
    dataset = open_dataset(f"funnybirds:{given.folder}?split=test")
    assert isinstance(dataset, FunnyBirds)
    for model in given.models:
        found, n_objects = share(load(model), dataset, given.images)
        print(f"{model}: {found:.3f} of {n_objects} objects do not matter", flush=True)


if __name__ == "__main__":
    main()
