"""The regions of a class: members of a summary, their similarity, neighbours, and other clusterings of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from xvcore.errors import StoreError
from xvcore.query.tables import table
from xvcore.store import Store
from xvcore.store.encode import picture_array


@dataclass(frozen=True)
class Similarity:
    """Similarity of the regions of a class.

    Parameters
    ----------
    region_ids : (regions,) in ascending order
    scores : (regions, regions) float32, symmetric; NaN where a pair was not kept
    """

    region_ids: np.ndarray
    scores: np.ndarray


def members(store: Store, run_id: str, class_id: str, cluster_id: int, n: int | None = None) -> pd.DataFrame:
    """Return the regions of a cluster, the exemplar first, then by falling similarity to it.

    Parameters
    ----------
    store, run_id, class_id, cluster_id : the cluster
    n : only the first ones

    Returns
    -------
    the columns of ``regions``, and ``pixels``: the crop as an array (h, w, 3) 0 … 255, ``None`` where none was stored
    """
    found = table(store, "regions", run_id=run_id, class_id=class_id, filters={"cluster_id": cluster_id})
    order = ["is_exemplar", "sim_exemplar", "region_id"]
    found = found.sort_values(order, ascending=[False, False, True], ignore_index=True).head(n or len(found))
    crops = [None if crop is None else picture_array(crop) for crop in found["crop"]]
    return found.assign(pixels=pd.Series(crops, index=found.index, dtype=object))


def similarity(store: Store, run_id: str, class_id: str) -> Similarity:
    """Return the similarity of a class's regions as a matrix.

    The diagonal is each region's similarity to itself (``candidates``); where that table is not there, the largest
    similarity of the class.

    Raises
    ------
    StoreError
        The class has neither regions nor pairs.
    """
    pairs = table(store, "similarity", run_id=run_id, class_id=class_id, columns=["region_i", "region_j", "score"])
    regions = table(store, "regions", run_id=run_id, class_id=class_id, columns=["region_id"])
    region_ids = np.unique(np.concatenate([regions["region_id"], pairs["region_i"], pairs["region_j"]]))
    if not len(region_ids):
        raise StoreError(f"no regions of {class_id!r} in {run_id!r} of {store.url}")
    scores = np.full((len(region_ids), len(region_ids)), np.nan, dtype=np.float32)
    i, j = (np.searchsorted(region_ids, pairs[name]) for name in ("region_i", "region_j"))
    scores[i, j] = scores[j, i] = pairs["score"]
    np.fill_diagonal(scores, _self_similarity(store, run_id, class_id, region_ids, pairs))
    return Similarity(region_ids, scores)


def neighbours(store: Store, run_id: str, class_id: str, region_id: int, n: int = 9) -> pd.DataFrame:
    """Return the regions most alike to one: region_id, score, highest first."""
    either = [[("region_i", "==", region_id)], [("region_j", "==", region_id)]]
    pairs = table(store, "similarity", run_id=run_id, class_id=class_id, filters=either)
    others = pairs["region_i"] + pairs["region_j"] - region_id
    found = pd.DataFrame({"region_id": others, "score": pairs["score"]})
    return found.sort_values(["score", "region_id"], ascending=[False, True], ignore_index=True).head(n)


def recluster(
    store: Store, run_id: str, class_id: str, clustering: Callable[..., Any] | None = None, *, seed: int = 0
) -> pd.DataFrame:
    """Return another clustering of a class's regions from the stored similarity: region_id, cluster_id, is_exemplar.

    Parameters
    ----------
    store, run_id, class_id : the class
    clustering : e.g. ``Clustering(preference_scale=2)``; the default is that of the method. Pairs that were not kept
        count as the lowest similarity of the class
    seed : of the noise that breaks ties
    """
    import torch

    from xvcore.visual_summaries.method.clustering import Clustering

    found = similarity(store, run_id, class_id)
    scores = np.where(np.isnan(found.scores), np.nanmin(found.scores), found.scores)
    clusters = (clustering or Clustering())(torch.from_numpy(scores), seed=seed)
    is_exemplar = np.zeros(len(scores), dtype=bool)
    is_exemplar[clusters.exemplars.numpy()] = True
    return pd.DataFrame(
        {"region_id": found.region_ids, "cluster_id": clusters.labels.numpy(), "is_exemplar": is_exemplar}
    )


def _self_similarity(
    store: Store, run_id: str, class_id: str, region_ids: np.ndarray, pairs: pd.DataFrame
) -> np.ndarray:
    columns = ["region_id", "self_similarity"]
    known = table(store, "candidates", run_id=run_id, class_id=class_id, columns=columns).set_index("region_id")
    found = known["self_similarity"].reindex(region_ids).to_numpy(np.float32)
    largest = pairs["score"].max() if len(pairs) else np.float32(1.0)
    return np.where(np.isnan(found), largest, found).astype(np.float32)
