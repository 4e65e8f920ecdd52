"""The masks of a class, as later stages read them: those that take the decision away."""

import pandas as pd

from xvcore.runs.run import Run
from xvcore.visual_summaries.settings import VisualSummaries


def masked_images(run: Run[VisualSummaries], class_id: str) -> pd.DataFrame:
    """Return the crisp masks of a class that reached their drop, one row per image, sorted by image id."""
    masks = run.store.read("masks", run.run_id, class_id)
    crisp = masks[(masks["kind"] == "sharp") & masks["reached"].fillna(value=False).astype(bool)]
    return crisp.sort_values("image_id", ignore_index=True)
