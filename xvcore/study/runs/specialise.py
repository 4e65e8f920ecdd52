"""Do summaries help their network? What classifiers of their regions add to its scores, on images held out."""

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata

from xvcore.comparison.method.resampling import mean_of
from xvcore.data import Batch, Dataset, load_batches, manifest, open_dataset
from xvcore.errors import ParameterError
from xvcore.models import laid_out
from xvcore.ops.feature_layers import last_maps, tapped
from xvcore.ops.mcnemar import mcnemar
from xvcore.query import table
from xvcore.runs.images import COPY, batches, records
from xvcore.runs.run import Run
from xvcore.store import Store
from xvcore.study.method.specialise import (
    RegionClassifiers,
    Stack,
    box_means,
    discriminants,
    folds,
    log_loss,
)
from xvcore.study.runs.build import judged_runs
from xvcore.study.runs.reopened import reopened
from xvcore.study.runs.score import judged_ids, the_study
from xvcore.study.runs.subjects import subject_id_of, summaries
from xvcore.study.settings import Specialise
from xvcore.study.tables import ADDED
from xvcore.visual_summaries.settings import VisualSummaries

logger = logging.getLogger(__name__)
SUMMARIES, RANDOM, WHOLE = ADDED
NOTHING = "none"
EVERYTHING = (0.0, 0.0, 1.0, 1.0)

