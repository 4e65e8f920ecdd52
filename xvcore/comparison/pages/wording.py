"""What the pages of a comparison say: sentences made of rows of its tables, no stronger than these."""

from collections.abc import Mapping, Sequence
from typing import Any

from xvcore.comparison.method.verdict import CANNOT, COULD, MISSED, SHARED, UNDECIDED, UNUSED, VERDICTS
from xvcore.comparison.runs.join import LEAST_NETWORKS
from xvcore.report.wording import p_words, plural, with_interval

Row = Mapping[str, Any]
Tallies = Mapping[tuple[str, str], Mapping[str, int]]
"""Of each ordered pair of networks, how many parts got which verdict."""

MOST_NAMED = 3
"""Pairs of networks that a sentence names."""
VERDICT_NAMES: Mapping[str, str] = {
    SHARED: "shared",
    COULD: "could, but does not use",
    CANNOT: "cannot",
    UNUSED: "does not use",
    UNDECIDED: "not decided",
}
"""Heads of columns."""
VERDICT_HINTS: Mapping[str, str] = {
    SHARED: "a part of the other network is the same, or the other network loses when it is deleted",
    COULD: "the network needs it; a probe on the other's features tells it, though the other hardly loses by it",
    CANNOT: "the network needs it; no probe on the other's features tells it, and the other hardly loses by it",
    UNUSED: "the network needs it, the other hardly loses by it; whether it could tell it, the probe leaves open",
    UNDECIDED: "the tests have no power here, or say nothing clear",
}
TOLD: Mapping[str, str] = {
    COULD: "could tell it",
    CANNOT: "cannot tell it",
    UNUSED: "does not use it, whether it could is open",
}
"""What a network makes of a part that it hardly needs, before the accuracy of the probe."""
MOST_BY_CHANCE = 0.05
"""How often chance may cover a part as well for it to be called covered."""
MEASURES: Sequence[tuple[str, str, tuple[str, ...], str]] = (
    ("cka", "CKA", ("cka_null", "cka_seed"), "linear centred kernel alignment of the activations; 1 is equal"),
    ("wmppc", "wMPPC", ("wmppc_null", "wmppc_seed"), "how well the units of the first are found in the second"),
    ("rsvc", "RSVC", ("rsvc_self", "rsvc_seed"), "how well the second's activations give the concepts of the first"),
    ("bsr", "BSR", ("bsr_null",), "share of the pairs in the first's shown grids that it holds nearer than the second"),
    ("mask_overlap", "masks", ("mask_overlap_null",), "intersection over union of their masks of an image"),
)
"""Columns of likeness: name, title, what stands beside it, and what it is."""
BESIDE: Mapping[str, str] = {
    "cka_null": "by chance",
    "cka_seed": "another seed",
    "wmppc_null": "by chance",
    "wmppc_seed": "another seed",
    "rsvc_self": "by its own",
    "rsvc_seed": "another seed",
    "bsr_null": "all pairs",
    "mask_overlap_null": "other images",
}
COVERAGES: Sequence[tuple[str, str, str]] = (
    ("decisive_coverage", "parts that tell the class", "share of these parts that the masks cover to at least half"),
    ("part_coverage", "all annotated parts", "share of the visible parts that the masks cover to at least half"),
    ("object_precision", "the object", "share of what the masks remove that lies in the object's box"),
)
"""Of ``comparison_classes``: the column, what is covered, and what the number is."""
COVERAGE_NULLS: Mapping[str, str] = {
    "decisive_coverage": "decisive_coverage_null",
    "part_coverage": "part_coverage_null",
    "object_precision": "object_null",
}
"""What chance gives: the same masks at random places; of an object, the share of the image that its box takes."""


