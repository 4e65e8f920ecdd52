"""On PartBirds the strongest patches of a BagNet lie on the parts that decide."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from xvcore.data import open_dataset
from xvcore.evidence.method.bagnet_evidence import BagNetEvidence
from xvcore.evidence.method.top_patches import TopPatches
from xvcore.models import load
from xvcore.ops.parts import share_on_parts
from xvcore.runs.train import TRAINING_SET, train

N_TOP = 50


def shares(spec: str) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each class with decisive parts, the share of top patches that lie on one, and of random patches."""
    dataset, classifier = open_dataset("partbirds?images=60"), load(spec)
    targets = torch.arange(len(dataset.classes))
    summary, boxes, parts = None, None, []
    for info in dataset.classes:
        parts += [dataclasses.asdict(part) for part in dataset.parts(info.class_id) if part.decisive]
        records = dataset.images(info.class_id)
        images = torch.stack([torch.from_numpy(dataset.picture(each)) for each in records]).permute(0, 3, 1, 2) / 255
        found = BagNetEvidence()(classifier, images, targets.expand(len(images), -1))
        numbers = info.class_idx * 1000 + torch.arange(len(images))
        batch = TopPatches(N_TOP).of_batch(found.values, numbers, (targets == info.class_idx).expand(len(images), -1))
        summary, boxes = batch if summary is None else summary.merge(batch), found.boxes
    names = {
        info.class_idx * 1000 + number: record.image_id
        for info in dataset.classes
        for number, record in enumerate(dataset.images(info.class_id))
    }
    found_shares = []
    for target in range(len(dataset.classes) - 1):  # the last class has no decisive parts
        rows = [row for row in summary.rows(boxes) if row.target == target and row.origin == "class"]
        assert len(rows) == N_TOP
        assert len({row.image for row in rows}) == N_TOP
        patches = pd.DataFrame([(names[row.image], *row.box) for row in rows], columns=["image_id", *"xywh"])
        found_shares.append(share_on_parts(patches, pd.DataFrame(parts), (128, 128)))
    top, random = np.array(found_shares).T
    return top, random


@pytest.mark.slow
def test_the_strongest_patches_of_a_class_lie_on_its_decisive_parts(tmp_path: Path) -> None:
    weights = train("partbirds_bagnet17", TRAINING_SET, tmp_path / "w.pt", device="cpu")
    top, random = shares(f"partbirds_bagnet17@{weights}")
    assert (top > random + 0.2).all()
    assert top.mean() > 0.8
