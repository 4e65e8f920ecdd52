"""Which annotated part pictures have in common: what a question of a name is judged by, and the first tagger."""

from collections import Counter
from collections.abc import Sequence

from xvcore.study.method.question import NONE


def common_parts(parts: Sequence[Sequence[str]], *, least_share: float) -> tuple[tuple[str, ...], float]:
    """Return the parts that at least a share of pictures contain, most frequent first, and the share of the first.

    ``none`` where no part reaches it, with the share of the most frequent. Nothing at all, and 0, where no picture
    has an annotated part: whether they have one in common cannot be told.

    Parameters
    ----------
    parts : of each picture the parts that it contains
    least_share : in (0, 1]
    """
    counts = Counter(part for each in parts for part in dict.fromkeys(each))
    if not counts:
        return (), 0.0
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    best = ranked[0][1] / len(parts)
    found = tuple(part for part, count in ranked if count / len(parts) >= least_share)
    return (found or (NONE,)), best
