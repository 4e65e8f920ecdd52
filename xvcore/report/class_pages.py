"""The pages of a class for one network: the summaries, and a page an image."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xvcore.report.class_data import ClassData, Cluster, ImageView, Region
from xvcore.report.originals import Originals, PictureOf
from xvcore.report.pages import Pages
from xvcore.report.pictures import heat, veil
from xvcore.report.plan import Entry, Topic
from xvcore.report.site import Site
from xvcore.stages.thumbnails import extension, thumbnail
from xvcore.store.encode import encoded

NameOf = Callable[[Mapping[str, Any], int], str | None]
"""Gives the name of a network's output: of a run (its row) and the output's index."""

N_CROPS = 6


@dataclass(frozen=True, slots=True)
class Piece:
    """A stored crop and where it was cut from."""

    file: str
    x: int
    y: int
    w: int
    h: int


@dataclass(frozen=True, slots=True)
class Face:
    """The files that show an image, as paths within the site; ``None`` for what there is not."""

    page: str
    picture: str | None
    veil: str | None
    heat: str | None
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A page before or after this one."""

    page: str
    name: str


@dataclass(frozen=True)
class ClassWriter:
    """Writes the pages of one class.

    Parameters
    ----------
    site, pages : where to and with which templates
    topic, data : the class, and what the network made of it
    picture_of, name_of : what the tables do not hold; ``None`` where there is no such source
    neighbours : the classes before and after
    related : what other methods have of the class
    problem : why the tables could not be read, if so
    """

    site: Site
    pages: Pages
    topic: Topic
    data: ClassData
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
        crops = {
            int(region.row["region_id"]): path
            for image in self.data.images
            for region in image.regions
            if (path := self._crop(region))
        }
        faces = {image.image_id: self._face(image, crops) for image in self.data.images}
        montages = {} if self._has_pictures(faces) else self._montages()
        thumbnails = self._thumbnails(faces, crops)
        layers = [path for face in faces.values() for path in (face.page, face.veil, face.heat) if path is not None]
        files = [self.data.entry.page, *layers, *crops.values(), *montages.values(), *thumbnails.values()]
        self._write_images(faces, crops)
        self._write_index(faces, crops, montages)
        lost = [image_id for image_id, face in faces.items() if face.picture is None]
        stamp = {
            "inputs": inputs,
            "lost": lost[0] if lost else None,
            "card": self._card(crops, thumbnails),
            "images": {
                image.image_id: _shown(image, faces[image.image_id], self.data.size) for image in self.data.images
            },
        }
        self.site.seal(self._folder, stamp, {path.removeprefix(f"{self._folder}/") for path in files})
        return stamp

    @property
    def _folder(self) -> str:
        return self.data.entry.folder

    def _face(self, image: ImageView, crops: Mapping[int, str]) -> Face:
        base = f"{self._folder}/pictures/{image.name}"
        veil_path = heat_path = None
        if image.salient is not None:
            veil_path = f"{base}.veil.png"
            self.site.write(veil_path, veil(image.salient))
        if image.smooth is not None and image.smooth["soft_map"] is not None:
            heat_path = f"{base}.heat.png"
            self.site.write(heat_path, heat(image.smooth["soft_map"], image.smooth["soft_h"], image.smooth["soft_w"]))
        pieces = tuple(
            Piece(crops[region.row["region_id"]], *region.box)
            for region in image.regions
            if region.row["region_id"] in crops
        )
        page = f"{self._folder}/{image.name}.html"
        original = Originals(self.site, self.picture_of, self.topic, self.data.entry).path(image.name, image.prediction)
        return Face(page, original, veil_path, heat_path, pieces)

    def _crop(self, region: Region) -> str | None:
        data = encoded(region.row["crop"])
        if data is None:
            return None
        path = f"{self._folder}/pictures/region-{region.row['region_id']}.{extension(data)}"
        self.site.write(path, data)
        return path

    def _montages(self) -> dict[int, str]:
        paths = {}
        for cluster in self.data.clusters:
            data = encoded(cluster.row["montage"])
            if data is not None:
                path = f"{self._folder}/pictures/{cluster.anchor}.{extension(data)}"
                self.site.write(path, data)
                paths[int(cluster.row["cluster_id"])] = path
        return paths

    def _thumbnails(self, faces: Mapping[str, Face], crops: Mapping[int, str]) -> dict[str, str]:
        """Return a small picture of each summary: its first region with some surroundings, else its crop."""
        paths = {}
        for cluster in self.data.summaries:
            for region in cluster.shown[:1]:
                source = faces[str(region.row["image_id"])].picture
                if source is None:
                    if region.row["region_id"] in crops:
                        paths[cluster.anchor] = crops[region.row["region_id"]]
                    continue
                path = f"{self._folder}/pictures/{cluster.anchor}.thumb.jpg"
                self.site.write(path, thumbnail(self.site.read(source), region.box))
                paths[cluster.anchor] = path
        return paths

    def _has_pictures(self, faces: Mapping[str, Face]) -> bool:
        """Say whether every image of every cluster has its picture; else the montages are shown."""
        return all(
            faces[str(region.row["image_id"])].picture is not None
            for cluster in self.data.clusters
            for region in cluster.shown
        )

    def _write_index(self, faces: Mapping[str, Face], crops: Mapping[int, str], montages: Mapping[int, str]) -> None:
        page = self.data.entry.page
        before, after = self.neighbours
        text = self.pages.render(
            "class.html",
            page,
            topic=self.topic,
            data=self.data,
            problem=self.problem,
            related=self.related,
            faces=faces,
            images=faces,
            crops=crops,
            montages=montages,
            has_pictures=self._has_pictures(faces),
            masked=[image for image in self.data.images if image.sharp is not None],
            unmasked=[image for image in self.data.images if image.sharp is None],
            funnel=_funnel(self.data.entry.record),
            stages=_stages(self.data.entry.record),
            before=before,
            after=after,
        )
        self.site.write(page, text)

    def _write_images(self, faces: Mapping[str, Face], crops: Mapping[int, str]) -> None:
        clusters = {cluster.row["cluster_id"]: cluster for cluster in self.data.clusters}
        names = _names(self.data.clusters)
        neighbours = [Neighbour(faces[image.image_id].page, image.title) for image in self.data.images]
        for position, image in enumerate(self.data.images):
            face = faces[image.image_id]
            text = self.pages.render(
                "image.html",
                face.page,
                topic=self.topic,
                data=self.data,
                image=image,
                face=face,
                crops=crops,
                clusters=clusters,
                names=names,
                regions=_sorted_regions(image.regions, clusters),
                bars=_bars(image),
                predicted=self._predicted(image),
                before=neighbours[position - 1] if position else None,
                after=neighbours[position + 1] if position + 1 < len(neighbours) else None,
            )
            self.site.write(face.page, text)

    def _predicted(self, image: ImageView) -> str | None:
        index = image.prediction["pred_idx"]
        if self.name_of is None or index is None:
            return None
        return self.name_of(self.data.entry.network.run, int(index))

    def _card(self, crops: Mapping[int, str], thumbnails: Mapping[str, str]) -> dict[str, Any]:
        figures = self.data.figures
        summaries = [
            {
                "anchor": cluster.anchor,
                "thumbnail": thumbnails.get(cluster.anchor),
                "colour": cluster.colour,
                "score": cluster.row["score"],
                "drop": cluster.row["prob_drop"],
                "n_images": cluster.row["n_images"],
                "label": cluster.row["tag"] or cluster.row["part"],
                "crops": [
                    crops[region.row["region_id"]] for region in cluster.shown if region.row["region_id"] in crops
                ][:N_CROPS],
            }
            for cluster in self.data.summaries
        ]
        return {
            "problem": self.problem,
            "summaries": summaries,
            "n_errors": sum(what == "image" for _, what, _ in self.data.unreadable),
            "area": figures["area"],
            "mask_drop": figures["mask_drop"],
            "drop": figures["summary_drop"],
        }


