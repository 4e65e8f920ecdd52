"""Results for the tools that people have: a store as a folder that these open, and what their formats cannot hold.

>>> from xvcore.export import exporters
>>> list(exporters)
['coco', 'csv', 'fiftyone', 'hf', 'virelay']
"""

from xvcore.export.exporting import Exporter, export, exporters

__all__ = ["Exporter", "export", "exporters"]
