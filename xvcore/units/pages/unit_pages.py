"""The pages of a network's units: an index of the layers, and of each layer pages of grids and a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xvcore.errors import StoreError
from xvcore.keys import digest
from xvcore.report.chapters import Entry, Neighbour, Neighbours, Network
from xvcore.report.findings import LEVEL
from xvcore.report.renderer import Renderer
from xvcore.report.site import Site
from xvcore.runs.thumbnails import extension, sheet
from xvcore.store import Store
from xvcore.units.pages.class_data import RunUnits, read_units
from xvcore.units.pages.unit_data import (
    PER_PAGE,
    Layer,
    Unit,
    columns_of,
    digest_layer,
    read_layers,
    read_top,
)
from xvcore.units.settings import TopUnits

N_SAMPLES = 3
N_SPREAD = 5
MOST_LISTED = 300
"""Units in the table of a run; the tables of its layers have all."""
METHOD = TopUnits.method


@dataclass(frozen=True, slots=True)
class Shown:
    """A unit with the files of its sheets; ``None`` for what there is not."""

    unit: Unit
    projections: str | None
    crops: str | None


@dataclass(frozen=True)
class UnitsWriter:
    """Writes the pages of one run.

    Parameters
    ----------
    store, site, renderer : where from, where to, and with which templates
    network : the run
    class_names : by class id
    class_pages : pages of the classes, by class id
    images : pages that other families have of images, by image id
    code : digest of what makes the pages
    """

    store: Store
    site: Site
    renderer: Renderer
    network: Network
    class_names: Mapping[str, str]
    class_pages: Mapping[str, str]
    images: Mapping[str, str]
    code: str

    def write(self, entries: Sequence[Entry], tabs: Sequence[tuple[str, str]]) -> tuple[dict[str, Any], RunUnits]:
        """Write the pages that are not right yet; return what the first page shows of the run, and units by class.

        Parameters
        ----------
        entries : the classes that were ranked, or failed
        tabs : title and folder of all runs of units on these data, this one among them
        """
        problem, layers = None, []
        try:
            layers = read_layers(self.store, self.network)
        except StoreError as error:
            problem = str(error)
        around = [None, *(Neighbour(layer.page, layer.name) for layer in layers), None]
        cards = []
        for index, layer in enumerate(layers):
            try:
                near = layers[max(0, index - 1) : index + 2]
                cards.append(self._layer(layer, (around[index], around[index + 2]), near))
            except StoreError as error:
                problem = str(error)
        sheets = {card["layer"]: {int(unit): tuple(files) for unit, files in card["sheets"].items()} for card in cards}
        n_of_class = {entry.class_id: int(entry.record.get("n_images") or 0) for entry in entries}
        found = read_units(self.store, self.network, layers, n_of_class, sheets)
        every = found.every
        statuses = [(entry, entry.status, entry.record.get("error")) for entry in entries]
        text = self.renderer.render(
            f"{METHOD}/run.html",
            self.page,
            network=self.network,
            cards=cards,
            problem=problem,
            classes=[
                (
                    self._name(class_id),
                    self.class_pages[class_id],
                    sum(each.p_value is not None and each.p_value <= 1 - LEVEL for each in units),
                    len(units),
                )
                for class_id, units in sorted(found.by_class.items(), key=lambda of: self._name(of[0]))
                if class_id in self.class_pages
            ],
            selective=every[:MOST_LISTED],
            n_responding=len(every),
            name_of=self._name,
            tabs=[(title, f"{folder}/index.html") for title, folder in tabs],
            n_images=max((int(row["n_images"]) for layer in layers for row in layer.units), default=0),
            n_classes=sum(status == "complete" for _, status, _ in statuses),
            others=[
                (self._name(entry.class_id), status, error) for entry, status, error in statuses if status != "complete"
            ],
        )
        self.site.write(self.page, text)
        card = {
            "problem": problem,
            "page": self.page,
            "n_layers": len(cards),
            "n_units": sum(card["n_units"] for card in cards),
            "n_dead": sum(card["n_dead"] for card in cards),
            "n_pictured": sum(card["n_pictured"] for card in cards),
            "samples": _spread([sample for card in cards for sample in card["samples"][:1]]),
            "n_images": max((int(row["n_images"]) for layer in layers for row in layer.units), default=0),
        }
        return card, found

    @property
    def page(self) -> str:
        """The page of the run."""
        return f"{self.network.folder}/index.html"

    def _layer(self, layer: Layer, around: Neighbours, near: Sequence[Layer]) -> dict[str, Any]:
        """Return the card of a layer, its pages written anew unless they are still right."""
        links = [sorted(self.images.items()), sorted(self.class_pages.items())]
        facts = [self.code, self.network.title, self.network.run_id, str(around), links]
        names = sorted({str(row["top_class_id"]) for row in layer.units if row["top_class_id"]})
        rows = digest_layer(self.store, self.network, layer)
        inputs = digest([*facts, [self._name(each) for each in names], rows], 16)
        stamp = self.site.stamp(layer.folder)
        if stamp.get("inputs") == inputs:
            return dict(stamp["card"])
        top = read_top(self.store, self.network, layer)
        columns = columns_of(top)
        units = [Unit(row, top.get(int(row["unit"]), ())) for row in layer.units]
        shown = {unit.number: self._sheets(layer, unit, columns) for unit in units if unit.top}
        blocks = _blocks(shown)
        errors = sorted({str(row["error"]) for rows in top.values() for row in rows if row["error"]})
        pages = [layer.page_of(first) for first in blocks]
        for index, first in enumerate(blocks):
            before = Neighbour(pages[index - 1], _span(blocks[index - 1])) if index else around[0]
            after = Neighbour(pages[index + 1], _span(blocks[index + 1])) if index + 1 < len(blocks) else around[1]
            self._block(layer, first, shown, columns=columns, errors=errors, blocks=blocks,
                        around=(before, after), near=near)  # fmt: skip
        self._table(layer, shown)
        sheets = [path for each in shown.values() for path in (each.projections, each.crops) if path is not None]
        card = {
            "layer": layer.name,
            "page": layer.page,
            "n_units": len(layer.units),
            "n_dead": len(layer.dead),
            "field": list(layer.field) if layer.field else None,
            "share": layer.share,
            "n_pictured": len(shown),
            "has_projections": any(each.projections for each in shown.values()),
            "errors": errors,
            "sheets": {str(number): [each.projections, each.crops] for number, each in shown.items()},
            "samples": [
                [each.projections or each.crops, layer.page_of(number) + f"#{each.unit.anchor}", number]
                for number, each in list(shown.items())[:N_SAMPLES]
            ],
        }
        files = {path.removeprefix(f"{layer.folder}/") for path in (*pages, layer.table_page, *sheets)}
        self.site.seal(layer.folder, {"inputs": inputs, "card": card}, files)
        return card

    def _sheets(self, layer: Layer, unit: Unit, columns: int) -> Shown:
        paths: list[str | None] = []
        for name, pictures in (("projections", unit.projections), ("crops", unit.crops)):
            if not any(pictures):
                paths.append(None)
                continue
            placed: list[bytes | None] = [None] * columns**2
            for row, picture in zip(unit.top, pictures, strict=True):
                placed[int(row["position"]) - 1] = picture
            data = sheet(placed, columns=columns, is_stretched=name == "projections")
            path = f"{layer.folder}/pictures/{unit.number}-{name}.{extension(data)}"
            self.site.write(path, data)
            paths.append(path)
        return Shown(unit, *paths)

    def _block(  # noqa: PLR0913  what a page shows
        self,
        layer: Layer,
        first: int,
        shown: Mapping[int, Shown],
        *,
        columns: int,
        errors: Sequence[str],
        blocks: Sequence[int],
        around: Neighbours,
        near: Sequence[Layer],
    ) -> None:
        page = layer.page_of(first)
        numbers = range(first, first + PER_PAGE)
        text = self.renderer.render(
            f"{METHOD}/layer.html",
            page,
            network=self.network,
            run_page=self.page,
            layer=layer,
            is_first=first == 0,
            first=first,
            units=[shown[number] for number in numbers if number in shown],
            n_pictured=len(shown),
            dead=[number for number in layer.dead if number in numbers and number <= max(shown, default=-1)],
            name_of=self._name,
            layers=near,
            class_pages=self.class_pages,
            images=self.images,
            columns=columns,
            errors=errors,
            blocks=[(each, layer.page_of(each)) for each in _near(blocks, first)],
            input_px=self.network.run["input_px"],
            before=around[0],
            after=around[1],
        )
        self.site.write(page, text)

    def _table(self, layer: Layer, shown: Mapping[int, Shown]) -> None:
        text = self.renderer.render(
            f"{METHOD}/table.html",
            layer.table_page,
            network=self.network,
            run_page=self.page,
            layer=layer,
            shown=shown,
            name_of=self._name,
            class_pages=self.class_pages,
            before=None,
            after=None,
        )
        self.site.write(layer.table_page, text)

    def _name(self, class_id: str | None) -> str:
        return "" if class_id is None else self.class_names.get(class_id, class_id)


def _spread(samples: Sequence[Any]) -> list[Any]:
    """Return a few of the samples, from the first layers to the last."""
    places = sorted({round(index * (len(samples) - 1) / (N_SPREAD - 1)) for index in range(N_SPREAD)})
    return [samples[place] for place in places if samples]


def _blocks(shown: Mapping[int, Shown]) -> list[int]:
    """Return the first unit of each page that shows something; the first page is there in any case."""
    return sorted({0, *(number // PER_PAGE * PER_PAGE for number in shown)})


def _span(first: int) -> str:
    return f"units {first} to {first + PER_PAGE - 1}"


def _near(blocks: Sequence[int], first: int) -> list[int]:
    """Return the pages worth a link: the first, the last, and those around."""
    place = blocks.index(first)
    return sorted({blocks[0], blocks[-1], *blocks[max(0, place - 3) : place + 4]})
