"""Pictures as a network saw them: asked for once, written once, shared by all that see the same pixels."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xvcore.keys import digest
from xvcore.report.chapters import Entry, Topic
from xvcore.report.site import Site
from xvcore.store.encode import picture

PictureOf = Callable[[Mapping[str, Any], str, str], np.ndarray | None]
"""Gives the pixels (h, w, 3, uint8) of a run (its row), an image id and a class id; ``None`` where they are lost."""
NameOf = Callable[[Mapping[str, Any], int], str | None]
"""Gives the name of a network's output: of a run (its row) and the output's index."""


@dataclass(frozen=True, slots=True)
class Originals:
    """Writes the pictures of a class.

    Parameters
    ----------
    site : where to
    picture_of : the source; ``None`` where there is none
    topic, entry : the class and the network
    """

    site: Site
    picture_of: PictureOf | None
    topic: Topic
    entry: Entry

    def path(self, name: str, prediction: Mapping[str, Any]) -> str | None:
        """Return the path of an image's picture; one that was written before is not read again.

        Parameters
        ----------
        name : of the image's page
        prediction : its row of ``predictions``
        """
        run, image_id = self.entry.network.run, str(prediction["image_id"])
        file = f"{name}-{digest([image_id, prediction['sha256']], 8)}.jpg"
        path = f"{shared_folder(run, self.topic.name)}/{file}"
        if self.site.has(path):
            return path
        pixels = self.picture_of(run, image_id, self.topic.class_id) if self.picture_of else None
        if pixels is None:
            return None
        self.site.write(path, picture(np.ascontiguousarray(pixels))["bytes"])
        return path


def shared_folder(run: Mapping[str, Any], topic_name: str) -> str:
    """Return the folder of a class's pictures; networks that see the same pixels share it."""
    env = json.loads(run["env"] or "{}")
    unseen = ("mean", "std", "channels")
    preprocessing = {name: value for name, value in env.get("preprocessing", {}).items() if name not in unseen}
    seen = digest([run["dataset"], run["split"], run["input_px"], preprocessing], 8)
    return f"images/{seen}/{topic_name}"
