"""What people ask of the tables: how many summaries and parts, which regions, whether networks need the same pixels."""

from xvcore.visual_summaries.query.compare import compare
from xvcore.visual_summaries.query.counts import mean_summaries, parts, summaries
from xvcore.visual_summaries.query.regions import Similarity, members, neighbours, recluster, similarity

__all__ = [
    "Similarity",
    "compare",
    "mean_summaries",
    "members",
    "neighbours",
    "parts",
    "recluster",
    "similarity",
    "summaries",
]
