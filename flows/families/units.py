"""Find what every unit of a network responds to most, and project it to the pixels; running again resumes."""

from flows.family import command
from xvcore.units.settings import TopUnits

COMMAND = command(TopUnits, __name__)
flow, shard_flow = COMMAND.flow, COMMAND.shard_flow
