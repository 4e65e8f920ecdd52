"""From a network to heads of prototypes, and from these to prototypes and decisions taken apart (InfoDisent, 2024)."""

from collections.abc import Iterator

import pandas as pd

from xvcore.models import Classifier
from xvcore.prototypes.method.feature_map import feature_map
from xvcore.prototypes.networks import check_name, disentangled
from xvcore.prototypes.settings import Disentangle, Prototypes
from xvcore.prototypes.stages.cache import cache, cache_id
from xvcore.prototypes.stages.decompose import decompose
from xvcore.prototypes.stages.gather import gather_prototypes
from xvcore.prototypes.stages.train_heads import lost_heads, train_heads
from xvcore.runs.images import records
from xvcore.runs.pipeline import predicted
from xvcore.runs.predict import PREDICT_DISTINCT, PREDICT_JUDGED
from xvcore.runs.run import Run
from xvcore.runs.stage import Counts, Pipeline, Stage, pipelines
from xvcore.runs.thumbnails import Thumbnail, bars, sheet, spread
from xvcore.store.encode import encoded

N_CLASSES = 12
"""Classes whose strongest prototype is looked at."""


def count(run: Run[Prototypes], class_id: str) -> Counts:
    """Count the prototypes that are active in decisions for a class."""
    columns = ["target_kind", "prototype", "contribution"]
    rows = run.store.read("prototype_contributions", run.run_id, class_id, columns)
    is_active = (rows["target_kind"] == "label") & (rows["contribution"].abs() >= run.settings.threshold)
    return predicted(run, class_id, n_prototypes=int(rows.loc[is_active, "prototype"].nunique()))


def strongest_of_classes(run: Run[Prototypes], done: pd.DataFrame) -> Iterator[Thumbnail]:
    """Yield the patches of the prototype that adds most to each class; of many classes, some that are spread evenly."""
    names = dict(zip(done["class_id"], done["class_name"], strict=True))
    if not run.store.has("prototypes", run.run_id, "positive"):
        return
    columns = ["prototype", "position", "crop"]
    patches = run.store.read("prototypes", run.run_id, "positive", columns)
    for class_id in spread(sorted(names), N_CLASSES):
        if run.store.has("prototype_weights", run.run_id, class_id):
            weights = run.store.read("prototype_weights", run.run_id, class_id, ["prototype", "mean_contribution"])
            best = int(weights.sort_values("mean_contribution")["prototype"].iloc[-1]) if len(weights) else -1
            rows = records(patches[(patches["prototype"] == best) & patches["crop"].notna()].sort_values("position"))
            if rows:
                tiles = [encoded(row["crop"]) for row in rows]
                data = sheet(tiles, columns=len(tiles), rows=1, tile_px=80, is_enlarged=True)
                yield Thumbnail(f"{names[class_id]} · prototype {best}", data, class_id)


def accuracies(run: Run[Disentangle], _done: pd.DataFrame) -> Iterator[Thumbnail]:
    """Yield for each training how well network, linear probe and head tell images that none of them was trained on."""
    for training in run.store.classes_of("heads", run.run_id):
        rows = run.store.read("heads", run.run_id, training, ["kind", "accuracy_tested", "n_tested"])
        told = {row["kind"]: float(row["accuracy_tested"]) for row in records(rows) if pd.notna(row["accuracy_tested"])}
        if told:
            title = f"{training} · accuracy on {int(rows['n_tested'].max())} images that were kept from the training"
            yield Thumbnail(title, bars(told))


def check_head(run: Run[Prototypes]) -> None:
    """Refuse a network without a head of prototypes."""
    disentangled(run.classifier)


def map_of(classifier: Classifier) -> str:
    """Say how large the last map is, on which a head of prototypes is trained."""
    check_name(classifier)
    found = feature_map(classifier)
    return f"{found.rows} × {found.columns} places, {found.n_channels} channels"


pipelines.register(Disentangle.method)(
    Pipeline(
        settings=Disentangle,
        order=5,
        stages=(PREDICT_JUDGED, Stage("cache", None, cache)),
        count=predicted,
        gather=train_heads,
        pictures=accuracies,
        caches=lambda run: {"features": cache_id(run)},
        check=lambda run: check_name(run.classifier),
        fits={"prototypes": map_of},
        lost=lost_heads,
    )
)
pipelines.register(Prototypes.method)(
    Pipeline(
        settings=Prototypes,
        order=4,
        stages=(
            PREDICT_DISTINCT,
            Stage(
                "decompose",
                "prototype_contributions",
                decompose,
                also=("prototype_scans", "prototype_decisions"),
            ),
        ),
        count=count,
        gather=gather_prototypes,
        check=check_head,
        pictures=strongest_of_classes,
    )
)
