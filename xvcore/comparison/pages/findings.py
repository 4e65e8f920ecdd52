"""What a comparison found of single parts: which network needs one that another hardly needs, or that both need."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from xvcore.comparison.method.verdict import UNDECIDED
from xvcore.comparison.pages.class_data import Judged, Pair
from xvcore.report.findings import Estimate, Finding, Told, told
from xvcore.report.wording import decimal, plural, records, with_interval

LOSS = "probability that the network loses by the part's deletion beyond random regions of equal size"
Counts = Mapping[tuple[str, int, str], tuple[int, int]]
"""By network, part and asked network: images that lose more than by random regions, and all that were asked."""


def counts_of(deletions: pd.DataFrame) -> dict[tuple[str, int, str], tuple[int, int]]:
    """Return in how many images which network loses more by a part than by random regions of equal size.

    Parameters
    ----------
    deletions : rows of ``part_deletions``
    """
    if not len(deletions):
        return {}
    keys = ["model", "part_id", "other"]
    loses = deletions.assign(loses=deletions["prob_deleted"] < deletions["prob_random"])
    rows = records(loses.groupby(keys)["loses"].agg(["sum", "size"]).reset_index())
    return {
        (str(row["model"]), int(row["part_id"]), str(row["other"])): (int(row["sum"]), int(row["size"])) for row in rows
    }


def of_class(pairs: Sequence[Pair], counts: Counts, class_name: str) -> list[Told]:
    """Return what was found of the parts of a class: those that one network needs first, then shared, then open ones.

    Parameters
    ----------
    pairs : each two networks
    counts : of images, see :func:`counts_of`
    class_name : in words
    """
    return [
        *(_missed(each, pair, counts, class_name) for pair in pairs for _, found in pair.only for each in found),
        *(each for pair in pairs for each in _shared(pair, counts, class_name)),
        *(_open(each, pair, class_name) for pair in pairs for _, found in pair.undecided for each in found),
    ]


def _missed(judged: Judged, pair: Pair, counts: Counts, class_name: str) -> Told:
    a, b = judged.side.model, judged.other.model
    sentence = (
        f"{a} needs {_named(judged)} of {class_name}, {b} hardly: {a} loses {_loss(judged.own)} of probability beyond "
        f"random regions, {b} {_loss(judged.asked)}{_images(judged, counts)}."
    )
    return told(_finding(judged, judged.own, sentence), f"{pair.page}#{judged.anchor}")


def _shared(pair: Pair, counts: Counts, class_name: str) -> Iterator[Told]:
    """Yield the shared parts by whose deletion both networks lose."""
    for judged, *_ in pair.shared:
        if (judged.own["low"] or 0.0) > 0 and (judged.asked["low"] or 0.0) > 0:
            sentence = (
                f"{judged.side.model} and {judged.other.model} both need {_named(judged)} of {class_name}: beyond "
                f"random regions they lose {_loss(judged.own)} and {_loss(judged.asked)} of probability"
                f"{_images(judged, counts)}."
            )
            yield told(_finding(judged, judged.own, sentence), f"{pair.page}#{judged.anchor}")


def _open(judged: Judged, pair: Pair, class_name: str) -> Told:
    sentence = (
        f"Whether {judged.other.model} needs {_named(judged)} of {class_name}, a {judged.side.noun} of "
        f"{judged.side.model}, is not decided: {judged.verdict['reason']}."
    )
    found = {**told(_finding(judged, judged.asked, sentence), f"{pair.page}#{judged.anchor}"), "holds": False}
    return {**found, "measure": UNDECIDED}


def _finding(judged: Judged, row: Mapping[str, Any], sentence: str) -> Finding:
    loss = Estimate(row["difference"] or 0.0, row["low"], row["high"], int(row["n_images"]))
    return Finding.of(f"{judged.side.model} + {judged.other.model}", LOSS, loss, 0.0).saying(sentence)


def _named(judged: Judged) -> str:
    """Return a part in words: the annotated or tagged one, else its number."""
    label = judged.part.label
    return f"the {label}" if label else f"its {judged.side.noun} {judged.part.part_id}"


def _loss(row: Mapping[str, Any]) -> str:
    return with_interval(row["difference"], row["low"], row["high"])


def _images(judged: Judged, counts: Counts) -> str:
    """Return in how many images each network loses, and in how many it would by chance."""
    a, b, part = judged.side.model, judged.other.model, judged.part.part_id
    if (a, part, a) not in counts or (a, part, b) not in counts:
        return ""
    (own, n), (asked, _) = counts[a, part, a], counts[a, part, b]
    return f"; {a} loses in {own} of {plural(n, 'image')}, {b} in {asked}, by chance {decimal(n / 2, 1)}"
