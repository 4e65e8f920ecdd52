"""Compute the mean colour of every image of classes; running again resumes."""

from colours.settings import Colours
from flows.family import command

COMMAND = command(Colours, __name__)
flow, shard_flow = COMMAND.flow, COMMAND.shard_flow
