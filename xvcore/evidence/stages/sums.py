"""What classes add to the strongest patches and mean maps, as rows of ``patch_sums``, and of what came before it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xvcore.evidence.method.top_patches import ORIGINS, PatchSummary
from xvcore.evidence.settings import PatchEvidence
from xvcore.runs.images import records
from xvcore.runs.run import Run
from xvcore.runs.stage import Summary


def _cells(summary: PatchSummary) -> dict[str, Any]:
    cells = {
        "n_images": summary.n_images,
        "evidence": summary.evidence,
        "images": summary.images,
        "map_y": summary.rows_of,
        "map_x": summary.columns_of,
        "sums": summary.sums,
    }
    sides = dict(zip(("map_h", "map_w"), summary.sums.shape[2:], strict=True))
    return {**{name: values.flatten().numpy() for name, values in cells.items()}, **sides}


def _summary(run: Run[PatchEvidence], row: Mapping[str, Any]) -> PatchSummary:
    def shaped(name: str, *shape: int, dtype: type = np.int64) -> Tensor:
        values = torch.from_numpy(np.asarray(row[name]).astype(dtype))
        return values.reshape(-1, len(ORIGINS), *shape)

    kept = run.settings.top_patches.n_kept
    return PatchSummary(
        evidence=shaped("evidence", kept, dtype=np.float32),
        images=shaped("images", kept),
        rows_of=shaped("map_y", kept),
        columns_of=shaped("map_x", kept),
        sums=shaped("sums", int(row["map_h"]), int(row["map_w"])),
        n_images=shaped("n_images"),
    )


def _older(run: Run[PatchEvidence], class_id: str) -> PatchSummary | None:
    rows = records(run.store.read("patch_summaries", run.run_id, class_id))
    if not rows:
        return None
    n_targets = len(rows) // len(ORIGINS)

    def stacked(name: str, *shape: int) -> Tensor:
        values = torch.from_numpy(np.stack([np.asarray(row[name]) for row in rows]))
        return values.reshape(n_targets, len(ORIGINS), *shape)

    return PatchSummary(
        evidence=stacked("evidence", -1),
        images=stacked("images", -1),
        rows_of=stacked("map_y", -1),
        columns_of=stacked("map_x", -1),
        sums=stacked("sums", int(rows[0]["map_h"]), int(rows[0]["map_w"])),
        n_images=stacked("n_images"),
    )


PATCH_SUMS = Summary("patch_sums", "evidence", _cells, _summary, PatchSummary.merge, "patch_summaries", _older)
"""Strongest patches and mean maps over all classes."""
