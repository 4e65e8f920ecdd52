"""What people ask of the tables: how many summaries, which regions, and whether two networks need the same pixels."""

from xvcore.visual_summaries.query.compare import compare
from xvcore.visual_summaries.query.counts import mean_summaries, summaries
from xvcore.visual_summaries.query.regions import Similarity, members, neighbours, recluster, similarity

__all__ = [
    "Similarity",
    "compare",
    "mean_summaries",
    "members",
    "neighbours",
    "recluster",
    "similarity",
    "summaries",
]
