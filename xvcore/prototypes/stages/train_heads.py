"""Heads of prototypes on the cached features; features of all classes → heads, head_epochs, and files of weights."""

import hashlib
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xvcore.errors import XvError
from xvcore.keys import digest, file_name
from xvcore.ops.mean_head import MeanHead, watched
from xvcore.parameters import as_dict
from xvcore.prototypes.method.fit import Features, Fit, Probe, started
from xvcore.prototypes.method.head import Head, InfoDisent
from xvcore.prototypes.method.measures import sparsity
from xvcore.prototypes.networks import NAME, check_name, facts_of
from xvcore.prototypes.settings import Disentangle
from xvcore.prototypes.stages.cache import cache_id, features_of, map_of
from xvcore.runs.images import records
from xvcore.runs.run import Run
from xvcore.runs.train import unfinished
from xvcore.store.write import put

logger = logging.getLogger(__name__)
ACTIVE = 0.2
"""Contributions that SIDE counts are above it, in units of the logit."""
EVERY = 5
"""Epochs between two states that are kept of a training."""
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Data:
    """The images of all classes.

    Parameters
    ----------
    class_ids : in the dataset's order; their places are the labels
    image_ids : of each image
    features : of all images
    right : whether the network below puts an image into its class; NaN where no output stands for it
    identity : digest of all of them
    """

    class_ids: list[str]
    image_ids: list[str]
    features: Features
    right: np.ndarray
    identity: str


def train_heads(run: Run[Disentangle]) -> None:
    """Train a head and a probe for each seed, unless that was done before from the same features.

    Raises
    ------
    XvError
        Fewer than two classes have images, the network cannot be built from its name, or it does not end in a mean
        over positions and a linear layer where its predictions are to be preserved.
    """
    check_name(run.classifier)
    data = data_of(run)
    for seed in range(run.settings.seed, run.settings.seed + run.settings.n_trainings):
        _Training(run, data, seed).do()


