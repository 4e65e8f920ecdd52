"""What people ask of a comparison, each question answered by one query over its tables."""

from xvcore.comparison.query.questions import QUESTIONS, ask

__all__ = ["QUESTIONS", "ask"]
