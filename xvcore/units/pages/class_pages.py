"""The page of a class: the units of a network that respond to it, and the images that they respond to most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from xvcore.report.chapters import Section
from xvcore.report.class_pages import ClassWriter, Drawn
from xvcore.report.comparison import Comparison
from xvcore.report.draft import Cards
from xvcore.report.family import of_classes
from xvcore.report.findings import LEVEL, Finding, Told, told
from xvcore.report.renderer import Renderer
from xvcore.report.wording import count, decimal, p_words, percent, plural
from xvcore.store import Store
from xvcore.units.pages.class_data import ClassUnits, Responding
from xvcore.units.settings import TopUnits

N_PICTURED = 12
"""Units with pictures on the page of a class."""
N_BESIDE = 8
"""Units of each network where networks stand side by side."""
MOST_LISTED = 400
"""Units in a table."""
N_UNITS_OF_IMAGE = 12
NUMBER = "units that respond to the class beyond chance"
IMAGES = "share of the unit's strongest images that are of the class"


@dataclass(frozen=True)
class UnitsOfClassWriter(ClassWriter[ClassUnits, Drawn]):
    """Writes the page of a class."""

    method: ClassVar[str] = TopUnits.method

    def draw(self) -> Drawn:
        """Return no pictures: those of the layers are shown."""
        return Drawn({}, ())

    def on_class_page(self, drawn: Drawn) -> dict[str, Any]:
        """Return the units, those with pictures first."""
        pictured = [each for each in self.data.units if any(each.sheets)][:N_PICTURED]
        return {
            "pictured": pictured,
            "units": self.data.units[:MOST_LISTED],
            "n_units": len(self.data.units),
            "strongest": self.data.strongest,
            "most": N_UNITS_OF_IMAGE,
        }

    def on_image_page(self, image: Any, drawn: Drawn) -> dict[str, Any]:
        """Return nothing: there are no pages of images."""
        return {}

    def card(self, drawn: Drawn) -> dict[str, Any]:
        """Return the first units with their pictures."""
        shown = [each for each in self.data.units if any(each.sheets)][:N_BESIDE]
        return {
            "has_findings": bool(self.data.units),
            "n_units": len(self.data.units),
            "n_sure": len(_sure(self.data.units)),
            "n_tested": self.data.n_tested,
            "units": [
                {
                    "name": each.name,
                    "page": each.page,
                    "sheets": each.sheets,
                    "share": each.row["top_class_share"],
                    "p_value": each.p_value,
                }
                for each in shown
            ],
        }

    def findings(self) -> list[Told] | None:
        """Return how many units respond to the class beyond chance, and which of them most."""
        tested = [each for each in self.data.units if each.p_value is not None]
        if not tested:
            return None
        model, page, name = self.data.entry.network.title, self.data.entry.page, self.topic.class_name
        sure = _sure(tested)
        least = min(each.p_value for each in tested if each.p_value is not None)
        sentence = (
            f"{count(len(sure))} of {count(self.data.n_tested)} living units of {model} respond to {name} beyond "
            f"chance: if images had nothing to do with units, {percent(1 - LEVEL)} of networks would have such a unit "
            f"of any class."
        )
        number = Finding(model, sentence, NUMBER, len(sure), null=0.0, p_value=least, n=self.data.n_tested)
        return [told(number, f"{page}#units"), *(told(_of_unit(each, model, name), each.page) for each in sure[:3])]


def _sure(units: Sequence[Responding]) -> list[Responding]:
    return [each for each in units if each.p_value is not None and each.p_value <= 1 - LEVEL]


def _of_unit(found: Responding, model: str, name: str) -> Finding:
    n, own = found.n_ranked or 0, found.n_own or 0
    p_value = 1.0 if found.p_value is None else found.p_value
    sentence = (
        f"{found.name} of {model}: {own} of its {plural(n, 'strongest image')} are of {name}, "
        f"{decimal(found.by_chance, 1)} by chance ({p_words(p_value)} over all units and classes)."
    )
    chance = (found.by_chance or 0.0) / max(n, 1)
    return Finding(model, sentence, IMAGES, own / max(n, 1), null=chance, p_value=p_value, n=n)


def of_all(section: Section, cards: Cards) -> list[Told]:
    """Return how many units each network has that respond to one class beyond chance, then what classes told."""
    over = []
    for network in section.networks:
        entries = [entry for topic in section.topics for entry in topic.entries if entry.network is network]
        of_network = [cards[entry.folder] for entry in entries if "n_sure" in cards.get(entry.folder, {})]
        tests = [each for card in of_network for each in card["told"] if each["measure"] == NUMBER]
        if tests:
            n_sure, n_tested = sum(card["n_sure"] for card in of_network), max(card["n_tested"] for card in of_network)
            sentence = (
                f"{count(n_sure)} of {count(n_tested)} living units of {network.title} respond to one of "
                f"{plural(len(of_network), 'class', 'classes')} beyond chance, by a test over all units and classes."
            )
            least = min(each["p_value"] for each in tests)
            finding = Finding(network.model, sentence, NUMBER, n_sure, null=0.0, p_value=least, n=n_tested)
            over.append(told(finding, f"{network.folder}/index.html#classes"))
    return [*over, *of_classes(section, cards)]


def comparison_page(_store: Store, renderer: Renderer, comparison: Comparison, inputs: str) -> str:
    """Return the page of a class with the units of each network that respond to it."""
    before, after = comparison.neighbours
    return renderer.render(
        f"{TopUnits.method}/comparison.html",
        comparison.page,
        inputs=inputs,
        topic=comparison.topic,
        sides=comparison.sides,
        before=before,
        after=after,
    )
