"""What the prototypes of a class, and of all, bear: whether decisions need their cells, and whose patches they have."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from xvcore.prototypes.method.class_share import of_class_by_chance
from xvcore.prototypes.pages.class_data import ClassPrototypes
from xvcore.prototypes.pages.class_tests import Foremost, RunPrototypes
from xvcore.report.chapters import Network, Section
from xvcore.report.class_pages import Row
from xvcore.report.draft import Cards
from xvcore.report.family import of_classes
from xvcore.report.findings import LEVEL, Estimate, Finding, Told, difference, mean, surest, told
from xvcore.report.wording import decimal, p_words, percent, plural

REMOVAL = "fall of the predicted logit without the cell of the strongest prototype, less that without a random cell"
PATCHES = "share of the strongest patches of the class's prototypes that are of it"
ONE = "share of the prototype's strongest patches that are of the class"
PARTS = "share of a prototype's patches that meet one annotated part, less that of random boxes"
CHANNELS = "share of a prototype's patches that meet one annotated part, less that of a plain channel's"
NEEDED = "difference of the prototypes that a decision takes, over the same images"
MOST_NAMED = 3
"""Prototypes that the page of a class names one by one."""


def of_class(data: ClassPrototypes, class_name: str) -> list[Told]:
    """Return what the cell of the strongest prototype is worth, and whose patches and which parts prototypes have.

    Parameters
    ----------
    data : the class
    class_name : in words
    """
    model, page, tests = data.entry.network.title, data.entry.page, data.tests
    foremost = data.tested
    falls = [(float(row["fall"]), float(row["random_fall"])) for row in data.removals]
    found = [told(each, f"{page}#images") for each in _removal(model, f"images of {class_name}", falls)]
    found += [told(each, f"{page}#tested") for each in _patches(model, class_name, data.entry.class_id, tests)]
    found += [told(each, f"{page}#tested") for each in _parts(model, class_name, foremost)]
    sure = [each for each in foremost if each.p_value <= 1 - LEVEL]
    of_one = [
        told(
            _one(each, model, class_name),
            tests.shown[each.prototype].page if each.prototype in tests.shown else f"{page}#tested",
        )
        for each in sure
    ]
    return [*found, *surest(of_one)[:MOST_NAMED]]


def of_all(section: Section, cards: Cards) -> list[Told]:
    """Return what was found of each network over all classes, then of each two, then what was found of the classes."""
    over = [each for network in section.networks for each in _over_classes(section, network, cards)]
    pairs = [each for a, b in combinations(section.networks, 2) for each in _difference(section, a, b, cards)]
    return [*over, *pairs, *of_classes(section, cards)]


def parts_of_run(parts: Sequence[Row]) -> dict[str, list[float]]:
    """Return how many of its patches meet one part, as a share, of each prototype and plain channel that is shown."""
    used = [row for row in parts if row["is_used"] and row["n_patches"] and row["share"] is not None]
    return {kind: [float(row["share"]) for row in used if row["kind"] == kind] for kind in ("prototype", "channel")}


def _beside(pairs: Sequence[tuple[float, float]]) -> tuple[Estimate, float, float]:
    """Return the mean difference of pairs, and the means of the first and of the second of each."""
    first, second = ([each[place] for each in pairs] for place in (0, 1))
    differences = [one - other for one, other in pairs]
    return mean(differences), mean(first).value, mean(second).value


def _removal(model: str, images: str, falls: Sequence[tuple[float, float]]) -> Iterator[Finding]:
    found, strongest, random = _beside(falls)
    if found.low is None:
        return
    sentence = (
        f"Without the cell of the prototype that adds most, the logit of what {model} predicts falls by "
        f"{decimal(strongest)} in {images}, without a random cell by {decimal(random)}: a difference of {found.words} "
        f"over {plural(found.n, 'image')}."
    )
    yield Finding.of(model, REMOVAL, found, 0.0).saying(sentence)


def _patches(model: str, class_name: str, class_id: str, tests: RunPrototypes) -> Iterator[Finding]:
    """Yield whether the patches of the tested prototypes, all together, are of the class."""
    foremost, n_class = tests.foremost.get(class_id, ()), tests.n_of_class.get(class_id, 0)
    by_image = Counter(image for each in foremost for image in each.images)
    n, n_own = by_image.total(), sum(each.n_own for each in foremost)
    if not n or not 0 < n_class < tests.n_images:
        return
    p_value = of_class_by_chance(list(by_image.values()), n_own, n_class, tests.n_images)
    chance = n_class / tests.n_images
    sentence = (
        f"{n_own} of the {plural(n, 'strongest patch', 'strongest patches')} of {_these(foremost)} for {class_name} in "
        f"{model} {'is' if n_own == 1 else 'are'} of it, {decimal(n * chance, 1)} by chance ({p_words(p_value)})."
    )
    yield Finding(model, sentence, PATCHES, n_own / n, null=chance, p_value=p_value, n=len(by_image))


def _parts(model: str, class_name: str, foremost: Sequence[Foremost]) -> Iterator[Finding]:
    """Yield whether the patches of a prototype meet one and the same part more than random boxes do."""
    rows = [each.part for each in foremost if each.part and each.part["n_patches"]]
    pairs = [(float(row["share"]), float(row["random_purity"])) for row in rows if row["share"] is not None]
    found, share, random = _beside(pairs)
    if found.low is None:
        return
    sentence = (
        f"The patches of a prototype of {class_name} in {model} meet one and the same part in {percent(share)}, as "
        f"many random boxes in {percent(random)}: a difference of {found.percent} over {plural(found.n, 'prototype')}."
    )
    yield Finding.of(model, PARTS, found, 0.0).saying(sentence)


def _one(each: Foremost, model: str, class_name: str) -> Finding:
    n = len(each.images)
    patches = plural(n, "strongest patch", "strongest patches")
    sentence = (
        f"Prototype {each.prototype} of {model}: {each.n_own} of its {patches} are of {class_name}, "
        f"{decimal(each.by_chance, 1)} by chance ({p_words(each.p_value)} over all prototypes and classes that are "
        f"tested)."
    )
    return Finding(model, sentence, ONE, each.n_own / n, null=each.by_chance / n, p_value=each.p_value, n=n)


def _these(foremost: Sequence[Foremost]) -> str:
    n = len(foremost)
    return "the prototype with the largest weight" if n == 1 else f"the {n} prototypes with the largest weights"


def _over_classes(section: Section, network: Network, cards: Cards) -> Iterator[Told]:
    """Yield what was found of a network in the images of all classes, and of all its prototypes."""
    of_network = _cards_of(section, network, cards)
    falls = [(fall, random) for _, card in of_network for fall, random in card.get("falls", ())]
    first = next((entry.page for entry, card in of_network if card.get("falls")), "")
    for finding in _removal(network.title, "images of all classes", falls):
        yield told(finding, f"{first}#images")
    shares: Mapping[str, Any] = cards.get(network.folder, {}).get("parts", {})
    found = difference(shares.get("prototype", ()), shares.get("channel", ()))
    if found.low is not None and not math.isnan(found.value):
        both = [mean(shares[kind]) for kind in ("prototype", "channel")]
        sentence = (
            f"The patches of a prototype of {network.title} meet one and the same part in {percent(both[0].value)}, "
            f"those of a plain channel in {percent(both[1].value)}: a difference of {found.percent} over "
            f"{plural(both[0].n, 'side')} of prototypes and {both[1].n} of channels."
        )
        page = next((entry.page for entry, card in of_network if card.get("n_tested")), "")
        yield told(Finding.of(network.title, CHANNELS, found, 0.0).saying(sentence), f"{page}#tested")


def _difference(section: Section, a: Network, b: Network, cards: Cards) -> Iterator[Told]:
    """Yield which of two networks takes fewer prototypes for a decision, over the images that both decided."""
    first, second = (_needed(section, each, cards) for each in (a, b))
    both = sorted(first.keys() & second.keys())
    found, of_first, of_second = _beside([(first[each], second[each]) for each in both])
    if found.low is None:
        return
    sentence = (
        f"A decision takes {decimal(of_first, 1)} prototypes in {a.title} and {decimal(of_second, 1)} in {b.title}: a "
        f"difference of {found.words} over the same {plural(found.n, 'image')}."
    )
    page = next(entry.page for entry, card in _cards_of(section, a, cards) if card.get("needed"))
    yield told(Finding.of(f"{a.title} + {b.title}", NEEDED, found, 0.0).saying(sentence), f"{page}#images")


def _needed(section: Section, network: Network, cards: Cards) -> dict[tuple[str, str], int]:
    """Return how many prototypes each decision takes, by class and image."""
    return {
        (entry.class_id, image_id): n
        for entry, card in _cards_of(section, network, cards)
        for image_id, n in card.get("needed", {}).items()
    }


def _cards_of(section: Section, network: Network, cards: Cards) -> list[tuple[Any, Mapping[str, Any]]]:
    entries = [entry for topic in section.topics for entry in topic.entries if entry.network is network]
    return [(entry, cards[entry.folder]) for entry in entries if entry.folder in cards]
