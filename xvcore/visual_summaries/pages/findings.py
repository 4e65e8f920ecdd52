"""What the summaries of a class, and of all classes, bear: sentences, each with what random regions would give."""

import statistics
from collections.abc import Mapping
from typing import Any

from xvcore.report.chapters import Network, Section
from xvcore.report.class_pages import Row
from xvcore.report.draft import Cards
from xvcore.report.family import of_classes
from xvcore.report.findings import LEVEL, Finding, Told, more_often, repeated, surest, told
from xvcore.report.wording import decimal, p_words, percent, plural
from xvcore.visual_summaries.pages.class_data import ClassData, Cluster

JOINT = "median share of the probability that is lost without all summaries"
ALONE = "median share of the probability that is lost without the summary"
PART = "share of the summary's regions that show the part"
CLASSES = "share of the classes in which more is lost without the summaries than without random regions"


def of_class(data: ClassData, class_name: str) -> list[Told]:
    """Return what is lost without all summaries, without each alone, and which annotated parts they show.

    Parameters
    ----------
    data : the class
    class_name : in words
    """
    model, page = data.entry.network.title, data.entry.page
    joint, of_summaries = [], []
    if data.joint is not None and data.joint["p_value"] is not None:
        sentence = (
            f"Without {_all(len(data.summaries))} {model} loses {percent(data.joint['prob_drop'])} of the probability "
            f"of {class_name} in {plural(data.joint['n_images'], 'image')}; random regions as large take "
            f"{percent(data.joint['random_drop'])}"
        )
        after = _contradicted(data.summaries[0]) if len(data.summaries) == 1 else ""
        joint.append(told(_drop(model, JOINT, sentence, data.joint, after), f"{page}#summaries"))
    alone = {row["cluster_id"]: row for row in data.drops if row["kind"] == "alone" and row["p_value"] is not None}
    for number, cluster in enumerate(data.summaries, start=1):
        name = f"Summary {number}" + (f" ({cluster.row['part']})" if cluster.row["part"] else "")
        row = alone.get(cluster.row["cluster_id"])
        if row is not None and len(data.summaries) > 1:
            sentence = (
                f"{name} alone: {model} loses {percent(row['prob_drop'])} of the probability of {class_name} in "
                f"{plural(row['n_images'], 'image')}, random regions as large take {percent(row['random_drop'])}"
            )
            finding = _drop(model, ALONE, sentence, row, _contradicted(cluster))
            of_summaries.append(told(finding, f"{page}#{cluster.anchor}"))
        part = _of_part(cluster, f"Summary {number} of {class_name} in the eyes of {model}", model)
        if part is not None:
            of_summaries.append(told(part, f"{page}#{cluster.anchor}"))
    return [*joint, *surest(of_summaries)]


def of_all(section: Section, cards: Cards) -> list[Told]:
    """Return in how many classes more is lost without the summaries, then what was found of the classes."""
    over = [found for network in section.networks if (found := _over_classes(section, network, cards))]
    return [*over, *of_classes(section, cards)]


def _over_classes(section: Section, network: Network, cards: Cards) -> Told | None:
    joint = [each for each in _told_of(section, network, cards) if each["measure"] == JOINT]
    if len(joint) < 2:
        return None
    are_found = [bool(each["holds"]) for each in joint]
    value, null = (statistics.median(each[name] for each in joint) for name in ("value", "null"))
    by_chance = (1 - LEVEL) * len(joint)
    p_value = repeated(are_found)
    sentence = (
        f"{network.title} loses more without its summaries than without random regions in {sum(are_found)} of "
        f"{plural(len(joint), 'class', 'classes')}, {decimal(by_chance, 1)} by chance ({p_words(p_value)}): "
        f"{percent(value)} of the probability and {percent(null)}, medians over classes."
    )
    share = sum(are_found) / len(joint)
    finding = Finding(network.model, sentence, CLASSES, share, null=1 - LEVEL, p_value=p_value, n=len(joint))
    best = max(joint, key=lambda each: (bool(each["holds"]), each["value"] - each["null"]))
    return told(finding, best["page"])


def _told_of(section: Section, network: Network, cards: Cards) -> list[Told]:
    entries = [entry for topic in section.topics for entry in topic.entries if entry.network is network]
    return [each for entry in entries for each in cards[entry.folder].get("told", ())]


def _all(number: int) -> str:
    return "its only summary" if number == 1 else f"its {number} summaries together"


def _contradicted(cluster: Cluster) -> str:
    """Return how many images contradict a summary, and how many would if it were of no use to the network."""
    if not cluster.asked:
        return ""
    n, n_against = len(cluster.asked), len(cluster.contradicting)
    verb = "contradicts" if n_against == 1 else "contradict"
    return f"; {n_against} of {plural(n, 'image')} {verb} it, {decimal(n / 2, 1)} by chance"


def _drop(model: str, measure: str, sentence: str, row: Row, after: str = "") -> Finding:
    value, null, p_value = (float(row[name] or 0.0) for name in ("prob_drop", "random_drop", "p_value"))
    said = f"{sentence} ({p_words(p_value)}){after}."
    return Finding(model, said, measure, value, null=null, p_value=p_value, n=int(row["n_images"]))


def _of_part(cluster: Cluster, name: str, model: str) -> Finding | None:
    """Return in how many of its regions a summary shows its annotated part; None where parts are not known."""
    row: Mapping[str, Any] = cluster.row
    chance = row.get("random_purity")
    if row["share"] is None or chance is None or not row.get("n_marked"):
        return None
    n = int(row["n_marked"])
    n_are = round(row["share"] * n)
    p_value = more_often(n_are, n, min(1.0, float(chance)))
    sentence = (
        f"{name} shows the {row['part']}: in {n_are} of {plural(n, 'region')}, {decimal(chance * n, 1)} would show one "
        f"and the same part by chance ({p_words(p_value)})."
    )
    return Finding(model, sentence, PART, float(row["share"]), null=float(chance), p_value=p_value, n=n)