@dataclass(frozen=True)
class _Training:
    """A training of the run."""

    run: Run[Disentangle]
    data: Data
    seed: int

    @property
    def name(self) -> str:
        return f"seed-{self.seed}"

    @property
    def file(self) -> str:
        return f"heads/{file_name(self.run.run_id)}/{self.name}.pt"

    @property
    def made_from(self) -> str:
        return digest([self.data.identity, as_dict(self.run.settings), self.seed, self.run.settings.version], 16)

    def do(self) -> None:
        if self._is_done():
            return
        parts = split(
            self.data.image_ids,
            self.data.features.labels,
            self.seed,
            self.run.settings.held_out,
            self.run.settings.tested,
        )
        if not len(parts[0]):
            n = len(self.data.image_ids)
            raise XvError(f"none of {n} images is left to train on: held_out and tested take whole classes")
        scale = self.data.features.of(parts[0]).root_mean_square
        epochs: list[dict[str, Any]] = []
        device = self.run.classifier.device
        means = Features(self.data.features.maps.float().mean(dim=1, keepdim=True).half(), self.data.features.labels)
        probe = Probe(means.maps.shape[2], len(self.data.class_ids)).to(device)
        probe.scale.fill_(scale)
        fit = Fit(probe, self.run.settings.recipe, self.seed)
        epochs += self._rows("probe", fit(means.of(parts[0]), means.of(parts[1])))
        rows = [self._row("probe", parts, [fit.measured(means.of(part))[1] for part in parts], fit.best_epoch)]
        if self.run.settings.head.kind == "preserving":
            head, found = self._preserving(parts[0])
            epochs += found
        else:
            head, found, row = self._trained(parts, scale)
            epochs, rows = [*epochs, *found], [*rows, row]
        data, head_facts = self._written(head)
        own = [self._backbone(part) for part in parts]
        backbone = self._row("backbone", parts, own, None)
        if self.run.settings.head.kind == "preserving":
            rows.append({**self._row("head", parts, own, None), "orthogonality": orthogonality(head)})
        rows[-1] |= {"file": self.file, "sha256": hashlib.sha256(data).hexdigest()}
        put(self.run.store.place, self.file, data)
        self.run.store.write("head_epochs", self.run.run_id, self.name, epochs)
        self.run.store.write("heads", self.run.run_id, self.name, [backbone, *rows])
        self.run.store.place.remove(self._unfinished)
        logger.info(
            "%s: %s", head_facts, "; ".join(f"{row['kind']} {row['accuracy_tested']}" for row in [backbone, *rows])
        )

    def _trained(
        self, parts: tuple[Tensor, Tensor, Tensor], scale: float
    ) -> tuple[Head, list[dict[str, Any]], dict[str, Any]]:
        features, recipe = self.data.features, self.run.settings.recipe
        head = Head(features.maps.shape[2], len(self.data.class_ids), self.run.settings.head)
        head = head.to(self.run.classifier.device)
        started(head, scale, self.seed)
        fit = Fit(head, recipe, self.seed)
        before = self.run.store.place.read(self._unfinished)
        state = None if before is None else unfinished(before, self._unfinished, head.scale.device)
        if state is not None and state.get("made_from") == self.made_from:
            fit.go_on_from(state)
            logger.info("%s: going on after epoch %d of %d", self.name, len(fit.history), recipe.epochs)

        def keep(fit: Fit) -> None:
            if len(fit.history) % EVERY == 0:
                put(self.run.store.place, self._unfinished, _bytes({"made_from": self.made_from, **fit.state()}))

        train, held_out, tested = (features.of(part) for part in parts)
        epochs = self._rows("head", fit(train, held_out, keep))
        accuracies = [fit.measured(part)[1] for part in (train, held_out, tested)]
        row = self._row("head", parts, accuracies, fit.best_epoch)
        row |= {"orthogonality": orthogonality(head), "n_active": n_active(head, tested)}
        return head, epochs, row

    def _preserving(self, chosen: Tensor) -> tuple[Head, list[dict[str, Any]]]:
        """Return a head with the network's own classifier and a rotation for pure prototypes."""
        run = self.run
        end = mean_head(run)
        if end.weight is None:
            raise XvError(f"{run.classifier.name} ends in a mean of its class maps: there are no channels to turn")
        head = Head(end.weight.shape[1], end.weight.shape[0], run.settings.head)
        with torch.no_grad():
            head.raw.copy_(end.weight)
            head.bias.copy_(torch.zeros_like(head.bias) if end.bias is None else end.bias)
        head = head.to(run.classifier.device)
        found = run.settings.purity(head.rotation, self.data.features.maps[chosen], self.seed)
        epochs = [{"kind": "rotation", "epoch": number, "purity": value} for number, value in enumerate(found, start=1)]
        return head.eval(), epochs

    def _written(self, head: Head) -> tuple[bytes, str]:
        """Return the bytes of the file of weights, and its name."""
        classifier = self.run.classifier
        network = InfoDisent(classifier.network, map_of(self.run), head)
        state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
        facts = {
            "architecture": NAME,
            "outputs": self._outputs(head),
            NAME: facts_of(classifier, map_of(self.run), head.options),
            "dataset": self.run.dataset.name,
            "split": self.run.dataset.split,
            "seed": self.seed,
            "made_from": self.made_from,
        }
        return _bytes({"state_dict": state, "xv": facts}), self.file

    def _outputs(self, head: Head) -> list[str]:
        if head.is_preserving:
            outputs = self.run.classifier.outputs or ()
            return [f"{each.wnid} {each.name}" if each.wnid else each.name for each in outputs]
        infos = [self.run.class_info(each) for each in self.data.class_ids]
        names = [info.class_name for info in infos]
        is_clear = len(set(names)) == len(names)
        named = [info.class_name if is_clear else info.class_id for info in infos]
        return [
            f"{info.wnid} {name}" if info.wnid and info.wnid != name else name
            for info, name in zip(infos, named, strict=True)
        ]

    def _row(
        self, kind: str, parts: tuple[Tensor, ...], accuracies: Sequence[float | None], best_epoch: int | None
    ) -> dict[str, Any]:
        names = ("train", "held_out", "tested")
        return {
            "training": self.name,
            "kind": kind,
            **{f"n_{name}": len(part) for name, part in zip(names, parts, strict=True)},
            **{f"accuracy_{name}": value for name, value in zip(names, accuracies, strict=True)},
            "best_epoch": None if best_epoch is None else best_epoch + 1,
            "made_from": self.made_from,
        }

    def _rows(self, kind: str, history: list[dict[str, float]]) -> list[dict[str, Any]]:
        return [{"kind": kind, "epoch": number, **row} for number, row in enumerate(history, start=1)]

    def _backbone(self, part: Tensor) -> float | None:
        right = self.data.right[part.numpy()]
        return float(right.mean()) if len(right) and not np.isnan(right).any() else None

    @property
    def _unfinished(self) -> str:
        return f"heads/{file_name(self.run.run_id)}/.{self.name}.training"

    def _is_done(self) -> bool:
        store, run_id = self.run.store, self.run.run_id
        if not (store.has("heads", run_id, self.name) and store.has("head_epochs", run_id, self.name)):
            return False
        head = _head(self.run, self.name)
        return head["made_from"] == self.made_from and _has_file(self.run, head)


