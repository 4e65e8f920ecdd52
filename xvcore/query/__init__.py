"""Tables as DataFrames, and SQL over them; what a family's tables are asked is in the family's own ``query``."""

from xvcore.query.failures import failures
from xvcore.query.sql import answer, connect
from xvcore.query.tables import table

__all__ = ["answer", "connect", "failures", "table"]
