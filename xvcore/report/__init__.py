"""The report: static pages of what a store holds, to be opened without a server."""

from xvcore.report.addresses import addresses
from xvcore.report.build import build

__all__ = ["addresses", "build"]
