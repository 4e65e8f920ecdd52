"""Tables as DataFrames, SQL over them, and the questions people ask of them."""

from xvcore.query.compare import compare
from xvcore.query.counts import mean_summaries, summaries
from xvcore.query.failures import failures
from xvcore.query.regions import Similarity, members, neighbours, recluster, similarity
from xvcore.query.sql import connect
from xvcore.query.tables import table

__all__ = [
    "Similarity",
    "compare",
    "connect",
    "failures",
    "mean_summaries",
    "members",
    "neighbours",
    "recluster",
    "similarity",
    "summaries",
    "table",
]
