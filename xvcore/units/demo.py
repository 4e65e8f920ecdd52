"""The demo of units: what the units of a small network respond to."""

from xvcore.runs.demos import Demo, demos
from xvcore.units.settings import TopUnits

UNITS_SHOWN = "16"
"""Few, so that the demo ends in minutes on two cores."""

demos.register(TopUnits.method)(Demo(networks=("partbirds_wide",), changes={"units_shown": UNITS_SHOWN}))
