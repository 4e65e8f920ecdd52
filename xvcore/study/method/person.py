"""Simulated people: they know of each picture the annotated part, mistake it now and then, and answer by that alone.

They are a check of the scores: their agreement must rise as their error falls, and controls must serve them worse than
what was found. They see no texture, no colour and no network, so they say nothing about people.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xvcore.parameters import check, parameter
from xvcore.study.method.question import NONE

NOTHING = ""
"""The part of a picture that has none."""


@dataclass(frozen=True, slots=True)
class Person:
    """Answers questions from the parts on their pictures."""

    error: float = parameter(
        0.0, "Share of the pictures whose part is taken for another one, drawn evenly from all the others", ge=0, le=1
    )
    least_share: float = parameter(
        0.5, "Share of the pictures from which a part is what they have in common", ge=0, le=1
    )

    def __post_init__(self) -> None:
        check(self)

    def answer(  # noqa: PLR0913
        self,
        task: str,
        sides: Sequence[str],
        parts: Sequence[Sequence[str]],
        options: Sequence[str],
        *,
        names: Sequence[str],
        generator: np.random.Generator,
    ) -> str:
        """Return one of the options, or of a question without any a name.

        Parameters
        ----------
        task : what is asked; explanations have no parts, and a distinction is guessed
        sides, parts : of each picture what it is there for, and which parts it contains, the foremost first
        options : answers to choose from
        names : of all parts there are: what a part is taken for
        generator : of errors and of guesses
        """
        if task == "distinction" or not any(parts):
            return str(generator.choice([*(options or [NONE])]))
        seen = [self._seen(each, names, generator) for each in parts]
        if task == "name":
            return self._name(seen, options)
        if task == "intruder":
            return options[_odd_one(seen, generator)]
        return options[_more_like_the_first(sides, seen, generator)]

    def _seen(self, parts: Sequence[str], names: Sequence[str], generator: np.random.Generator) -> str:
        true = parts[0] if parts else NOTHING
        if generator.random() >= self.error:
            return true
        others = [each for each in (*names, NOTHING) if each != true]
        return str(generator.choice(others)) if others else true

    def _name(self, seen: Sequence[str], options: Sequence[str]) -> str:
        counts = Counter(each for each in seen if each != NOTHING)
        if not counts:
            return NONE
        name, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
        is_known = not options or name in options
        return name if is_known and count / len(seen) >= self.least_share else NONE


def _odd_one(seen: Sequence[str], generator: np.random.Generator) -> int:
    """Return the place of the picture whose part fewest have; among equals any."""
    counts = Counter(seen)
    fewest = min(counts.values())
    places = [place for place, each in enumerate(seen) if counts[each] == fewest]
    return int(generator.choice(places))


def _more_like_the_first(sides: Sequence[str], seen: Sequence[str], generator: np.random.Generator) -> int:
    """Return which query's part is more frequent in the first group than in the second; of equals either."""
    high, low, queries = (
        [part for side, part in zip(sides, seen, strict=True) if side == each] for each in ("max", "min", "query")
    )
    scores = [high.count(part) / len(high) - low.count(part) / len(low) for part in queries]
    best = [place for place, score in enumerate(scores) if score == max(scores)]
    return int(generator.choice(best))