def listing(names: Sequence[str]) -> str:
    """Return names as a sentence has them: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def is_covered(row: Row) -> bool:
    """Return whether masks cover an annotated part more than at random places, by a row of ``part_coverage``."""
    return row["low"] is not None and row["low"] > 0 and row["p_value"] <= MOST_BY_CHANCE


def nouns(what: str) -> str:
    """Return the plural of part or summary."""
    return "summaries" if what == "summary" else f"{what}s"


def counted(number: float | int, what: str) -> str:
    """Return a number of parts (or of summaries, where parts are not known) with its noun."""
    return plural(number, what, nouns(what))


def told_of_pairs(tallies: Tallies, pairs: Sequence[tuple[str, str]], what: str = "part") -> list[str]:
    """Return what was found of each two networks, both ways, those first of which most was found.

    Of those of which nothing was found one sentence says so.

    Parameters
    ----------
    tallies : of each ordered pair of networks, how many parts got which verdict
    pairs : names of each two networks
    what : the noun, "part" or "summary"
    """
    ordered = [each for a, b in pairs for each in ((a, b), (b, a))]
    ordered.sort(key=lambda pair: -n_missed(tallies.get(pair, {})))
    sentences = [_missed(tallies[pair], *pair, what) for pair in ordered if n_missed(tallies.get(pair, {}))]
    nothing = [pair for pair in pairs if not any(n_missed(tallies.get(each, {})) for each in (pair, pair[::-1]))]
    if nothing:
        sentences.append(f"{_between(nothing)} no {what} is known that one needs and the other hardly.")
    return sentences


def told_of_shared(tallies: Tallies, a: str, b: str, what: str = "part") -> str:
    """Return how many parts two networks share, and how many are not decided; nothing where none was judged."""
    shared, undecided = (
        [tallies.get(pair, {}).get(verdict, 0) for pair in ((a, b), (b, a))] for verdict in (SHARED, UNDECIDED)
    )
    of = [f"{number} of {counted(total(tallies, *pair), what)} of {pair[0]}"
          for number, pair in zip(shared, ((a, b), (b, a)), strict=True)]  # fmt: skip
    rest = f" Not decided: {undecided[0]} of {a}, {undecided[1]} of {b}." if any(undecided) else ""
    return f"Shared: {listing(of)}.{rest}" if total(tallies, a, b) + total(tallies, b, a) else ""


def n_missed(tally: Mapping[str, int]) -> int:
    """Return how many parts one network needs and the other hardly."""
    return sum(tally.get(verdict, 0) for verdict in MISSED)


def total(tallies: Tallies, a: str, b: str) -> int:
    """Return how many parts of a network were judged with regard to another."""
    return sum(tallies.get((a, b), {}).values())


def _missed(tally: Mapping[str, int], model: str, other: str, what: str) -> str:
    number = n_missed(tally)
    needs = f"{model} needs {number} of {counted(sum(tally.values()), what)} that {other} hardly needs"
    kinds = [(verdict, tally.get(verdict, 0)) for verdict in MISSED if tally.get(verdict, 0)]
    if len(kinds) == 1:
        return f"{needs}: {other} {_of_missed(kinds[0][0], 'it' if number == 1 else 'them')}."
    said = [_of_missed(verdict, f"{n} of them" if not place else str(n), "it" if n == 1 else "them")
            for place, (verdict, n) in enumerate(kinds)]  # fmt: skip
    return f"{needs}: {other} {', '.join(said[:-1])}, and {said[-1]}."


def _of_missed(verdict: str, which: str, them: str | None = None) -> str:
    """Return what the other network makes of parts that it hardly needs."""
    return {
        COULD: f"could tell {which}, but does not use {them or which}",
        CANNOT: f"cannot tell {which}",
        UNUSED: f"does not use {which}, and whether it could tell {them or which} is not known",
    }[verdict]


def told_of_wins(wins: Sequence[Row], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return in how many classes which of two networks shows more parts an image; one sentence for all that do not."""
    tested: dict[tuple[str, str], set[str]] = {}
    won: dict[tuple[str, str], int] = {}
    for row in wins:
        key = (str(row["model"]), str(row["other"]))
        tested.setdefault(key, set()).add(str(row["class_id"]))
        won[key] = won.get(key, 0) + bool(row["wins"])
    sentences = [
        f"{a} shows more parts an image than {b} in {won[a, b]} of {plural(len(tested[a, b]), 'class', 'classes')}."
        for pair in pairs
        for a, b in (pair, pair[::-1])
        if won.get((a, b))
    ]
    equal = [pair for pair in pairs if pair in tested and not won.get(pair) and not won.get(pair[::-1])]
    if equal:
        sentences.append(f"{_between(equal)} the test tells in no class which of them shows more parts an image.")
    return sentences


def told_of_class(wins: Sequence[Row]) -> list[str]:
    """Return who shows more parts of one class than whom, most first, and how sure that is in all classes."""
    return [
        f"{row['model']} shows {with_interval(row['difference'], row['low'], row['high'])} more parts an image than "
        f"{row['other']}; {p_words(row['p_holm'])} for all classes together."
        for row in sorted((row for row in wins if row["wins"]), key=lambda row: -row["difference"])
    ]


def _between(pairs: Sequence[tuple[str, str]]) -> str:
    named = ", ".join(f"between {a} and {b}" for a, b in pairs[:MOST_NAMED])
    more = f", and of {len(pairs) - MOST_NAMED} more pairs" if len(pairs) > MOST_NAMED else ""
    return f"B{named[1:]}{more}"


def told_of_correlation(row: Row | None) -> str:
    """Return whether the mean number of parts goes with accuracy over the networks, and how sure that is."""
    if row is None:
        return "No class is complete in all networks yet."
    n = int(row["n_networks"])
    if row["correlation"] is None:
        unknown = "Whether the number of parts goes with accuracy cannot be told"
        if n < LEAST_NETWORKS:
            return f"{unknown} from {plural(n, 'network')}: a correlation takes at least {LEAST_NETWORKS}."
        return f"{unknown}: one of the two is equal in all networks."
    low, high = row["correlation_low"], row["correlation_high"]
    shown = f"r = {with_interval(row['correlation'], low, high)} over {plural(n, 'network')}"
    if low is None or high is None:
        return f"Number of parts and accuracy: {shown}, with no interval."
    if low > 0 or high < 0:
        return f"Networks with more parts are right {'more' if low > 0 else 'less'} often: {shown}."
    return f"Number of parts and accuracy do not demonstrably go together: {shown}, an interval that holds 0."


def tally_of(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, int]]:
    """Return of each ordered pair of networks how many parts got which verdict."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for row in rows:
        of_pair = found.setdefault((str(row["model"]), str(row["other"])), dict.fromkeys(VERDICTS, 0))
        of_pair[str(row["verdict"])] += 1
    return found
