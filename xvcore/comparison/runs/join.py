"""What only all classes together tell: count against accuracy, and who shows more parts of which class.

comparison_classes, shown_parts → comparison_wins, comparison_networks.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import scipy

from xvcore.comparison.method.resampling import holm, interval
from xvcore.comparison.settings import Comparison
from xvcore.runs.images import records
from xvcore.runs.run import Run

ALPHA = 0.05
LEAST_NETWORKS = 4
"""Of a correlation over the networks; three lie on a line often enough."""


def join(run: Run[Comparison]) -> None:
    """Write what the complete classes of a comparison tell together."""
    classes = [each for each in run.store.classes_of("comparison_classes", run.run_id) if _is_complete(run, each)]
    if not classes:
        return
    parts = [run.store.read("comparison_classes", run.run_id, each) for each in classes]
    found = pd.concat(parts, ignore_index=True)
    wins = pd.concat([run.store.read("shown_parts", run.run_id, each) for each in classes], ignore_index=True)
    wins["p_holm"] = wins.groupby(["model", "other"])["p_value"].transform(lambda each: holm(each.to_numpy(float)))
    wins["wins"] = (wins["difference"] > 0) & (wins["p_holm"] <= ALPHA)
    _write(run, "comparison_wins", wins)
    _write(run, "comparison_networks", _networks(run, found))


def _is_complete(run: Run[Comparison], class_id: str) -> bool:
    if not run.store.has("class_runs", run.run_id, class_id):
        return False
    return bool(run.store.record(run.run_id, class_id)["status"][0].as_py() == "complete")


def _networks(run: Run[Comparison], classes: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for model, of_model in classes.groupby("model", sort=True):
        counts = of_model["n_parts"].to_numpy(float)
        low, high = interval(partial(_mean_of, counts), len(counts), seed=run.settings.seed)
        rows.append(
            {
                "model": model,
                "n_classes": len(of_model),
                "mean_summaries": float(of_model["n_summaries"].mean()),
                "mean_parts": float(counts.mean()),
                "mean_parts_low": low if len(counts) > 1 else None,
                "mean_parts_high": high if len(counts) > 1 else None,
                "accuracy": float(of_model["accuracy"].astype(float).mean()),
            }
        )
    frame = pd.DataFrame(rows)
    return frame.assign(**correlation(frame["mean_parts"].to_numpy(float), frame["accuracy"].to_numpy(float)))


def correlation(
    counts: Sequence[float] | np.ndarray, accuracies: Sequence[float] | np.ndarray, *, seed: int = 0
) -> dict[str, Any]:
    """Return how the mean count goes with accuracy over networks; nothing of fewer than four, or of equal values."""
    x, y = (np.asarray(each, float) for each in (counts, accuracies))
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    found: dict[str, Any] = dict.fromkeys(("correlation", "correlation_low", "correlation_high", "rank_correlation"))
    found["n_networks"] = len(x)
    if len(x) < LEAST_NETWORKS or not (np.ptp(x) > 0 and np.ptp(y) > 0):
        return found
    low, high = interval(lambda chosen: _pearson(x[chosen], y[chosen]), len(x), seed=seed)
    ranks = _pearson(scipy.stats.rankdata(x), scipy.stats.rankdata(y))
    return found | {
        "correlation": _pearson(x, y), "correlation_low": low, "correlation_high": high, "rank_correlation": ranks,
    }  # fmt: skip


def _mean_of(values: np.ndarray, chosen: np.ndarray) -> float:
    return float(values[chosen].mean())


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) > 0 and np.ptp(y) > 0 else float("nan")


def _write(run: Run[Comparison], table: str, rows: pd.DataFrame) -> None:
    """Write a part for each network."""
    for model, part in rows.groupby("model", sort=True):
        plain = [{name: None if pd.isna(value) else value for name, value in row.items()} for row in records(part)]
        run.store.write(table, run.run_id, str(model), [{**row, "run_id": run.run_id} for row in plain])
