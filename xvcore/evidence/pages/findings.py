"""What the evidence of a class, and of all classes, bears: how much of it lies in how little, and in the same place."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from xvcore.evidence.pages.class_data import ClassEvidence, EvidenceMap
from xvcore.report.chapters import Network, Section
from xvcore.report.draft import Cards
from xvcore.report.family import of_classes
from xvcore.report.findings import Finding, Told, mean, told
from xvcore.report.wording import decimal, percent, plural

PLACE_SHARE = 0.1
"""How much of the picture a place is, by number of patches."""
LEAST_IMAGES = 3
AGAINST = "share of the loudest patch for the class in the sum of it and the loudest against, sizes in logits"
HALF = "share of the patches that holds half of the evidence for the class"
PLACE = "share of the evidence of an image in the tenth of the picture where other images have most"
DIFFERENCE = "difference of the shares of the patches that hold half of the evidence, over the same images"


def halves(data: ClassEvidence) -> dict[str, float]:
    """Return of each image the least share of its patches that holds half of what speaks for its class."""
    return {image.image_id: found for image in data.images if image.own and (found := half_of(image.own.values))}


def half_of(values: np.ndarray) -> float | None:
    """Return the least share of the elements whose positive sum is half of the whole; None where none is positive.

    >>> half_of(np.array([[6.0, 4.0, 0.0, -9.0]]))
    0.25
    """
    positive = np.sort(np.clip(values.astype(np.float64), 0.0, None), axis=None)[::-1]
    if not positive.sum():
        return None
    return float((np.searchsorted(np.cumsum(positive), positive.sum() / 2) + 1) / positive.size)


def place_shares(maps: Sequence[np.ndarray]) -> list[float]:
    """Return how much of what is positive lies, in every second map, where the mean of those between is strongest.

    The place is a tenth of the elements, so that the expectation is a tenth where maps have nothing to do with one
    another; it is found in other maps than it is tried on, so that these are independent of it and of one another. A
    map without anything positive is left out.
    """
    positive = np.clip(np.stack([each.astype(np.float64) for each in maps]), 0.0, None).reshape(len(maps), -1)
    positive = positive[positive.sum(1) > 0]
    shares = positive / positive.sum(1, keepdims=True)
    n = max(1, round(PLACE_SHARE * shares.shape[1]))
    strongest = np.argsort(-shares[::2].sum(0), kind="stable")[:n]
    return [float(each) for each in shares[1::2, strongest].sum(1)]


def of_class(data: ClassEvidence, class_name: str) -> list[Told]:
    """Return in how few patches the evidence is, whether it lies in one place, and how loud what speaks against it is.

    Parameters
    ----------
    data : the class
    class_name : in words
    """
    model, page = data.entry.network.title, data.entry.page
    values = list(halves(data).values())
    maps = [image.own for image in data.images if image.own is not None]
    found: list[Told] = []
    if len(values) >= LEAST_IMAGES:
        share = mean(values)
        sentence = (
            f"Half of the evidence of {model} for {class_name} is in {share.percent} of the patches of a picture; "
            f"spread evenly it would take 50\u202f% ({plural(share.n, 'image')})."
        )
        found.append(told(Finding.of(model, HALF, share).saying(sentence), f"{page}#images"))
    if len(maps) >= LEAST_IMAGES and _are_alike(maps):
        n = maps[0].values.size
        chance = max(1, round(PLACE_SHARE * n)) / n
        place = mean(place_shares([each.values for each in maps]))
        if place.low is not None:
            sentence = (
                f"The tenth of the picture where other images of {class_name} have most holds {place.percent} of the "
                f"evidence of an image; {percent(chance)} if {model} looked anywhere ({plural(place.n, 'image')})."
            )
            found.append(told(Finding.of(model, PLACE, place, chance).saying(sentence), f"{page}#means"))
    return [*found, *_against(data, class_name)]


def _against(data: ClassEvidence, class_name: str) -> list[Told]:
    """Return which patch speaks loudest against the class, and whether the loudest for it is louder in an image."""
    sides = [image.own.strongest for image in data.images if image.own is not None]
    shares = mean([pro[0].evidence / (pro[0].evidence - con[0].evidence) for pro, con in sides if pro and con])
    if shares.n < LEAST_IMAGES or shares.low is None:
        return []
    image, spot = data.against[0]
    model, page = data.entry.network.title, data.entry.page
    sentence = (
        f"The patch that speaks loudest against {class_name} in {model} says {decimal(spot.evidence, 1)} logits, in "
        f"{image.title}. Of the loudest for and the loudest against in an image, the one for has {shares.percent} of "
        f"both together; 50\u202f% if they were as loud ({plural(shares.n, 'image')})."
    )
    return [told(Finding.of(model, AGAINST, shares, 0.5).saying(sentence), f"{page}#against")]


def of_all(section: Section, cards: Cards) -> list[Told]:
    """Return which of two networks has its evidence in fewer patches, then what was found of the classes."""
    pairs = [_difference(section, a, b, cards) for a, b in combinations(section.networks, 2)]
    return [*(each for each in pairs if each is not None), *of_classes(section, cards)]


def _difference(section: Section, a: Network, b: Network, cards: Cards) -> Told | None:
    """Return the paired difference over the images that both have a map of."""
    grids = {tuple(grid) for network in (a, b) for grid in _grids(section, network, cards)}
    first, second = _halves(section, a, cards), _halves(section, b, cards)
    both = sorted(first.keys() & second.keys())
    found = mean([first[each] - second[each] for each in both])
    if found.low is None or len(grids) != 1:  # coarser maps hide how little it is
        return None
    shares = [mean([each[key] for key in both]) for each in (first, second)]
    sentence = (
        f"Half of the evidence takes {percent(shares[0].value)} of the patches in {a.title} and "
        f"{percent(shares[1].value)} in {b.title}: a difference of {found.percent} over the same "
        f"{plural(found.n, 'image')}."
    )
    return told(Finding.of(f"{a.model} + {b.model}", DIFFERENCE, found, 0.0).saying(sentence), _strongest(section, a))


def _halves(section: Section, network: Network, cards: Cards) -> dict[tuple[str, str], float]:
    """Return the numbers of :func:`halves` of all classes of a network, by class and image."""
    entries = [entry for topic in section.topics for entry in topic.entries if entry.network is network]
    return {
        (entry.class_id, image_id): value
        for entry in entries
        for image_id, value in _of_card(cards[entry.folder]).items()
    }


def _grids(section: Section, network: Network, cards: Cards) -> list[Sequence[int]]:
    """Return rows and columns of the maps of each class of a network."""
    entries = [entry for topic in section.topics for entry in topic.entries if entry.network is network]
    return [cards[entry.folder]["grid"] for entry in entries if cards[entry.folder].get("grid")]


def _of_card(card: Mapping[str, Any]) -> Mapping[str, float]:
    return card.get("halves") or {}


def _strongest(section: Section, network: Network) -> str:
    """Return the page of the first class of a network."""
    entries = [entry for topic in section.topics for entry in topic.entries if entry.network is network]
    return entries[0].page


def _are_alike(maps: Sequence[EvidenceMap]) -> bool:
    return len({each.values.shape for each in maps}) == 1
