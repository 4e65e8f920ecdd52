"""What people ask of a comparison, each question answered by one query over its tables."""

from xvcore.comparison.query.questions import QUESTIONS, ask
from xvcore.comparison.query.statistics import class_statistics, other_runs

__all__ = ["QUESTIONS", "ask", "class_statistics", "other_runs"]
