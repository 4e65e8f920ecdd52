"""The evidence pages of a class for one network: its strongest patches and mean maps, and a page an image."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from xvcore.evidence.pages.class_data import ClassEvidence, EvidenceImage, EvidenceMap, Grid, MeanMap
from xvcore.evidence.pages.findings import halves, of_class
from xvcore.evidence.settings import PatchEvidence
from xvcore.report.class_pages import ClassWriter, Drawn, Face
from xvcore.report.findings import Told
from xvcore.report.pictures import Layer, placed, signed
from xvcore.report.wording import median

N_THUMBS = 6
N_AGAINST = 9
"""Patches against the class on its page, as many as are kept of those for it."""
ENLARGED = 4.0
"""CSS pixels a pixel of the input, where patches are small enough."""
_WIDEST = 160.0


@dataclass(frozen=True)
class Pictures(Drawn):
    """The files of the class.

    Parameters
    ----------
    layers : maps of each image, by its id
    crops : of patches, by origin and place
    means : mean maps by origin
    """

    layers: Mapping[str, Sequence[Layer]]
    crops: Mapping[tuple[str, int], str]
    means: Mapping[str, Layer]


@dataclass(frozen=True)
class EvidenceWriter(ClassWriter[ClassEvidence, Pictures]):
    """Writes the evidence pages of one class."""

    method: ClassVar[str] = PatchEvidence.method

    def draw(self) -> Pictures:
        """Write originals, maps, the crops of the strongest patches, and mean maps."""
        faces = {image.image_id: Face(self.page_of(image), self.original(image)) for image in self.data.images}
        layers = {image.image_id: [self._layer(image, each) for each in image.maps] for image in self.data.images}
        crops = {
            (origin, int(patch.row["position"])): path
            for origin, patches in (self.data.patches or {}).items()
            for patch in patches
            if (path := self.keep(f"{patch.row['origin']}-{patch.row['position']}", patch.row["crop"]))
        }
        means = {mean.origin: layer for mean in self.data.means if (layer := self._mean(mean))}
        of_images = [layer.file for found in layers.values() for layer in found]
        files = [*of_images, *(layer.file for layer in means.values()), *crops.values()]
        return Pictures(faces, files, layers, crops, means)

    def on_class_page(self, drawn: Pictures) -> dict[str, Any]:
        """Return the strongest patches, the maps, and what they say on the whole."""
        patches = self.data.patches or {}
        every = [patch.row for found in patches.values() for patch in found]
        return {
            "layers": drawn.layers,
            "crops": drawn.crops,
            "means": drawn.means,
            "patches": [(origin, patches.get(origin, ())) for origin in ("class", "others")],
            "enlarged": _enlarged(every),
            "is_local": all(row["is_local"] for row in every),
            "against": self.data.against[:N_AGAINST],
            "logit": _mean_of(self.data.logits),
        }

    def on_image_page(self, image: EvidenceImage, drawn: Pictures) -> dict[str, Any]:
        """Return the maps of an image with their files."""
        return {
            "views": list(zip(image.maps, drawn.layers[image.image_id], strict=True)),
            "enlarged": _enlarged([{"w": each.grid.w, "h": each.grid.h} for each in image.maps]),
        }

    def card(self, drawn: Pictures) -> dict[str, Any]:
        """Return the first patches, and what the maps say on the whole."""
        own = (self.data.patches or {}).get("class", ())
        others = (self.data.patches or {}).get("others", ())
        patches = [
            {"file": drawn.crops["class", position], "evidence": float(patch.row["evidence"])}
            for patch in own[:N_THUMBS]
            if ("class", position := int(patch.row["position"])) in drawn.crops
        ]
        return {
            "has_findings": bool(patches),
            "patches": patches,
            "strongest": float(own[0].row["evidence"]) if own else None,
            "strongest_other": float(others[0].row["evidence"]) if others else None,
            "logit": _mean_of(self.data.logits),
            "positive": median(_series(self.data.images)),
            "patch_px": _patch_px(self.data.grid),
            "n_images": len(self.data.images),
            "halves": halves(self.data),
            "grid": [self.data.grid.rows, self.data.grid.columns] if self.data.grid else None,
            "n_errors": len(self.data.unreadable),
            "limit": self.data.limit,
            "image_limit": self.data.image_limit,
            "size": list(self.data.size),
            "means": {origin: asdict(layer) for origin, layer in drawn.means.items()},
        }

    def findings(self) -> list[Told]:
        """Return in how few patches the evidence is, and whether in the same place."""
        return of_class(self.data, self.topic.class_name)

    def in_comparison(self, image: EvidenceImage, face: Face) -> dict[str, Any]:
        """Return picture and map of an image, its logit, and the scale of its map."""
        own = image.own
        layer = None if own is None else asdict(placed(self._map_file(image, own), own.grid.area, self.data.size))
        return {
            "page": face.page,
            "picture": face.picture,
            "size": list(self.data.size),
            "layer": layer,
            "logit": None if own is None else own.row["logit"],
            "correct": image.prediction["correct"],
        }

    def _layer(self, image: EvidenceImage, found: EvidenceMap) -> Layer:
        path = self._map_file(image, found)
        self.draft.site.write(path, signed(found.values, found.limit))
        return placed(path, found.grid.area, self.data.size)

    def _map_file(self, image: EvidenceImage, found: EvidenceMap) -> str:
        return f"{self.folder}/pictures/{image.name}.{found.row['target_idx']}.png"

    def _mean(self, mean: MeanMap) -> Layer | None:
        if mean.values is None:
            return None
        path = self.put(f"mean-{mean.origin}.png", signed(mean.values, self.data.limit))
        grid = self.data.grid
        if grid is None or (grid.rows, grid.columns) != mean.values.shape:
            return Layer(path, 0.0, 0.0, 100.0, 100.0)
        return placed(path, grid.area, self.data.size)


def _enlarged(boxes: Sequence[Mapping[str, Any]]) -> float:
    """Return how many CSS pixels a pixel of the input is drawn with: one number for all patches of a page."""
    widest = max((float(max(box["w"], box["h"])) for box in boxes), default=1.0)
    return min(ENLARGED, _WIDEST / widest)


def _mean_of(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _series(images: Sequence[EvidenceImage]) -> pd.Series:
    return pd.Series([image.own.row["positive_frac"] for image in images if image.own], dtype=float)


def _patch_px(grid: Grid | None) -> int | None:
    return int(grid.w) if grid is not None and grid.is_local else None
