"""Train heads of prototypes on the frozen features of a network (InfoDisent); running again resumes."""

from flows.family import command
from xvcore.prototypes.settings import Disentangle

COMMAND = command(Disentangle, __name__)
flow, shard_flow = COMMAND.flow, COMMAND.shard_flow
