"""Stage *judge*: verdicts on the parts of each network, and a class in the eyes of each.

part_matches, cross_deletions, visual summaries → part_verdicts, shown_parts, part_coverage, comparison_classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from xvcore.comparison.method.probe import Told
from xvcore.comparison.method.resampling import Mean, mean_of
from xvcore.comparison.method.verdict import Evidence
from xvcore.comparison.runs.class_parts import ClassParts, NetworkParts, class_parts
from xvcore.comparison.runs.coverage import by_part, coverage, covered_parts
from xvcore.comparison.settings import Comparison
from xvcore.runs.images import are_copies, records
from xvcore.runs.parts import parts_in_input
from xvcore.runs.run import Progress, Run


def judge(run: Run[Comparison], class_id: str, _progress: Progress | None = None) -> int:
    """Write the verdicts on the parts of a class and return their number; ``comparison_classes`` is written last."""
    found = class_parts(run, class_id)
    matches: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for row in records(run.store.read("part_matches", run.run_id, class_id)):
        matches.setdefault((row["model"], row["part_id"], row["other"]), []).append(row)
    deletions = {
        (row["model"], row["part_id"], row["other"]): row
        for row in records(run.store.read("cross_deletions", run.run_id, class_id))
    }
    verdicts = [
        {**run.keys(class_id), **_verdict(run.settings, network, part, other, matches, deletions)}
        for network in found.networks
        for other in found.networks
        if other is not network
        for part in range(len(network.part_ids))
    ]
    run.store.write("part_verdicts", run.run_id, class_id, verdicts)
    shown = [{**run.keys(class_id), **row} for row in _shown(run.settings, found)]
    run.store.write("shown_parts", run.run_id, class_id, shown)
    covered = _covered(run, class_id, found)
    parts = [
        {**run.keys(class_id), "model": name, **row}
        for name, of_network in covered.items()
        for row in by_part(of_network, seed=run.settings.seed)
    ]
    run.store.write("part_coverage", run.run_id, class_id, parts)
    rows = [{**run.keys(class_id), **row} for row in _classes(class_id, found, covered)]
    run.store.write("comparison_classes", run.run_id, class_id, rows)
    return len(verdicts)


def _verdict(  # noqa: PLR0913, PLR0917  what is asked, of which two, and from which tables
    settings: Comparison,
    network: NetworkParts,
    part: int,
    other: NetworkParts,
    matches: Mapping[tuple[str, int, str], Sequence[Mapping[str, Any]]],
    deletions: Mapping[tuple[str, int, str], Mapping[str, Any]],
) -> dict[str, Any]:
    part_id = network.part_ids[part]
    of_part = matches.get((network.name, part_id, other.name), ())
    partner, nearest = (next((row for row in of_part if row[name]), None) for name in ("is_partner", "is_nearest"))
    own, asked = (deletions[network.name, part_id, each.name] for each in (network, other))
    told = _told(asked)
    evidence = Evidence(nearest is not None, _mean(own), _mean(asked), told)
    verdict, reason = settings.judge(evidence)
    strength = None if nearest is None else float(nearest["strength"])
    of_seed = of_part[0]["strength_seed"] if of_part else None
    return {
        "model": network.name,
        "part_id": part_id,
        "clusters": list(network.clusters[part]),
        "n_images": len(np.unique(network.parts.image[network.parts.part == part])),
        "other": other.name,
        "verdict": verdict,
        "reason": reason,
        "partner": None if partner is None else int(partner["other_part"]),
        "nearest": None if nearest is None else int(nearest["other_part"]),
        "strength": strength,
        "beyond_seed": None if of_seed is None or pd.isna(of_seed) else (strength or 0.0) - float(of_seed),
        "own_loss": own["difference"],
        "other_loss": asked["difference"],
        "other_low": asked["low"],
        "other_high": asked["high"],
        "probe_accuracy": asked["probe_accuracy"],
        "probe_p": asked["probe_p"],
    }


def _mean(row: Mapping[str, Any]) -> Mean:
    return Mean(row["difference"], row["low"], row["high"], row["p_value"], row["n_images"])


def _told(row: Mapping[str, Any]) -> Told | None:
    if pd.isna(row["probe_accuracy"]):
        return None
    names = ("probe_accuracy", "probe_baseline", "probe_p", "probe_low", "probe_high", "n_images")
    return Told(*(row[name] for name in names))


def _covered(run: Run[Comparison], class_id: str, found: ClassParts) -> dict[str, pd.DataFrame]:
    """Return which annotated parts the masks of each network cover."""
    annotated: dict[str, pd.DataFrame] = {}
    covered = {}
    for network in found.networks:
        if network.frame not in annotated:  # networks of one input share the pixels
            annotated[network.frame] = parts_in_input(network.run, class_id)
        covered[network.name] = covered_parts(network, annotated[network.frame], seed=run.settings.seed)
    return covered


def _classes(class_id: str, found: ClassParts, covered: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    for network in found.networks:
        own = network.run
        columns = ["image_id", "correct", "skipped", "error"]
        predictions = own.store.read("predictions", own.run_id, class_id, columns=columns)
        predicted = predictions[predictions["error"].isna() & ~are_copies(predictions["skipped"])]
        looked = found.looked(network)
        shown = network.parts.shown(len(found.image_ids))[:, looked]
        yield {
            "model": network.name,
            "of_run": own.run_id,
            "n_summaries": sum(map(len, network.clusters)),
            "n_parts": len(network.part_ids),
            "has_distinct_parts": network.is_distinct,
            **_intervals(network, class_id),
            "parts_per_image": float(shown.sum(axis=0).mean()) if len(looked) else None,
            "n_images": len(predicted),
            "n_looked": len(looked),
            "accuracy": float(predicted["correct"].astype(bool).mean()) if len(predicted) else None,
            "mask_area": _median(network.masks["area_frac"]),
            "mask_drop": _median(network.masks["prob_drop"]),
            **coverage(network, found.sizes, class_id, covered[network.name]),
        }


def _intervals(network: NetworkParts, class_id: str) -> dict[str, float | None]:
    """Return the intervals of the counts that the visual summaries tell; of parts, where these are distinct parts."""
    names = ["summaries_low", "summaries_high", *(["parts_low", "parts_high"] if network.is_distinct else [])]
    own = network.run
    counts = own.store.read("part_counts", own.run_id, class_id, columns=["is_whole", *names])
    whole = records(counts[counts["is_whole"].astype(bool)])
    found: dict[str, float | None] = dict.fromkeys(("summaries_low", "summaries_high", "parts_low", "parts_high"))
    return found | {name: None if pd.isna(row[name]) else float(row[name]) for row in whole for name in names}


def _shown(settings: Comparison, found: ClassParts) -> Iterator[dict[str, Any]]:
    """Yield how many more parts an image shows in the eyes of a network than of another, paired over images."""
    for first in found.networks:
        for second in found.networks:
            if first is second:
                continue
            common = np.intersect1d(found.looked(first), found.looked(second))
            shown = [each.parts.shown(len(found.image_ids))[:, common].sum(axis=0) for each in (first, second)]
            mean = mean_of((shown[0] - shown[1]).astype(np.float64), seed=settings.seed)
            yield {
                "model": first.name,
                "other": second.name,
                "n_parts": len(first.part_ids),
                "n_parts_other": len(second.part_ids),
                "n_images": mean.n,
                "difference": mean.value,
                "low": mean.low,
                "high": mean.high,
                "p_value": mean.p_value,
            }


def _median(values: pd.Series) -> float | None:
    known = values.dropna()
    return float(known.median()) if len(known) else None
