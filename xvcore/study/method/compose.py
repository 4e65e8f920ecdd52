"""From subjects to questions: which pictures are shown, and where the right answer stands.

Everything is drawn from a seed. Right answers are balanced: of the questions of a task, each place holds the right one
equally often, up to one.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from xvcore.parameters import check, parameter
from xvcore.study.method.common_part import common_parts
from xvcore.study.method.drawn_shapes import SHAPES, shape
from xvcore.study.method.question import (
    GROUPS,
    NONE,
    Group,
    Picture,
    Placed,
    Question,
    Role,
    Subject,
    Task,
)

SIDES = ("a", "b")
"""The two queries of a 2-AFC question, as answers."""


@dataclass(frozen=True, slots=True)
class Composer:
    """Makes questions of subjects."""

    n_references: int = parameter(
        9,
        "Pictures of either side of a 2-AFC question (Zimmermann et al. 2023: 9); fewer where a subject has fewer",
        ge=1,
    )
    n_named: int = parameter(9, "Most pictures of which the common part is asked", ge=2)
    n_items: int = parameter(
        5, "Pictures of an intruder question, the intruder among them; ours (ACE does not say)", ge=3
    )
    least_share: float = parameter(
        0.5, "Share of the pictures that contain a part from which it is what they have in common; ours", ge=0.01, le=1
    )
    found_share: float = parameter(
        0.5, "Share of the questions of a task that is about what was found; the rest is about its controls", ge=0, le=1
    )
    catch_share: float = parameter(
        0.25,
        "Share of all questions that are catch trials (Zimmermann et al. 2023: about 3 to 9 main ones)",
        ge=0,
        le=0.9,
    )
    n_practice: int = parameter(2, "Questions with feedback before each task, of drawn shapes", ge=0)

    def __post_init__(self) -> None:
        check(self)

    def tasks(
        self, subjects: Sequence[Subject], wanted: dict[Task, int], *, seed: int, names: Sequence[str]
    ) -> list[Question]:
        """Return the questions of the tasks that ask about pictures of subjects: practice, main ones, catch trials.

        Fewer than wanted where there are too few subjects for so many questions that are not the same.

        Parameters
        ----------
        subjects : found ones and controls
        wanted : main questions and catch trials of each task together; a task that is missing is not asked
        seed : of all that is drawn
        names : of the annotated parts, the answers to a question of a name; empty where nothing is annotated
        """
        questions: list[Question] = []
        for place, (task, number) in enumerate(wanted.items()):
            generator = np.random.default_rng([seed, place])
            n_catch = round(number * self.catch_share)
            chosen = list(self._chosen(task, subjects, number - n_catch, generator))
            balanced = _balance(len(chosen), self._n_places(task), generator)
            main = [
                self._question(task, "main", subject, where, generator, names)
                for subject, where in zip(chosen, balanced, strict=True)
            ]
            asked = [*self._practice(task, generator), *main, *self._catch(task, subjects, n_catch, generator)]
            questions += [dataclasses.replace(each, block=task) for each in asked]
        return numbered(questions)

    def caught(self, task: Task, subjects: Sequence[Subject], number: int, *, seed: int) -> list[Question]:
        """Return so many catch trials to be asked among the questions of a task."""
        made = self._catch(task, subjects, number, np.random.default_rng(seed))
        return [dataclasses.replace(each, block=task) for each in made]

    def _n_places(self, task: Task) -> int:
        return {"intruder": self.n_items, "two_afc": 2}.get(task, 1)

    def is_fit(self, task: Task, subject: Subject) -> bool:
        """Say whether a subject has pictures enough for a task."""
        n, others = len(subject.members), len(subject.others)
        if task == "name":
            return n >= 2
        if task == "intruder":
            return n >= self.n_items - 1 and others >= 1
        return n >= 3 and others >= 3

    def _chosen(
        self, task: Task, subjects: Sequence[Subject], number: int, generator: np.random.Generator
    ) -> Iterator[Subject]:
        """Yield subjects, those of each group in the share wanted, and of each network and scope in turn."""
        fit = {
            group: [each for each in subjects if each.group == group and self.is_fit(task, each)] for group in GROUPS
        }
        controls = [group for group in GROUPS if group != "found" and fit[group]]
        n_found = round(number * self.found_share) if controls else number
        shares = {"found": n_found} | {
            group: (number - n_found + place) // len(controls) for place, group in enumerate(controls)
        }
        for group, n in shares.items():
            rows = _in_turn(fit[group], generator)  # type: ignore[index]
            # A name is asked once of a subject; other tasks draw their pictures anew.
            again = rows if task == "name" or not rows else itertools.cycle(rows)
            yield from itertools.islice(again, n)

    def _question(  # noqa: PLR0913, PLR0917
        self,
        task: Task,
        role: Role,
        subject: Subject,
        where: int,
        generator: np.random.Generator,
        names: Sequence[str] = (),
    ) -> Question:
        make = {"name": self._name, "intruder": self._intruder, "two_afc": self._two_afc}[task]
        options, truth, pictures = make(subject, where, generator, names)
        return Question("", task, role, subject, subject.group, "", options, truth, tuple(pictures))

    def _name(
        self, subject: Subject, _where: int, generator: np.random.Generator, names: Sequence[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...], list[Placed]]:
        shown = _drawn(subject.members, self.n_named, generator)
        truth, _ = common_parts([each.parts for each in shown], least_share=self.least_share)
        options = (*names, NONE) if names else ()
        return options, truth if names else (), [Placed("item", each) for each in shown]

    def _intruder(
        self, subject: Subject, where: int, generator: np.random.Generator, _names: Sequence[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...], list[Placed]]:
        shown = _drawn(subject.members, self.n_items - 1, generator)
        shown.insert(where, _drawn(subject.others, 1, generator)[0])
        options = tuple(str(place + 1) for place in range(self.n_items))
        return options, (options[where],), [Placed("item", each) for each in shown]

    def _two_afc(
        self, subject: Subject, where: int, generator: np.random.Generator, _names: Sequence[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...], list[Placed]]:
        n = min(self.n_references, len(subject.members) - 1, len(subject.others) - 1)
        query, *high = _drawn(subject.members, n + 1, generator)
        other, *low = _drawn(subject.others, n + 1, generator)
        return SIDES, (SIDES[where],), _two_sided(high, low, query, other, where)

    def _catch(
        self, task: Task, subjects: Sequence[Subject], number: int, generator: np.random.Generator
    ) -> Iterator[Question]:
        """Yield questions that whoever looks gets right: the query is one of the references (as in the published
        experiment), or all pictures but the intruder are the same one.

        A task of names or of explanations has the latter, since what is right there is not known for sure.
        """  # noqa: D205
        found = _in_turn(
            [each for each in subjects if each.group == "found" and self.is_fit("two_afc", each)], generator
        )
        places = _balance(number, 2 if task == "two_afc" else self.n_items, generator)
        for subject, where in zip(
            itertools.islice(itertools.cycle(found), number) if found else (), places, strict=False
        ):
            if task == "two_afc":
                _, _, pictures = self._two_afc(subject, where, generator, ())
                known = next(each.picture for each in pictures if each.side == "max")
                other = next(each.picture for each in pictures if each.side == "min")
                queries = [dataclasses.replace(each, projection=None) for each in _at(known, other, where)]
                shown = [each for each in pictures if each.side != "query"] + [
                    Placed("query", each) for each in queries
                ]
                yield Question("", task, "catch", subject, subject.group, "", SIDES, (SIDES[where],), tuple(shown))
            else:
                same, other = _drawn(subject.members, 1, generator)[0], _drawn(subject.others, 1, generator)[0]
                items = [same] * (self.n_items - 1)
                items.insert(where, other)
                options = tuple(str(place + 1) for place in range(self.n_items))
                placed = tuple(Placed("item", each) for each in items)
                yield Question("", "intruder", "catch", subject, subject.group, "", options, (options[where],), placed)

    def _practice(self, task: Task, generator: np.random.Generator) -> Iterator[Question]:
        for number in range(self.n_practice):
            kinds = [SHAPES[int(each)] for each in generator.permutation(len(SHAPES))]
            drawn = [tuple(shape(kind, generator) for _ in range(self.n_references + 1)) for kind in kinds[:2]]
            practised: Task = "intruder" if task == "distinction" else task
            where = number % self._n_places(practised)
            subject = Subject("", "", "", "", "", "", "practice", "found", drawn[0], drawn[1])
            made = self._question(practised, "practice", subject, where, generator, SHAPES)
            yield dataclasses.replace(made, subject=None, group=None)


def distinction(
    photo: Picture,
    explanations: Sequence[Picture],
    right: int,
    *,
    subject: Subject,
    is_correct: bool,
) -> Question:
    """Return HIVE's distinction question: a photo, and an explanation of each of several classes.

    Which explains the class that the network predicts? (Kim, Meister, Ramaswamy, Fong, Russakovsky, ECCV 2022.)

    Parameters
    ----------
    photo : what the network saw
    explanations : in the order in which they are shown
    right : place of the predicted class among them
    subject : the run and class that the photo is from
    is_correct : whether the prediction is right; scores are kept apart by that
    """
    options = tuple(str(place + 1) for place in range(len(explanations)))
    pictures = (Placed("photo", photo), *(Placed("item", each) for each in explanations))
    prediction = "correct" if is_correct else "wrong"
    truth = (options[right],)
    return Question("", "distinction", "main", subject, "found", prediction, options, truth, pictures, "distinction")


def numbered(questions: Sequence[Question]) -> list[Question]:
    """Return the questions with their ids, which say nothing of what they are."""
    digits = len(str(len(questions)))
    return [dataclasses.replace(each, question_id=f"q{place + 1:0{digits}d}") for place, each in enumerate(questions)]


def controls(
    found: Subject,
    pool: Sequence[Picture],
    raw: tuple[Sequence[Picture], Sequence[Picture]],
    generator: np.random.Generator,
) -> Iterator[Subject]:
    """Yield the controls of a subject: as many patches at random of all that was found, and boxes anywhere.

    Parameters
    ----------
    found : the subject
    pool : patches of every subject of its scope, its own among them
    raw : boxes of its sizes at random places in its images, and of the other side's likewise: were that side what was
        found, ground would be told from parts; none where the images cannot be had any more
    generator : of what is drawn
    """
    drawn = _drawn(pool, len(found.members), generator)
    rest = [each for each in pool if not any(each is one for one in drawn)]
    groups: list[tuple[Group, Sequence[Picture], Sequence[Picture]]] = [
        ("random_cluster", drawn, rest),
        ("raw_region", *raw),
    ]
    for group, members, others in groups:
        if len(members) > 1:
            yield dataclasses.replace(
                found,
                subject_id=f"{found.subject_id}-{group.partition('_')[0]}",
                label=f"{group.replace('_', ' ')} beside {found.label}",
                group=group,
                members=tuple(members),
                others=tuple(others),
                control_of=found.subject_id,
            )


def _two_sided(
    high: Sequence[Picture], low: Sequence[Picture], query: Picture, other: Picture, where: int
) -> list[Placed]:
    return [
        *(Placed("max", each) for each in high),
        *(Placed("min", each) for each in low),
        *(Placed("query", dataclasses.replace(each, projection=None)) for each in _at(query, other, where)),
    ]


def _at(right: Picture, wrong: Picture, where: int) -> tuple[Picture, Picture]:
    return (right, wrong) if where == 0 else (wrong, right)


def _drawn(items: Sequence[Picture], number: int, generator: np.random.Generator) -> list[Picture]:
    """Return so many items at random, or all, of different images as far as there are enough."""
    order = [items[int(each)] for each in generator.permutation(len(items))]
    seen: set[tuple[str, str]] = set()
    first: list[Picture] = []
    again: list[Picture] = []
    for each in order:
        key = (each.class_id, each.image_id)
        (again if key in seen else first).append(each)
        seen.add(key)
    return [*first, *again][:number]


def _balance(number: int, n_places: int, generator: np.random.Generator) -> list[int]:
    """Return places in an order drawn at random, each as often as the others up to one."""
    places = np.resize(generator.permutation(n_places), number)
    return [int(each) for each in generator.permutation(places)]


def _in_turn(subjects: Sequence[Subject], generator: np.random.Generator) -> list[Subject]:
    """Return subjects in an order drawn at random, in which networks, and then scopes, take turns."""
    by_model: dict[tuple[str, str], dict[str, list[Subject]]] = {}
    for each in subjects:
        by_model.setdefault((each.run_id, each.model), {}).setdefault(each.scope, []).append(each)
    rows = [
        _round(generator, [_shuffled(of_scope, generator) for of_scope in scopes.values()])
        for scopes in by_model.values()
    ]
    return _round(generator, rows)


def _round(generator: np.random.Generator, rows: Sequence[Sequence[Subject]]) -> list[Subject]:
    order = [rows[int(each)] for each in generator.permutation(len(rows))]
    return [each for column in itertools.zip_longest(*order) for each in column if each is not None]


def _shuffled(items: Sequence[Subject], generator: np.random.Generator) -> list[Subject]:
    return [items[int(each)] for each in generator.permutation(len(items))]
