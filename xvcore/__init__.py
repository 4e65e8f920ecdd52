"""What a classifier looks at regularly, over whole classes, and how two networks differ."""

from xvcore import version

__version__ = version.VERSION