Box = tuple[float, float, float, float]
"""x, y, w, h as shares of the image's width and height."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a classifier is made of: boxes of training images of a class.

    Parameters
    ----------
    owner : number of the class
    boxes : number of the training image, and the box
    subject_id : of the summary; empty of a control
    label : in words
    """

    owner: int
    boxes: tuple[tuple[int, Box], ...]
    subject_id: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What the network and classifiers say of images.

    Parameters
    ----------
    logits : of the classes of the run, a row an image
    said : by each kind's classifiers
    """

    logits: np.ndarray
    said: dict[str, np.ndarray]


@dataclass(slots=True)
class Images:
    """Images of the classes of a run, and what is known of them.

    Parameters
    ----------
    ids : class and image id
    labels : number of the class
    left_out : what does not take part, with the reason
    """

    ids: list[tuple[str, str]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)


def specialise_study(
    store: Store, settings: Specialise, *, study_id: str | None = None, device: str = "auto"
) -> pd.DataFrame:
    """Add classifiers of the regions of summaries to their network's scores, and return rows of ``specialisations``.

    For every run of visual summaries that a study is about. Classifiers, and their weight, come of the run's own
    images; they are judged by images that it has not seen, and that are no copies of those. Right is the class of the
    run with the highest score: of all outputs, those to which something can be added would be at an advantage. Two
    controls go the same way: boxes of equal sizes at random places of the same images, and whole images.

    Parameters
    ----------
    store : with the study; ``specialisations``, ``specialised_images`` and ``specialised_parts`` are written there
    settings : every parameter
    study_id : of the study; ``None``: the only one of the store
    device : where the networks run

    Raises
    ------
    StoreError
        No such study, or a run that cannot be opened again.
    ParameterError
        The study is about no visual summaries, a run has no accepted ones or fewer than two classes, or no image is
        held out.
    """
    study = the_study(store, study_id)
    run_id = str(study["run_id"])
    judged = [row for row in judged_runs(store, judged_ids(study)) if row["method"] == VisualSummaries.method]
    if not judged:
        raise ParameterError(f"study {run_id} is about no run of {VisualSummaries.method}: nothing to specialise by")
    for row in judged:
        _Specialisation(store, row, settings, device).write(run_id)
    store.publish(run_id)
    return table(store, "specialisations", run_id=run_id)


class _Specialisation:
    """One run: its classes, images, boxes and the network's maps."""

    def __init__(self, store: Store, row: Mapping[str, Any], settings: Specialise, device: str) -> None:
        self._store, self._row, self._settings = store, row, settings
        self._run: Run[Any] = reopened(store, row, device=device)
        self._classes = [str(each) for each in row["class_ids"]]
        if len(self._classes) < 2:
            raise ParameterError(f"run {row['run_id']} is of one class: expected two or more to tell apart")
        self._targets = [self._run.target(each) for each in self._classes]
        classifier = self._run.classifier
        example = torch.zeros(1, 3, *self._run.size, device=classifier.device)
        self._layer = settings.layer or last_maps(classifier.network, classifier.preprocessing.normalise(example))
        self._seen: set[bytes] = set()

    def write(self, study_id: str) -> None:
        """Learn, judge, and write the tables of a study."""
        run_id = str(self._row["run_id"])
        training, features, background, parts = self._learned_from()
        learned = self._learned(training, features, background, parts)
        held, told = self._judged({kind: classifiers for kind, (classifiers, _) in learned.items()})
        labels = np.array(held.labels)
        alone = told.logits
        scores = {kind: stack(alone, told.said[kind]) for kind, (_, stack) in learned.items()}
        first = next(iter(learned.values()))[1].alone
        rows = [
            {
                **self._keys(),
                "added": kind,
                "layer": self._layer,
                "held_out": self._settings.held_out or str(self._row["dataset"]),
                "n_classes": len(self._classes),
                "n_specialised": len({each.owner for each in parts[kind]}),
                "n_parts": len(parts[kind]),
                "n_boxes": sum(len(each.boxes) for each in parts[kind]),
                "n_training": len(training.labels),
                "n_held_out": len(labels),
                "n_left_out": len(held.left_out),
                "temperature": learned[kind][1].temperature,
                "weight": learned[kind][1].weight,
                **_gain(alone, scores[kind], labels, self._settings.seed),
                "log_loss_alone": float(log_loss(first * alone, labels).mean()),
                "log_loss": float(log_loss(scores[kind], labels).mean()),
                **({} if kind == SUMMARIES else _above(scores[SUMMARIES], scores[kind], labels, self._settings.seed)),
            }
            for kind in learned
        ]
        self._store.write("specialisations", study_id, run_id, rows)
        images = list(self._image_rows(held, {NOTHING: first * alone, **scores}))
        self._store.write("specialised_images", study_id, run_id, images)
        self._store.write("specialised_parts", study_id, run_id, list(self._part_rows(parts, told, labels)))

    def _keys(self) -> dict[str, Any]:
        named = {"judged_run_id": "run_id", "judged_model": "model", "judged_method": "method"}
        return {name: self._row[column] for name, column in named.items()}

    def _learned_from(
        self,
    ) -> tuple[Images, dict[tuple[int, Box], np.ndarray], dict[str, list[tuple[int, Box]]], dict[str, list[Part]]]:
        """Return training images, features of all boxes, the boxes that stand for other classes, and the parts."""
        training = self._training_images()
        number = {each: place for place, each in enumerate(training.ids)}
        parts, sizes = self._parts(number)
        generator = np.random.default_rng([self._settings.seed, 5])
        elsewhere = {
            RANDOM: [Part(each.owner, tuple(_anywhere(each.boxes, generator))) for each in parts],
            WHOLE: [
                Part(owner, tuple((int(at), EVERYTHING) for at in np.flatnonzero(np.array(training.labels) == owner)))
                for owner in range(len(self._classes))
            ],
        }
        drawn = [
            (image, sizes[int(generator.integers(len(sizes)))])
            for image in range(len(training.ids))
            for _ in range(self._settings.n_background)
        ]
        ground = list(_anywhere(drawn, generator))
        kinds = {SUMMARIES: parts, **elsewhere}
        others = {
            kind: [box for each in of_kind for box in each.boxes] + ([] if kind == WHOLE else ground)
            for kind, of_kind in kinds.items()
        }
        wanted: dict[int, set[Box]] = {}
        for image, box in (each for boxes in others.values() for each in boxes):
            wanted.setdefault(image, set()).add(box)
        features: dict[tuple[int, Box], np.ndarray] = {}
        for (class_id, image_id), maps, _ in self._looked_at(self._own_batches(training)):
            image = number[class_id, image_id]
            boxes = sorted(wanted.get(image, ()))
            if boxes:
                for box, mean in zip(boxes, box_means(maps, np.array(boxes)), strict=True):
                    features[image, box] = mean
        return training, features, others, kinds

    def _training_images(self) -> Images:
        """Return the images that the run has looked at, wrongly predicted ones among them, copies not."""
        found = Images()
        columns = ["class_id", "image_id", "error", "skipped"]
        seen = table(self._store, "predictions", run_id=str(self._row["run_id"]), columns=columns)
        is_used = seen["error"].isna() & ~seen["skipped"].astype("string").str.startswith(COPY).fillna(value=False)
        for row in records(seen[is_used].sort_values(["class_id", "image_id"])):
            found.ids.append((str(row["class_id"]), str(row["image_id"])))
            found.labels.append(self._classes.index(str(row["class_id"])))
        return found

    def _parts(self, number: Mapping[tuple[str, str], int]) -> tuple[list[Part], list[Box]]:
        """Return a part of each accepted summary, and the boxes of all of them."""
        run_id = str(self._row["run_id"])
        height, width = self._run.size
        parts = []
        for found in summaries(self._store, run_id):
            boxes = tuple(
                (
                    number[found.class_id, str(row["image_id"])],
                    (row["x"] / width, row["y"] / height, row["w"] / width, row["h"] / height),
                )
                for row in found.rows
            )
            if boxes:
                owner = self._classes.index(found.class_id)
                identity = subject_id_of(run_id, found.scope, found.label)
                parts.append(Part(owner, boxes, identity, f"{found.label} of {found.class_id}"))
        if not parts:
            raise ParameterError(f"run {run_id} has no accepted summaries: nothing to specialise by")
        return parts, [box for each in parts for _, box in each.boxes]

    def _learned(
        self,
        training: Images,
        features: Mapping[tuple[int, Box], np.ndarray],
        others: Mapping[str, Sequence[tuple[int, Box]]],
        parts: Mapping[str, Sequence[Part]],
    ) -> dict[str, tuple[RegionClassifiers, Stack]]:
        """Return classifiers of all training images, and how they are added: by what folds say of images not theirs."""
        labels = np.array(training.labels)
        fold = folds(labels, self._settings.n_folds, np.random.default_rng([self._settings.seed, 6]))

        def made(kind: str, left_out: int) -> RegionClassifiers:
            positive = [
                _stacked([features[box] for box in each.boxes if fold[box[0]] != left_out]) for each in parts[kind]
            ]
            of_class = {
                owner: _stacked(
                    [features[box] for box in others[kind] if fold[box[0]] != left_out and labels[box[0]] != owner]
                )
                for owner in {each.owner for each in parts[kind]}
            }
            sides = np.array([np.median([box[2:] for _, box in each.boxes], axis=0) for each in parts[kind]])
            negative = [of_class[each.owner] for each in parts[kind]]
            return discriminants(positive, negative, sides, shrinkage=self._settings.shrinkage)

        of_folds = {kind: [made(kind, each) for each in range(self._settings.n_folds)] for kind in parts}
        number = {each: place for place, each in enumerate(training.ids)}
        logits = np.zeros((len(labels), len(self._classes)))
        said = {kind: np.full((len(labels), len(of_kind)), np.nan) for kind, of_kind in parts.items()}
        for names, maps, scores in self._looked_at(self._own_batches(training)):
            image = number[names]
            logits[image] = scores
            for kind in parts:
                said[kind][image] = of_folds[kind][fold[image]].strongest(maps)
        return {
            kind: (made(kind, -1), Stack.fitted(logits, said[kind], labels, np.array([each.owner for each in of_kind])))
            for kind, of_kind in parts.items()
        }

    def _judged(self, classifiers: Mapping[str, RegionClassifiers]) -> tuple[Images, Told]:
        """Return the images held out and what is said of them; copies of training images are none of them."""
        held = Images()
        logits: list[np.ndarray] = []
        said: dict[str, list[np.ndarray]] = {kind: [] for kind in classifiers}
        taken = set(self._seen)
        for (class_id, image_id), maps, scores in self._looked_at(self._held_out_batches(held), taken, held):
            held.ids.append((class_id, image_id))
            held.labels.append(self._classes.index(class_id))
            logits.append(scores)
            for kind, each in classifiers.items():
                said[kind].append(each.strongest(maps))
        if not held.ids:
            looked = self._settings.held_out or self._row["dataset"]
            raise ParameterError(
                f"run {self._row['run_id']} has looked at every image of its classes that {looked} has: none is held "
                "out. Make summaries of fewer (max_images), or name others by held_out=DATASET"
            )
        return held, Told(np.array(logits), {kind: np.array(rows) for kind, rows in said.items()})

    def _own_batches(self, training: Images) -> Iterator[tuple[str, Batch]]:
        for class_id in self._classes:
            wanted = [image_id for of, image_id in training.ids if of == class_id]
            for batch in batches(self._run, class_id, wanted):
                yield class_id, batch

    def _held_out_batches(self, held: Images) -> Iterator[tuple[str, Batch]]:
        own: Dataset = self._run.dataset
        dataset = open_dataset(self._settings.held_out) if self._settings.held_out else own
        looked = table(self._store, "predictions", run_id=str(self._row["run_id"]), columns=["class_id", "image_id"])
        for class_id in self._classes:
            ids = set(looked.loc[looked["class_id"] == class_id, "image_id"]) if dataset is own else set()
            rows = manifest(dataset, class_id, max_images=len(ids) + self._settings.most_held_out)
            fresh = [row for row in rows if row.image_id not in ids][: self._settings.most_held_out]
            pixels = self._run.classifier.preprocessing.pixels
            for batch in load_batches(dataset, fresh, pixels, batch_size=self._run.spec.batch_size):
                held.left_out += [(class_id, image_id, message) for image_id, message in batch.failures]
                yield class_id, batch

    @torch.no_grad()
    def _looked_at(
        self, found: Iterator[tuple[str, Batch]], taken: set[bytes] | None = None, held: Images | None = None
    ) -> Iterator[tuple[tuple[str, str], np.ndarray, np.ndarray]]:
        """Yield class and id, maps and scores of each image; where ``taken`` is given, of those of no pixels in it."""
        classifier = self._run.classifier
        for class_id, batch in found:
            if not batch.image_ids:
                continue
            with tapped(classifier.network, [self._layer]) as outputs:
                logits = classifier.logits(laid_out(classifier, batch.images))[:, self._targets].double().cpu().numpy()
            maps = outputs[self._layer]
            if maps.ndim != 4:
                raise ParameterError(
                    f"layer {self._layer} of {classifier.name} gives {tuple(maps.shape)}: expected "
                    "batch × features × rows × columns"
                )
            maps_of = maps.double().cpu().numpy()
            for place, image_id in enumerate(batch.image_ids):
                pixels = hashlib.sha256(batch.images[place].contiguous().numpy().tobytes()).digest()
                if taken is None or held is None:
                    self._seen.add(pixels)
                elif pixels in taken:
                    of_training = pixels in self._seen
                    held.left_out.append(
                        (class_id, image_id, f"{COPY}{'a training' if of_training else 'another'} image")
                    )
                    continue
                else:
                    taken.add(pixels)
                yield (class_id, image_id), maps_of[place], logits[place]

    def _image_rows(self, held: Images, scores: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
        labels = np.array(held.labels)
        for kind, of_kind in scores.items():
            losses, chosen = log_loss(of_kind, labels), of_kind.argmax(axis=1)
            for place, (class_id, image_id) in enumerate(held.ids):
                yield {
                    **self._keys(),
                    "class_id": class_id,
                    "image_id": image_id,
                    "added": kind,
                    "predicted": self._classes[chosen[place]],
                    "is_right": bool(chosen[place] == labels[place]),
                    "log_loss": float(losses[place]),
                }
        for class_id, image_id, reason in held.left_out:
            yield {**self._keys(), "class_id": class_id, "image_id": image_id, "added": NOTHING, "left_out": reason}

    def _part_rows(
        self, parts: Mapping[str, Sequence[Part]], told: Told, labels: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        for place, part in enumerate(parts[SUMMARIES]):
            auc = _auc(told.said[SUMMARIES][:, place], labels == part.owner)
            yield {
                **self._keys(),
                "class_id": self._classes[part.owner],
                "subject_id": part.subject_id,
                "label": part.label,
                "n_boxes": len(part.boxes),
                "auc": None if math.isnan(auc) else auc,
            }


def _gain(before: np.ndarray, after: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, Any]:
    right, now = (scores.argmax(axis=1) == labels for scores in (before, after))
    n_gained, n_lost = int((now & ~right).sum()), int((right & ~now).sum())
    return {
        "accuracy_alone": float(right.mean()),
        "accuracy": float(now.mean()),
        **_difference("gain", now, right, seed),
        "n_gained": n_gained,
        "n_lost": n_lost,
        "p_value": mcnemar(n_gained, n_lost),
    }


def _above(found: np.ndarray, control: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, Any]:
    right, other = (scores.argmax(axis=1) == labels for scores in (found, control))
    return _difference("above", right, other, seed)


def _difference(name: str, one: np.ndarray, other: np.ndarray, seed: int) -> dict[str, Any]:
    mean = mean_of(one.astype(float) - other, seed=seed)
    values = {name: mean.value, f"{name}_low": mean.low, f"{name}_high": mean.high}
    return {key: None if math.isnan(value) else value for key, value in values.items()}


def _auc(said: np.ndarray, is_own: np.ndarray) -> float:
    """Return the share of pairs of an own and another image that are ordered rightly; NaN where there are none."""
    n = int(is_own.sum())
    if not n or n == len(said) or not np.isfinite(said).all():
        return math.nan
    return float((rankdata(said)[is_own].sum() - n * (n + 1) / 2) / (n * (len(said) - n)))


def _stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    return np.array(rows) if rows else np.zeros((0, 0))


def _anywhere(boxes: Sequence[tuple[int, Box]], generator: np.random.Generator) -> Iterator[tuple[int, Box]]:
    """Yield boxes of the same sizes at random places of the same images."""
    for image, (_, _, w, h) in boxes:
        x, y = generator.random(2) * (1 - np.minimum((w, h), 1))
        yield image, (float(x), float(y), w, h)
