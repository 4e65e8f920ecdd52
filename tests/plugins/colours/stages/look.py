"""Stage *look*: the colour of each image; images, predictions → colours."""

import torch

from colours.settings import Colours
from xvcore.runs.images import batches, passed_images
from xvcore.runs.run import Progress, Run


def look(run: Run[Colours], class_id: str, progress: Progress | None = None) -> int:
    """Write a row of ``colours`` for each image and return their number."""
    rows = []
    for batch in batches(run, class_id, passed_images(run, class_id)):
        targets = torch.zeros(len(batch.images), dtype=torch.int64)
        colours = run.settings.colour(run.classifier, batch.images, targets)
        for image_id, colour in zip(batch.image_ids, colours.tolist(), strict=True):
            named = dict(zip(("red", "green", "blue"), colour, strict=True))
            rows.append({**run.keys(class_id), "image_id": image_id, **named})
    run.store.write("colours", run.run_id, class_id, rows)
    return len(rows)