def lost_heads(run: Run[Disentangle]) -> list[tuple[str, str]]:
    """Return table and training of each head whose file of weights is not there, or is not what was written."""
    names = run.store.classes_of("heads", run.run_id)
    whole = [name for name in names if run.store.n_rows("heads", run.run_id, name) is not None]
    return [("heads", name) for name in whole if not _has_file(run, _head(run, name))]


def _head(run: Run[Disentangle], training: str) -> dict[str, Any]:
    rows = records(run.store.read("heads", run.run_id, training))
    (head,) = (row for row in rows if row["kind"] == "head")
    return head


def _has_file(run: Run[Disentangle], head: dict[str, Any]) -> bool:
    data = run.store.place.read(head["file"])
    return data is not None and hashlib.sha256(data).hexdigest() == head["sha256"]


def split(
    image_ids: list[str], labels: Tensor, seed: int, held_out: float, tested: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the places of the images that are trained on, held out, and tested: of each class the same shares.

    Which image goes where is decided by its id and the seed alone, among the images of its class.
    """
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label in labels.unique().tolist():
        own = (labels == label).nonzero()[:, 0].tolist()
        own.sort(key=lambda place: digest([seed, image_ids[place]], 16))
        n_tested, n_held_out = round(tested * len(own)), round(held_out * len(own))
        parts[2].extend(own[:n_tested])
        parts[1].extend(own[n_tested : n_tested + n_held_out])
        parts[0].extend(own[n_tested + n_held_out :])
    train, kept, rest = (torch.tensor(sorted(part), dtype=torch.long) for part in parts)
    return train, kept, rest


def mean_head(run: Run[Any]) -> MeanHead:
    """Return the mean over positions and the linear layer behind it in which the network of a run ends.

    Raises
    ------
    XvError
        It ends otherwise, or takes the mean of another map than its last one.
    """
    height, width = run.size
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)).to(run.classifier.device)
    with torch.no_grad():
        maps, found = map_of(run).maps(
            run.classifier.network, lambda given: watched(run.classifier.logits, given), images
        )
    end: MeanHead = found
    if maps.shape != end.maps.shape or (maps - end.maps).abs().max() > TOLERANCE * maps.abs().max():
        raise XvError(f"{run.classifier.name} takes the mean of another map than {map_of(run).module}")
    return end


@torch.no_grad()
def orthogonality(head: Head) -> float:
    """Return the largest element of ``U Uᵀ - I``."""
    matrix = head.eval().rotation.matrix()
    return float((matrix @ matrix.mT - torch.eye(len(matrix)).to(matrix)).abs().max())


@torch.no_grad()
def n_active(head: Head, features: Features) -> float | None:
    """Return the mean number of contributions above :data:`ACTIVE` to the predictions for features."""
    counts = []
    for maps in features.maps.split(64):
        decision = head.eval().decision(maps.to(head.scale.device).float())
        targets = decision.logits.argmax(dim=1)
        logits = decision.logits.gather(1, targets[:, None])[:, 0]
        counts.append(sparsity(decision.contributions(targets), logits, ACTIVE).above.float())
    return float(torch.cat(counts).mean()) if len(features) else None


def data_of(run: Run[Disentangle]) -> Data:
    """Return the images of all classes that are done.

    Raises
    ------
    XvError
        Fewer than two classes have images.
    """
    done = set(run.store.classes_of("predictions", run.run_id))
    class_ids: list[str] = []
    image_ids: list[str] = []
    maps, digests, right = [], [], []
    labels: list[int] = []
    for info in run.dataset.classes:
        if info.class_id not in done:
            continue
        names, values, sums = features_of(run, info.class_id)
        if not names:
            continue
        labels += [len(class_ids)] * len(names)
        class_ids.append(info.class_id)
        image_ids += names
        maps.append(values)
        digests += sums
        right.append(_right(run, info.class_id, names))
    if len(class_ids) < 2:
        raise XvError(f"{len(class_ids)} classes have images: expected 2 or more to tell apart")
    features = Features(torch.from_numpy(np.concatenate(maps)), torch.tensor(labels))
    identity = digest([cache_id(run), class_ids, image_ids, digests], 16)
    return Data(class_ids, image_ids, features, np.concatenate(right), identity)


def _right(run: Run[Any], class_id: str, names: list[str]) -> np.ndarray:
    """Return whether each image is put into its class, NaN where no output of the network below stands for it."""
    rows: pd.DataFrame = run.store.read("predictions", run.run_id, class_id, columns=["image_id", "correct"])
    is_right = {row["image_id"]: np.nan if pd.isna(row["correct"]) else float(row["correct"]) for row in records(rows)}
    return np.array([is_right[name] for name in names])


def _bytes(content: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
