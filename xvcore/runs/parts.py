"""Annotated parts of the objects in a class, where the network sees them."""

import numpy as np
import pandas as pd

from xvcore.runs.images import records
from xvcore.runs.run import Run
from xvcore.runs.settings import Settings

BOX = ["x", "y", "w", "h"]


def parts_in_input(run: Run[Settings], class_id: str) -> pd.DataFrame:
    """Return the annotated parts of a class in pixels of the network's input: image_id, part, x, y, w, h, visible.

    A part whose middle the crop cut off is not visible.
    """
    parts = pd.DataFrame(
        [
            (part.image_id, part.part, part.x, part.y, part.w, part.h, part.visible, part.decisive)
            for part in run.dataset.parts(class_id)
        ],
        columns=["image_id", "part", *BOX, "visible", "decisive"],
    )
    sizes = run.store.read("predictions", run.run_id, class_id, columns=["image_id", "width", "height"]).dropna()
    parts = parts[parts["image_id"].isin(set(sizes["image_id"]))].reset_index(drop=True)
    height, width = run.size
    size_of = {row["image_id"]: (int(row["width"]), int(row["height"])) for row in records(sizes)}
    boxes = np.array(parts[BOX], np.float64)
    for image_id, rows in parts.groupby("image_id").indices.items():
        geometry = run.classifier.preprocessing.geometry(*size_of[str(image_id)])
        boxes[rows] = geometry.boxes(boxes[rows])
    middle = boxes[:, :2] + boxes[:, 2:] / 2
    is_inside = (middle >= 0).all(axis=1) & (middle < [width, height]).all(axis=1)
    parts[BOX] = boxes
    return parts.assign(visible=parts["visible"].to_numpy(bool) & is_inside)
