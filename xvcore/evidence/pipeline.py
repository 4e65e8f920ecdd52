"""Evidence of patches: from images to maps, strongest patches and mean maps (Brendel & Bethge, ICLR 2019)."""

from collections.abc import Iterator

import pandas as pd
import torch

from xvcore.evidence.method.bagnet_evidence import BagNetEvidence
from xvcore.evidence.settings import PatchEvidence
from xvcore.evidence.stages.explain import Explained, explain, gather_patches
from xvcore.evidence.stages.sums import PATCH_SUMS
from xvcore.models import Classifier
from xvcore.runs.images import records
from xvcore.runs.pipeline import predicted
from xvcore.runs.predict import PREDICT_DISTINCT
from xvcore.runs.run import Run
from xvcore.runs.stage import Pipeline, Stage, pipelines
from xvcore.runs.thumbnails import Thumbnail, sheet, spread
from xvcore.store.encode import encoded

N_CLASSES, N_PATCHES = 12, 7
"""Classes whose patches are looked at, and patches that are shown of a class."""


def strongest_patches(run: Run[PatchEvidence], done: pd.DataFrame) -> Iterator[Thumbnail]:
    """Yield the patches of a class that say most for it, the class with the strongest first.

    Of many classes, some that are spread evenly over all.
    """
    names = dict(zip(done["class_id"], done["class_name"], strict=True))
    shown = []
    for class_id in spread(sorted(names), N_CLASSES):
        if run.store.has("patches", run.run_id, class_id):
            patches = run.store.read("patches", run.run_id, class_id, ["origin", "position", "evidence", "crop"])
            own = patches[(patches["origin"] == "class") & patches["crop"].notna()]
            if len(own):
                shown.append((class_id, records(own.sort_values("position").head(N_PATCHES))))
    for class_id, rows in sorted(shown, key=lambda each: -each[1][0]["evidence"]):
        title = f"{names[class_id]} · evidence of each patch {rows[0]['evidence']:.1f} … {rows[-1]['evidence']:.1f}"
        tiles = [encoded(row["crop"]) for row in rows]
        data = sheet(tiles, columns=len(tiles), rows=1, tile_px=80, is_enlarged=True)
        yield Thumbnail(title, data, class_id)


def evidence_of(classifier: Classifier) -> str:
    """Say of how many patches the logits are a mean."""
    images = torch.rand(1, 3, *classifier.preprocessing.input_px, generator=torch.Generator().manual_seed(0))
    found = BagNetEvidence()(classifier, images.to(classifier.device), torch.zeros(1, dtype=torch.int64))
    rows, columns = found.values.shape[-2:]
    return f"{rows} × {columns} {'patches' if found.is_local else 'cells, which see more than their patch'}"


pipelines.register(PatchEvidence.method)(
    Pipeline(
        settings=PatchEvidence,
        order=2,
        stages=(PREDICT_DISTINCT, Stage("explain", "evidence", explain, summary=PATCH_SUMS, looker=Explained)),
        count=predicted,
        gather=gather_patches,
        gathers_by="class",
        pictures=strongest_patches,
        fits={"evidence": evidence_of},
    )
)
