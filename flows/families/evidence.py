"""Compute what every patch says for its class (BagNets, networks that end in a mean); running again resumes."""

from flows.family import command
from xvcore.evidence.settings import PatchEvidence

COMMAND = command(PatchEvidence, __name__)
flow, shard_flow = COMMAND.flow, COMMAND.shard_flow
