"""Show the prototypes of a network that xv disentangle made, and take its decisions apart; running again resumes."""

from flows.family import command
from xvcore.prototypes.settings import Prototypes

COMMAND = command(Prototypes, __name__)
flow, shard_flow = COMMAND.flow, COMMAND.shard_flow
