"""What a classifier looks at regularly, over whole classes, and how two networks differ."""

from xvcore.version import VERSION as __version__

__all__ = ["__version__"]
