"""Summaries on a page: those first without which most is lost; one without which nothing is lost says so."""

from typing import Any

from xvcore.visual_summaries.pages.class_data import _clusters


def _row(cluster_id: int, position: int, drop: float | None, *, accepted: bool = True) -> dict[str, Any]:
    return {
        "cluster_id": cluster_id,
        "position": position,
        "prob_drop": drop,
        "accepted": accepted,
        "rejected": None if accepted else "coherence",
        "part": None,
    }


def test_summaries_are_sorted_by_their_drop_and_rejected_clusters_by_their_score() -> None:
    rows = [
        _row(0, 1, -0.05),
        _row(1, 2, 0.4),
        _row(2, 3, None),
        _row(3, 4, 0.4),
        _row(4, 5, 0.9),
        _row(5, 7, 0.99, accepted=False),
        _row(6, 6, 0.1, accepted=False),
    ]
    found = _clusters(rows, [], {})
    assert [each.row["cluster_id"] for each in found] == [4, 1, 3, 0, 2, 6, 5]
    assert [each.colour for each in found] == [0, 1, 2, 3, 4, -1, -1]
    assert [each.row["cluster_id"] for each in found if each.is_idle] == [0]
