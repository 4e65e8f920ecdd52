"""Two networks side by side: whether they need the same pixels, as many of them, and how many summaries they have."""

from typing import Any

import numpy as np
import pandas as pd

from xvcore.errors import StoreError, unknown_name
from xvcore.query.tables import table
from xvcore.store import Store
from xvcore.store.encode import rle_decode, rle_overlap
from xvcore.visual_summaries.query.counts import summary_counts

_MASK = ["class_id", "image_id", "rle", "area_frac", "prob_drop"]


def compare(store: Store, a: str, b: str, *, kind: str = "sharp") -> pd.DataFrame:
    """Return a row for each class that both networks completed.

    Masks are compared in the frame of the networks' inputs: they show the same pixels where both networks crop the
    image in the same way. Where only the sizes differ, the finer mask is sampled at the coarser one's pixels.

    Parameters
    ----------
    store : the store
    a, b : a network's name, or a run id where the network has several runs of a class
    kind : of the masks

    Returns
    -------
    DataFrame with the columns class_id, class_name, n_summaries_a, n_summaries_b, n_parts_a, n_parts_b (distinct parts
    that the summaries lie on; NA where a run did not look for them), n_shared (images with a mask in both), overlap
    (mean intersection over union of the masks, 0 … 1), area_a, area_b (median share of the image removed, 0 … 1),
    drop_a, drop_b (median relative drop of the probability); the last five over the shared images

    Raises
    ------
    StoreError
        A name is neither a network nor a run of this store, or the network has several runs of a class.
    """
    counts = [_counts(store, name) for name in (a, b)]
    masks = [_masks(store, found, kind) for found in counts]
    both = counts[0].merge(counts[1][["class_id", "n_summaries", "n_parts"]], on="class_id", suffixes=("_a", "_b"))
    shared = masks[0].merge(masks[1], on=["class_id", "image_id"], suffixes=("_a", "_b"))
    shared["overlap"] = [overlap(*pair) for pair in zip(shared["rle_a"], shared["rle_b"], strict=True)]
    groups = shared.groupby("class_id")
    of_masks = pd.DataFrame(
        {
            "n_shared": groups.size(),
            "overlap": groups["overlap"].mean(),
            **{f"area_{x}": groups[f"area_frac_{x}"].median() for x in "ab"},
            **{f"drop_{x}": groups[f"prob_drop_{x}"].median() for x in "ab"},
        }
    ).reset_index()
    columns = ["class_id", "class_name", *(f"n_{what}_{x}" for what in ("summaries", "parts") for x in "ab")]
    result = both[columns].merge(of_masks, on="class_id", how="left")
    result["n_shared"] = result["n_shared"].fillna(0).astype("int64")
    return result.sort_values("class_id", ignore_index=True)


def overlap(first: Any, second: Any) -> float:
    """Return intersection over union of two masks, in [0, 1]; of unequal sizes, the finer one is sampled."""
    if list(first["size"]) == list(second["size"]):
        return rle_overlap(first, second)
    masks = [rle_decode(first), rle_decode(second)]
    height, width = (min(sides) for sides in zip(*(mask.shape for mask in masks), strict=True))
    one, other = (_sampled(mask, height, width) for mask in masks)
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 0.0


def _sampled(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    rows, columns = (
        ((np.arange(n) + 0.5) * size / n).astype(np.intp) for n, size in zip((height, width), mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]


def _counts(store: Store, name: str) -> pd.DataFrame:
    runs = table(store, "runs", columns=["run_id", "model"])
    chosen = runs[(runs["run_id"] == name) | (runs["model"] == name)]
    if chosen.empty:
        raise StoreError(str(unknown_name("network or run", name, {*runs["model"], *runs["run_id"]})))
    found = summary_counts(store, run_id=list(chosen["run_id"]))
    if found["class_id"].duplicated().any():
        raise StoreError(
            f"{name} has several runs of a class; name one of them: {', '.join(sorted(set(found['run_id'])))}"
        )
    return found


def _masks(store: Store, classes: pd.DataFrame, kind: str) -> pd.DataFrame:
    runs = sorted(set(classes["run_id"]))
    masks = table(store, "masks", run_id=runs, filters={"kind": kind}, columns=["run_id", *_MASK])
    whole = masks.merge(classes[["run_id", "class_id"]], on=["run_id", "class_id"])
    return whole.loc[whole["rle"].notna(), _MASK]
