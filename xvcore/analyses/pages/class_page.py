"""The page of a class in an analysis that makes maps: each map over its image, one scale for all maps of a kind."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xvcore.analyses.analysis import MapOver, analyses
from xvcore.errors import StoreError
from xvcore.keys import digest
from xvcore.report.chapters import Entry, Neighbours, Topic
from xvcore.report.class_pages import Related, are_all_there
from xvcore.report.draft import Draft
from xvcore.report.family import families
from xvcore.report.names import image_names
from xvcore.report.originals import Originals, shared_folder
from xvcore.report.pictures import Layer, placed, signed
from xvcore.report.rows import class_rows
from xvcore.report.wording import records

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClassPage:
    """Writes the page of a class and a network.

    Parameters
    ----------
    draft : where to
    method : name of the analysis
    topic, entry : the class, and what the network made of it
    neighbours : the classes before and after
    related : what others have of the class
    code : digest of what makes the pages

    Notes
    -----
    A page is written anew unless it is still right, as those of families are: rows of a class do not change without
    its record.
    """

    draft: Draft
    method: str
    topic: Topic
    entry: Entry
    neighbours: Neighbours
    related: Related
    code: str

    def write(self) -> None:
        """Write the page with its pictures, and remove those of an earlier time; nothing where all is still right."""
        inputs = self._inputs()
        stamp = self.draft.site.stamp(self.entry.folder)
        if stamp.get("inputs") != inputs or not self._is_whole(stamp):
            stamp = self._written(inputs)
        self.draft.judge(self.entry.folder, stamp["problem"], stamp["lost"])
        shown = self.draft.shown.setdefault(shared_folder(self.entry.network.run, self.topic.name), set())
        shown.update(stamp["pictures"])

    def _inputs(self) -> str:
        """Return a digest of what decides the page."""
        network = self.entry.network
        tabs = [(title, each.page, each.network.title, each.network.colour) for title, each in self.related]
        tabs += [("", each.page, each.network.title, each.network.colour) for each in self.topic.entries]
        facts = [self.topic.class_name, network.title, network.run_id, network.colour, self.neighbours, tabs]
        record = sorted(self.entry.record.items())
        return digest(str([self.code, facts, record, self.draft.picture_of is not None]), 16)

    def _is_whole(self, stamp: Mapping[str, Any]) -> bool:
        return not stamp["problem"] and are_all_there(self.draft, self.entry, stamp["pictures"], stamp["lost"])

    def _written(self, inputs: str) -> dict[str, Any]:
        """Return the stamp of the page."""
        problem = None
        try:
            maps, predictions = self._read()
        except StoreError as error:
            problem, maps, predictions = str(error), [], []
            logger.warning("%s %s: %s", self.entry.network.title, self.entry.class_id, problem)
        names = image_names(str(row["image_id"]) for row in predictions)
        originals = Originals(self.draft.site, self.draft.picture_of, self.topic, self.entry)
        looked_at = {each.image_id for each in maps}
        pictures = {
            image_id: originals.path(names[image_id], row)
            for row in predictions
            if (image_id := str(row["image_id"])) in looked_at
        }
        kinds = list(dict.fromkeys(each.title for each in maps))
        limits = {kind: max(float(np.abs(each.values).max()) for each in maps if each.title == kind) for kind in kinds}
        layers: dict[str, dict[str, tuple[Layer, str]]] = {}
        for each in maps:
            name = f"{names[each.image_id]}.{kinds.index(each.title)}"
            layers.setdefault(each.image_id, {})[each.title] = (
                self._layer(name, each, limits[each.title]),
                each.words,
            )
        before, after = self.neighbours
        text = self.draft.renderer.render(
            f"{self.method}/class.html",
            self.entry.page,
            inputs=self.code,
            family=families[self.method].title,
            topic=self.topic,
            data=self,
            related=self.related,
            problem=problem,
            before=before,
            after=after,
            kinds=kinds,
            limits=limits,
            layers=layers,
            pictures=pictures,
            size=self.entry.network.input_size,
        )
        self.draft.site.write(self.entry.page, text)
        files = [self.entry.page, *(layer.file for found in layers.values() for layer, _ in found.values())]
        lost = [image_id for image_id, path in pictures.items() if path is None]
        stamp = {
            "inputs": inputs,
            "problem": problem,
            "lost": lost[0] if lost else None,
            "pictures": [path for path in pictures.values() if path],
        }
        self.draft.site.seal(self.entry.folder, stamp, {path.removeprefix(f"{self.entry.folder}/") for path in files})
        return stamp

    def _read(self) -> tuple[list[MapOver], list[dict[str, Any]]]:
        analysis, store = analyses[self.method], self.draft.store
        name = analysis.stages[-1].table
        if analysis.maps is None or name is None or self.entry.status != "complete":
            return [], []
        predictions = records(class_rows(store, self.entry, "predictions"))
        return list(analysis.maps(class_rows(store, self.entry, name))), predictions

    def _layer(self, name: str, of: MapOver, limit: float) -> Layer:
        path = f"{self.entry.folder}/pictures/{name}.png"
        self.draft.site.write(path, signed(of.values, limit))
        return placed(path, of.box, self.entry.network.input_size)
