"""The evidence pages of a class for one network: its strongest patches and mean maps, and a page an image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from xvcore.report.class_pages import Face, NameOf, Neighbour
from xvcore.report.evidence_data import ClassEvidence, EvidenceImage, EvidenceMap, Grid, MeanMap, Patch
from xvcore.report.originals import Originals, PictureOf
from xvcore.report.pages import Pages
from xvcore.report.pictures import signed
from xvcore.report.plan import Entry, Topic
from xvcore.report.site import Site
from xvcore.report.wording import median
from xvcore.stages.thumbnails import extension
from xvcore.store.encode import encoded

N_THUMBS = 6
ENLARGED = 4.0
"""CSS pixels a pixel of the input, where patches are small enough."""
_WIDEST = 160.0


@dataclass(frozen=True, slots=True)
class Layer:
    """A signed map as a file, and where it lies on its image in per cent of its sides."""

    file: str
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class EvidenceWriter:
    """Writes the evidence pages of one class.

    Parameters
    ----------
    site, pages : where to and with which templates
    topic, data : the class, and the evidence
    picture_of, name_of : what the tables do not hold; ``None`` where there is no such source
    neighbours : the classes before and after
    related : what other methods have of the class
    problem : why the tables could not be read, if so
    """

    site: Site
    pages: Pages
    topic: Topic
    data: ClassEvidence
    picture_of: PictureOf | None
    name_of: NameOf | None
    neighbours: tuple[Neighbour | None, Neighbour | None]
    related: Sequence[tuple[str, Entry]] = ()
    problem: str | None = None

    def write(self, inputs: str) -> dict[str, Any]:
        """Write pictures and pages, remove those that are no longer, and return the stamp of the folder.

        Parameters
        ----------
        inputs : digest of what decides the pages
        """
        originals = Originals(self.site, self.picture_of, self.topic, self.data.entry)
        faces = {
            image.image_id: Face(
                f"{self._folder}/{image.name}.html", originals.path(image.name, image.prediction), None, None, ()
            )
            for image in self.data.images
        }
        layers = {image.image_id: [self._layer(image, each) for each in image.maps] for image in self.data.images}
        crops = {
            (origin, int(patch.row["position"])): path
            for origin, patches in (self.data.patches or {}).items()
            for patch in patches
            if (path := self._crop(patch))
        }
        means = {mean.origin: layer for mean in self.data.means if (layer := self._mean(mean))}
        self._write_images(faces, layers)
        self._write_index(faces, layers, crops, means)
        files = [
            self.data.entry.page,
            *(face.page for face in faces.values()),
            *(layer.file for found in layers.values() for layer in found),
            *(layer.file for layer in means.values()),
            *crops.values(),
        ]
        lost = [image_id for image_id, face in faces.items() if face.picture is None]
        stamp = {
            "inputs": inputs,
            "lost": lost[0] if lost else None,
            "card": self._card(crops),
            "images": {image_id: {"page": face.page, "picture": face.picture} for image_id, face in faces.items()},
        }
        self.site.seal(self._folder, stamp, {path.removeprefix(f"{self._folder}/") for path in files})
        return stamp

    @property
    def _folder(self) -> str:
        return self.data.entry.folder

    def _layer(self, image: EvidenceImage, found: EvidenceMap) -> Layer:
        path = f"{self._folder}/pictures/{image.name}.{found.row['target_idx']}.png"
        self.site.write(path, signed(found.values, found.limit))
        return _placed(path, found.grid, self.data.size)

    def _mean(self, mean: MeanMap) -> Layer | None:
        if mean.values is None:
            return None
        path = f"{self._folder}/pictures/mean-{mean.origin}.png"
        self.site.write(path, signed(mean.values, self.data.limit))
        grid = self.data.grid
        if grid is None or (grid.rows, grid.columns) != mean.values.shape:
            return Layer(path, 0.0, 0.0, 100.0, 100.0)
        return _placed(path, grid, self.data.size)

    def _crop(self, patch: Patch) -> str | None:
        data = encoded(patch.row["crop"])
        if data is None:
            return None
        path = f"{self._folder}/pictures/{patch.row['origin']}-{patch.row['position']}.{extension(data)}"
        self.site.write(path, data)
        return path

    def _write_index(
        self,
        faces: Mapping[str, Face],
        layers: Mapping[str, Sequence[Layer]],
        crops: Mapping[tuple[str, int], str],
        means: Mapping[str, Layer],
    ) -> None:
        patches = self.data.patches or {}
        every = [patch.row for found in patches.values() for patch in found]
        before, after = self.neighbours
        text = self.pages.render(
            "evidence_class.html",
            self.data.entry.page,
            topic=self.topic,
            data=self.data,
            problem=self.problem,
            related=self.related,
            faces=faces,
            layers=layers,
            crops=crops,
            means=means,
            patches=[(origin, patches.get(origin, ())) for origin in ("class", "others")],
            enlarged=_enlarged(every),
            is_local=all(row["is_local"] for row in every),
            logit=_mean_of(self.data.logits),
            before=before,
            after=after,
        )
        self.site.write(self.data.entry.page, text)

    def _write_images(self, faces: Mapping[str, Face], layers: Mapping[str, Sequence[Layer]]) -> None:
        neighbours = [Neighbour(faces[image.image_id].page, image.title) for image in self.data.images]
        for position, image in enumerate(self.data.images):
            face = faces[image.image_id]
            text = self.pages.render(
                "evidence_image.html",
                face.page,
                topic=self.topic,
                data=self.data,
                image=image,
                face=face,
                views=list(zip(image.maps, layers[image.image_id], strict=True)),
                predicted=self._predicted(image),
                enlarged=_enlarged([{"w": each.grid.w, "h": each.grid.h} for each in image.maps]),
                before=neighbours[position - 1] if position else None,
                after=neighbours[position + 1] if position + 1 < len(neighbours) else None,
            )
            self.site.write(face.page, text)

    def _predicted(self, image: EvidenceImage) -> str | None:
        index = image.prediction["pred_idx"]
        if self.name_of is None or index is None:
            return None
        return self.name_of(self.data.entry.network.run, int(index))

    def _card(self, crops: Mapping[tuple[str, int], str]) -> dict[str, Any]:
        own = (self.data.patches or {}).get("class", ())
        others = (self.data.patches or {}).get("others", ())
        return {
            "problem": self.problem,
            "patches": [
                {"file": crops["class", position], "evidence": float(patch.row["evidence"])}
                for patch in own[:N_THUMBS]
                if ("class", position := int(patch.row["position"])) in crops
            ],
            "strongest": float(own[0].row["evidence"]) if own else None,
            "strongest_other": float(others[0].row["evidence"]) if others else None,
            "logit": _mean_of(self.data.logits),
            "positive": median(_series(self.data.images)),
            "patch_px": _patch_px(self.data.grid),
            "n_images": len(self.data.images),
            "n_errors": len(self.data.unreadable),
        }


def _placed(path: str, grid: Grid, size: tuple[int, int]) -> Layer:
    x, y, w, h = grid.area
    height, width = size
    return Layer(path, 100 * x / width, 100 * y / height, 100 * w / width, 100 * h / height)


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
