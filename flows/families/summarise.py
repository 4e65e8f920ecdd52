"""Compute the visual summaries of classes for one network or several; running again resumes."""

from flows.family import command
from xvcore.visual_summaries.settings import VisualSummaries

COMMAND = command(VisualSummaries, __name__)
flow, shard_flow = COMMAND.flow, COMMAND.shard_flow
