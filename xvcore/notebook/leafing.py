"""The widget behind :func:`xvcore.notebook.leaf.leaf`; needs anywidget."""

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

import anywidget
import traitlets

from xvcore.notebook.figure import Panel, muted
from xvcore.notebook.html import stage, style
from xvcore.notebook.leaf import PLAIN
from xvcore.notebook.seen import Layer, Layers, Seen

_STATIC = files("xvcore.notebook").joinpath("static")


class Leaves(anywidget.AnyWidget):
    """One image at a time.

    Parameters
    ----------
    images : of each image by its id a run that saw it
    layers : by name, the run, and what lies over its images
    """

    _esm = _STATIC.joinpath("leaf.js").read_text()
    _css = style() + _STATIC.joinpath("leaf.css").read_text()

    position = traitlets.Int(0, min=0).tag(sync=True)
    layer = traitlets.Unicode(PLAIN).tag(sync=True)
    page = traitlets.Unicode("").tag(sync=True)
    n_images = traitlets.Int(0).tag(sync=True)
    layers = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, images: Mapping[str, Seen], layers: Mapping[str, tuple[Seen, Layers]]) -> None:
        self._images, self._layers = dict(sorted(images.items())), layers
        names = [*layers, PLAIN]
        super().__init__(n_images=len(images), layers=names, layer=names[0])
        self.page = self._drawn()

    @property
    def image_id(self) -> str:
        """Of the image that is shown."""
        return list(self._images)[self.position]

    @traitlets.validate("position")
    def _within(self, proposal: Any) -> int:
        if proposal["value"] >= len(self._images):
            raise traitlets.TraitError(
                f"position {proposal['value']}: there are the images 0 … {len(self._images) - 1}"
            )
        return int(proposal["value"])

    @traitlets.validate("layer")
    def _known(self, proposal: Any) -> str:
        known = [*self._layers, PLAIN]
        if proposal["value"] not in known:
            raise traitlets.TraitError(f"layer {proposal['value']!r}: there are {', '.join(known)}")
        return str(proposal["value"])

    @traitlets.observe("position", "layer")
    def _turn(self, _change: Any) -> None:
        self.page = self._drawn()

    def _drawn(self) -> str:
        image_id = self.image_id
        seen, of_images = self._layers.get(self.layer, (self._images[image_id], {}))
        make = of_images.get(image_id)
        layer = make() if make else Layer("" if self.layer == PLAIN else f"no {self.layer} of this image")
        pixels = seen.ground(image_id, seen.entry.network.input_size)
        ground = muted(pixels) if layer.is_on_grey else pixels
        panel = Panel(ground, image_id, layer.words, layer.over, layer.outlines)
        lost = "" if seen.picture(image_id) is not None else "; its picture is not there any more"
        words = f"<b>{escape(image_id)}</b>{escape(layer.words + lost)}"
        return f'<figure style="width:340px">{stage(panel, 340)}<figcaption>{words}</figcaption></figure>'
