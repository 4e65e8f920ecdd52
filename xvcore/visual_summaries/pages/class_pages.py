"""The pages of a class for one network: the summaries, and a page an image."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from xvcore.report.class_pages import ClassWriter, Drawn, Face, Piece
from xvcore.report.findings import Told
from xvcore.report.pictures import heat, veil
from xvcore.runs.thumbnails import thumbnail
from xvcore.visual_summaries.pages.class_data import ClassData, Cluster, ImageView, Region
from xvcore.visual_summaries.pages.findings import of_class
from xvcore.visual_summaries.settings import VisualSummaries

N_CROPS = 6


@dataclass(frozen=True)
class Pictures(Drawn):
    """The files of the class.

    Parameters
    ----------
    crops : by number of the region
    montages : by number of the cluster, where not every image has its picture
    thumbnails : of the summaries, by anchor
    """

    crops: Mapping[int, str]
    montages: Mapping[int, str]
    thumbnails: Mapping[str, str]


@dataclass(frozen=True)
class SummaryWriter(ClassWriter[ClassData, Pictures]):
    """Writes the pages of the summaries of one class."""

    method: ClassVar[str] = VisualSummaries.method

    def draw(self) -> Pictures:
        """Write crops, layers and originals; montages where an image's picture is lost."""
        crops = {
            int(region.row["region_id"]): path
            for image in self.data.images
            for region in image.regions
            if (path := self.keep(f"region-{region.row['region_id']}", region.row["crop"]))
        }
        faces = {image.image_id: self._face(image, crops) for image in self.data.images}
        montages = {} if self._has_pictures(faces) else self._montages()
        thumbnails = self._thumbnails(faces, crops)
        layers = [path for face in faces.values() for path in (face.veil, face.heat) if path is not None]
        files = [*layers, *crops.values(), *montages.values(), *thumbnails.values()]
        return Pictures(faces, files, crops, montages, thumbnails)

    def on_class_page(self, drawn: Pictures) -> dict[str, Any]:
        """Return clusters' pictures, images with and without a mask, counts and times."""
        return {
            "images": drawn.faces,
            "crops": drawn.crops,
            "montages": drawn.montages,
            "has_pictures": self._has_pictures(drawn.faces),
            "masked": [image for image in self.data.images if image.sharp is not None],
            "unmasked": [image for image in self.data.images if image.sharp is None],
            "funnel": _funnel(self.data.entry.record),
            "stages": _stages(self.data.entry.record),
            "names": _names(self.data.clusters),
        }

    def on_image_page(self, image: ImageView, drawn: Pictures) -> dict[str, Any]:
        """Return the regions of an image with their clusters, and its probabilities."""
        clusters = {cluster.row["cluster_id"]: cluster for cluster in self.data.clusters}
        return {
            "crops": drawn.crops,
            "clusters": clusters,
            "names": _names(self.data.clusters),
            "regions": _sorted_regions(image.regions, clusters),
            "bars": _bars(image),
        }

    def card(self, drawn: Pictures) -> dict[str, Any]:
        """Return the summaries with their first crops, and the figures of the class."""
        figures = self.data.figures
        summaries = [
            {
                "anchor": cluster.anchor,
                "thumbnail": drawn.thumbnails.get(cluster.anchor),
                "colour": cluster.colour,
                "score": cluster.row["score"],
                "drop": cluster.row["prob_drop"],
                "n_images": cluster.row["n_images"],
                "label": cluster.row["tag"] or cluster.row["part"],
                "distinct_part": cluster.row["distinct_part"],
                "is_as_random": cluster.is_as_random,
                "crops": [
                    drawn.crops[region.row["region_id"]]
                    for region in cluster.shown
                    if region.row["region_id"] in drawn.crops
                ][:N_CROPS],
            }
            for cluster in self.data.summaries
        ]
        return {
            "has_findings": bool(summaries),
            "summaries": summaries,
            "n_errors": sum(what == "image" for _, what, _ in self.data.unreadable),
            "area": figures["area"],
            "mask_drop": figures["mask_drop"],
            "drop": figures["summary_drop"],
            "joint_drop": figures["joint_drop"],
            "joint_random": figures["joint_random"],
            "n_parts": None if self.data.n_parts is None else dataclasses.asdict(self.data.n_parts),
        }

    def findings(self) -> list[Told]:
        """Return what is lost without the summaries, and the parts that they show."""
        return of_class(self.data, self.topic.class_name)

    def in_comparison(self, image: ImageView, face: Face) -> dict[str, Any]:
        """Return the files of an image, and area and drop of its crisp mask."""
        return {
            "page": face.page,
            "picture": face.picture,
            "veil": face.veil,
            "pieces": [],
            "size": list(self.data.size),
            "area": image.sharp["area_frac"] if image.sharp else None,
            "drop": image.sharp["prob_drop"] if image.sharp else None,
        }

    def _face(self, image: ImageView, crops: Mapping[int, str]) -> Face:
        veil_path = heat_path = None
        if image.salient is not None:
            veil_path = self.put(f"{image.name}.veil.png", veil(image.salient))
        if image.smooth is not None and image.smooth["soft_map"] is not None:
            drawn = heat(image.smooth["soft_map"], image.smooth["soft_h"], image.smooth["soft_w"])
            heat_path = self.put(f"{image.name}.heat.png", drawn)
        pieces = tuple(
            Piece(crops[region.row["region_id"]], *region.box)
            for region in image.regions
            if region.row["region_id"] in crops
        )
        return Face(self.page_of(image), self.original(image), veil_path, heat_path, pieces)

    def _montages(self) -> dict[int, str]:
        return {
            int(cluster.row["cluster_id"]): path
            for cluster in self.data.clusters
            if (path := self.keep(cluster.anchor, cluster.row["montage"]))
        }

    def _thumbnails(self, faces: Mapping[str, Face], crops: Mapping[int, str]) -> dict[str, str]:
        """Return a small picture of each summary: its first region with some surroundings, else its crop."""
        paths = {}
        for cluster in self.data.summaries:
            for region in cluster.shown[:1]:
                source = faces[str(region.row["image_id"])].picture
                if source is not None:
                    drawn = thumbnail(self.draft.site.read(source), region.box)
                    paths[cluster.anchor] = self.put(f"{cluster.anchor}.thumb.jpg", drawn)
                elif region.row["region_id"] in crops:
                    paths[cluster.anchor] = crops[region.row["region_id"]]
        return paths

    def _has_pictures(self, faces: Mapping[str, Face]) -> bool:
        """Say whether every image of every cluster has its picture; else the montages are shown."""
        return all(
            faces[str(region.row["image_id"])].picture is not None
            for cluster in self.data.clusters
            for region in cluster.shown
        )


def _funnel(record: Mapping[str, Any]) -> list[tuple[str, int | None, str]]:
    """Return how many images, masks, regions … are left after each step, with a hint each."""
    steps = (
        ("images", "n_images", "images of the class that were looked at"),
        ("recognised", "n_correct", "images that the network puts into this class"),
        ("masks", "n_masks", "images with a mask"),
        ("regions", "n_regions", "regions that were compared"),
        ("clusters", "n_clusters", "clusters of regions that look alike"),
        ("summaries", "n_summaries", "clusters that were accepted"),
        ("parts", "n_parts", "distinct parts that the summaries lie on"),
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
    """Return the regions that stand for a cluster and the others, in the order of the clusters, best region first."""
    places = {cluster_id: place for place, cluster_id in enumerate(clusters)}

    def place(region: Region) -> tuple[bool, int, float]:
        cluster_id = region.row["cluster_id"]
        similarity = -(region.row["sim_exemplar"] or 0.0)
        cluster = clusters.get(cluster_id)
        return (True, 0, similarity) if cluster is None else (cluster.colour < 0, places[cluster_id], similarity)

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
