"""Visual summaries: the stages from images to accepted summaries (Godi, Carletti et al., BMVC 2018)."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from xvcore.errors import XvError
from xvcore.models import Classifier
from xvcore.runs.images import as_bytes, pictures, records
from xvcore.runs.pipeline import predicted
from xvcore.runs.predict import PREDICT_DISTINCT
from xvcore.runs.run import Run
from xvcore.runs.stage import Counts, Pipeline, Stage, pipelines
from xvcore.runs.thumbnails import Thumbnail, sheet, spread, thumbnail
from xvcore.store.encode import encoded, picture
from xvcore.visual_summaries.settings import VisualSummaries
from xvcore.visual_summaries.stages.locate_parts import locate_parts
from xvcore.visual_summaries.stages.mask import mask
from xvcore.visual_summaries.stages.match import match
from xvcore.visual_summaries.stages.propose import proposals_id, propose
from xvcore.visual_summaries.stages.summarise import summarise, trim

N_CLASSES, N_REGIONS = 16, 5
"""Classes among which the best summaries are looked for, and regions that are shown of a summary."""
CLUSTER_COLUMNS = ("class_id", "cluster_id", "position", "n_images", "accepted", "prob_drop")
_WITH_CLUSTERS = ("regions", "summary_drops", "part_counts")
REGION_COLUMNS = ("image_id", "cluster_id", "x", "y", "w", "h", "is_exemplar", "sim_exemplar", "kept", "crop")


def count(run: Run[VisualSummaries], class_id: str) -> Counts:
    """Count the masks, regions, clusters and accepted summaries of a class, and the parts that these lie on."""

    def read(table: str, column: str) -> pd.Series:
        return run.store.read(table, run.run_id, class_id, columns=[column])[column]

    accepted = read("clusters", "accepted").astype(bool)
    return predicted(
        run,
        class_id,
        n_masks=int((read("masks", "kind") == "sharp").sum()),
        n_regions=len(read("regions", "region_id")),
        n_clusters=len(accepted),
        n_summaries=int(accepted.sum()),
        n_parts=int(read("clusters", "distinct_part").nunique()),
    )


def best_summaries(run: Run[VisualSummaries], done: pd.DataFrame) -> Iterator[Thumbnail]:
    """Yield strips of regions: the summary of each class without which most is lost, the largest drop first.

    Then each class's second, and so on; of many classes, some that are spread evenly over all.
    """
    fruitful = sorted(done["class_id"][done["n_summaries"].fillna(0) > 0])
    if not fruitful:
        return
    clusters = pd.concat(
        [run.store.read("clusters", run.run_id, each, columns=CLUSTER_COLUMNS) for each in spread(fruitful, N_CLASSES)]
    )
    accepted = clusters[clusters["accepted"].astype(bool)].sort_values(["class_id", "position"])
    drops = accepted["prob_drop"].fillna(-float("inf"))
    place = drops.groupby(accepted["class_id"]).rank(method="first", ascending=False).astype(int)
    shown = accepted.assign(place=place).sort_values(["place", "prob_drop", "class_id"], ascending=[True, False, True])
    names = dict(zip(done["class_id"], done["class_name"], strict=True))
    for row in records(shown):
        drop = "" if pd.isna(row["prob_drop"]) else f" · drop {round(100 * row['prob_drop'])} %".replace("-", "−")
        title = f"{names[row['class_id']]} · summary {row['place']} · {row['n_images']} images{drop}"
        tiles = _regions(run, row["class_id"], row["cluster_id"])
        if tiles:
            yield Thumbnail(title, sheet(tiles, columns=len(tiles), rows=1, tile_px=96), row["class_id"])


def _regions(run: Run[VisualSummaries], class_id: str, cluster_id: int) -> list[bytes]:
    """Return squares around the regions of a summary that are most like its exemplar, which comes first."""
    regions = run.store.read("regions", run.run_id, class_id, columns=REGION_COLUMNS)
    members = regions[(regions["cluster_id"] == cluster_id) & regions["kept"].fillna(value=False).astype(bool)]
    shown = records(members.sort_values(["is_exemplar", "sim_exemplar"], ascending=False).head(N_REGIONS))
    try:
        # The region alone can be hard to tell: what is around it comes from the dataset, where that is still there.
        images = as_bytes(pictures(run, class_id, [row["image_id"] for row in shown]))
        return [thumbnail(picture(each)["bytes"], _box(row)) for each, row in zip(images, shown, strict=True)]
    except (XvError, OSError):
        crops = ((encoded(row["crop"]), row) for row in shown)
        return [thumbnail(crop, (0, 0, row["w"], row["h"]), context=1.0) for crop, row in crops if crop]


def _box(row: Mapping[str, Any]) -> tuple[int, int, int, int]:
    return int(row["x"]), int(row["y"]), int(row["w"]), int(row["h"])


def masks_of(classifier: Classifier) -> str:
    """Say that masks can be found by the network's gradient."""
    classifier.check_derivative()
    return "its gradient is the derivative"


pipelines.register(VisualSummaries.method)(
    Pipeline(
        settings=VisualSummaries,
        order=1,
        stages=(
            PREDICT_DISTINCT,
            Stage("mask", "masks", mask, drafts=("masks_so_far", "masks_begun")),
            Stage("propose", None, propose),
            Stage("match", "candidates", match, growth="image pairs", also=("similarity",)),
            Stage("summarise", "clusters", summarise, growth="regions", also=_WITH_CLUSTERS),
            Stage("trim", None, trim, growth="region pairs", alters=("similarity",)),
            Stage("locate_parts", "summary_parts", locate_parts),
        ),
        count=count,
        pictures=best_summaries,
        caches=lambda run: {"proposals": proposals_id(run)},
        fits={"masks": masks_of},
    )
)