def _shown(image: ImageView, face: Face, size: tuple[int, int]) -> dict[str, Any]:
    """Return what the comparison of networks needs of an image; JSON."""
    return {
        "page": face.page,
        "picture": face.picture,
        "veil": face.veil,
        "pieces": [],
        "size": list(size),
        "area": image.sharp["area_frac"] if image.sharp else None,
        "drop": image.sharp["prob_drop"] if image.sharp else None,
    }


def _funnel(record: Mapping[str, Any]) -> list[tuple[str, int | None, str]]:
    """Return how many images, masks, regions … are left after each step, with a hint each."""
    steps = (
        ("images", "n_images", "images of the class that were looked at"),
        ("recognised", "n_correct", "images that the network puts into this class"),
        ("masks", "n_masks", "images with a mask"),
        ("regions", "n_regions", "regions that were compared"),
        ("clusters", "n_clusters", "clusters of regions that look alike"),
        ("summaries", "n_summaries", "clusters that were accepted"),
    )
    return [(name, record.get(column), hint) for name, column, hint in steps] if record else []


def _stages(record: Mapping[str, Any]) -> list[tuple[str, float | int]]:
    times = json.loads(record.get("seconds_by_stage") or "{}")
    return [(str(name), float(seconds)) for name, seconds in sorted(times.items(), key=lambda item: -item[1])]


def _bars(image: ImageView) -> list[tuple[str, float | int, str]]:
    """Return the probabilities of the class on the whole and the masked image."""
    mask = image.sharp or image.smooth
    full = mask["prob_full"] if mask else image.prediction["prob_target"]
    rows = [
        ("whole image", full, "nothing removed"),
        ("crisp mask", image.sharp["prob_masked"] if image.sharp else None, "its pixels blurred"),
        ("smooth mask", image.smooth["prob_masked"] if image.smooth else None, "its pixels blurred"),
        ("all blurred", mask["prob_blurred"] if mask else None, "every pixel blurred"),
    ]
    return [(name, value, hint) for name, value, hint in rows if value is not None]


def _sorted_regions(regions: Sequence[Region], clusters: Mapping[int, Cluster]) -> tuple[list[Region], list[Region]]:
    """Return the regions that stand for a cluster and the others; best cluster first, best region first."""

    def place(region: Region) -> tuple[bool, int, float]:
        cluster = clusters.get(region.row["cluster_id"])
        similarity = -(region.row["sim_exemplar"] or 0.0)
        return (True, 0, similarity) if cluster is None else (cluster.colour < 0, cluster.number, similarity)

    ordered = sorted(regions, key=place)
    return [each for each in ordered if each.row["kept"]], [each for each in ordered if not each.row["kept"]]


def _names(clusters: Sequence[Cluster]) -> dict[int, str]:
    names = {}
    n_accepted = 0
    for cluster in clusters:
        n_accepted += bool(cluster.row["accepted"])
        name = f"Summary {n_accepted}" if cluster.row["accepted"] else f"cluster {cluster.row['cluster_id']}, rejected"
        names[int(cluster.row["cluster_id"])] = name
    return names
