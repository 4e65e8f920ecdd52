"""Training a head on features that were computed once: AdamW, a cosine, label smoothing, early stopping.

The network below is frozen and nothing is augmented, so its features are the training images. An epoch is a state: a
training that is interrupted after one and goes on from what it left takes the same steps to the same weights.

To turn the features costs more than all else. So rotation and classifier are trained together in one epoch of
``rotation_every``, in large batches; in the others the classifier alone is, on values that were pooled once, which
costs next to nothing.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from xvcore.errors import XvError
from xvcore.ops.probability import ranks
from xvcore.parameters import check, parameter
from xvcore.prototypes.method.head import Head
from xvcore.prototypes.method.pooling import Pooled
from xvcore.types import Scores

START = 0.02
"""Largest weight at the start, for features of root mean square 1."""
Row = dict[str, float]
State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a head is trained; neither InfoDisent's nor SIDE's training is published: what names no source is ours."""

    epochs: int = parameter(30, "Rounds through the training images, at most", ge=1)
    batch_size: int = parameter(64, "Images of a step of the classifier", ge=1)
    learning_rate: float = parameter(3e-3, "Highest rate of the classifier; a cosine takes it to 0", ge=0)
    rotation_every: int = parameter(
        4, "Epochs for each one, the first of them, in which the rotation is trained too; 1 trains it in all", ge=1
    )
    rotation_batch: int = parameter(256, "Images of a step of the rotation", ge=1)
    rotation_rate: float = parameter(1e-3, "Highest rate of the rotation, that of EPIC's code", ge=0)
    weight_decay: float = parameter(1e-5, "Of AdamW on the classifier, as in EPIC; the rotation has none", ge=0)
    label_smoothing: float = parameter(
        0.1, "Share of the target that all classes get; with softmax outputs", ge=0, le=1
    )
    patience: int = parameter(8, "Epochs without a lower loss on the held-out part after which it ends", ge=1)
    sparsity: float = parameter(
        0.0,
        "Weight of the mean over classes of the sum of a class's weights in the loss, as SIDE asks for sparsity",
        ge=0,
    )
    per_class: int | None = parameter(
        None, "Prototypes that a class keeps, those that add most to its images; SIDE shows 5; none = all", ge=1
    )
    prune_after: float = parameter(0.5, "Share of the epochs before the others are pruned", ge=0, le=1)
    amp: bool = parameter(
        default=True, description="On a GPU: features and rotation are multiplied in bfloat16; weights stay in float32"
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class Features:
    """Maps of images, and what each image is.

    Parameters
    ----------
    maps : as they were cached, float16
    labels : class of each
    """

    maps: Float[Tensor, "images positions channels"]
    labels: Int[Tensor, " images"]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def root_mean_square(self) -> float:
        """Of all values; 1 where there are none but zeros."""
        total = sum(float(part.float().square().sum(dtype=torch.float64)) for part in self.maps.split(64))
        return math.sqrt(total / max(1, self.maps.numel())) or 1.0

    def of(self, chosen: Int[Tensor, " chosen"]) -> "Features":
        """Return some of the images."""
        return Features(self.maps[chosen], self.labels[chosen])


class Probe(nn.Module):
    """A linear classifier on the mean of the features: what they can tell without any prototypes."""

    scale: Tensor

    def __init__(self, n_channels: int, n_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_channels, n_classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, maps: Float[Tensor, "images positions channels"]) -> Scores:
        """Return the logits."""
        scores: Tensor = self.linear(maps.mean(dim=1) / self.scale)
        return scores


class Fit:
    """The training of a module on features.

    Parameters
    ----------
    module : a head, or a probe; trained in place, in the end as it was best on the held-out part
    recipe : how
    seed : of the order of images, and of what is drawn
    """

    def __init__(self, module: Head | Probe, recipe: Recipe, seed: int) -> None:
        self.module, self.recipe, self.seed = module, recipe, seed
        self._device = module.scale.device
        turning = [module.rotation.free] if isinstance(module, Head) else []
        rest = [each for each in module.parameters() if each.requires_grad and all(each is not one for one in turning)]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": rest, "lr": recipe.learning_rate, "weight_decay": recipe.weight_decay},
                *([{"params": turning, "lr": recipe.rotation_rate, "weight_decay": 0.0}] if turning else []),
            ]
        )
        self._rates = [float(group["lr"]) for group in self._optimiser.param_groups]
        self.history: list[Row] = []
        self._best: tuple[int, float, State] | None = None
        self._kept: dict[int, tuple[int, Features, Pooled]] = {}

    def __call__(
        self, train: Features, held_out: Features, after_epoch: Callable[["Fit"], None] = lambda _fit: None
    ) -> list[Row]:
        """Train the module and return a row an epoch: losses and accuracies on both parts.

        Parameters
        ----------
        train, held_out : two parts of the images; with an empty second one there is no early stopping
        after_epoch : called with this, whose state may then be kept

        Raises
        ------
        XvError
            A loss that is no longer finite.
        """
        recipe, head = self.recipe, self.module if isinstance(self.module, Head) else None
        pruned_at = round(recipe.epochs * recipe.prune_after) if head is not None and recipe.per_class else 0
        while len(self.history) < recipe.epochs and not self._has_ended(pruned_at):
            epoch = len(self.history)
            if head is not None and recipe.per_class and epoch == pruned_at:
                prune(head, train, recipe.per_class)
                self._best = None
            row = self._epoch(train, epoch)
            loss, accuracy, _ = self.measured(held_out)
            row |= {"loss_held_out": loss, "accuracy_held_out": accuracy}
            self.history.append(row)
            judged = row["loss"] if math.isnan(loss) else loss
            if not math.isfinite(judged):
                raise XvError(f"the loss is {judged} after {epoch + 1} epochs: a lower learning rate may help")
            if self._best is None or judged < self._best[1]:
                self._best = epoch, judged, copy.deepcopy(self.module.state_dict())
            after_epoch(self)
        if self._best is not None:
            self.module.load_state_dict(self._best[2])
        self.module.eval()
        return self.history

    @property
    def best_epoch(self) -> int:
        """The epoch, from 0, whose weights are kept."""
        return -1 if self._best is None else self._best[0]

    @torch.no_grad()
    def measured(self, features: Features) -> tuple[float, float, Scores]:
        """Return the mean loss, the accuracy, and the logits for features; NaN where there are none."""
        self.module.eval()
        if not len(features):
            return math.nan, math.nan, torch.zeros(0, 1)
        labels = features.labels.to(self._device)
        scores = self._scores(self._values(features)).float()
        accuracy = float((ranks(scores, labels) == 1).float().mean())
        return float(self._loss(scores, labels)), accuracy, scores

    def state(self) -> State:
        """Return all that the next epoch depends on."""
        return {
            "module": self.module.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "history": self.history,
            "best": list(self._best) if self._best else None,
        }

    def go_on_from(self, state: State) -> None:
        """Take over the state of a training that was interrupted."""
        self.module.load_state_dict(state["module"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.history = [dict(row) for row in state["history"]]
        best = state["best"]
        self._best = (int(best[0]), float(best[1]), best[2]) if best else None

    def _epoch(self, train: Features, epoch: int) -> Row:
        is_turning = self._turns and epoch % self.recipe.rotation_every == 0
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(train), generator=generator)
        values = train.maps if is_turning else self._values(train)
        batches = order.split(self.recipe.rotation_batch if is_turning else self.recipe.batch_size)
        self.module.train()
        if isinstance(self.module, Head):
            self.module.noise = generator
        losses, right = [], []
        for step, chosen in enumerate(batches):
            done = (epoch + step / len(batches)) / self.recipe.epochs
            for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
                group["lr"] = rate * (1 + math.cos(math.pi * done)) / 2
            given, labels = values[chosen].to(self._device), train.labels[chosen].to(self._device)
            scores = self.module(self._as_multiplied(given)).float() if is_turning else self._scores(given)
            loss = self._loss(scores, labels)
            if isinstance(self.module, Head) and self.recipe.sparsity:
                loss = loss + self.recipe.sparsity * (self.module.weights() * self.module.scale).sum(dim=1).mean()
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
            if isinstance(self.module, Head):
                self.module.project()
            losses.append(loss.detach() * len(chosen))
            right.append((ranks(scores, labels) == 1).sum())
        return {
            "loss": float(torch.stack(losses).sum()) / len(train),
            "accuracy": float(torch.stack(right).sum()) / len(train),
        }

    @property
    def _turns(self) -> bool:
        """Whether there is a rotation to be trained."""
        return isinstance(self.module, Head) and self.recipe.rotation_rate > 0

    def _as_multiplied(self, maps: Tensor) -> Tensor:
        """Return maps in the type in which rotation and features are multiplied."""
        return maps.bfloat16() if self.recipe.amp and self._device.type == "cuda" else maps.float()

    def _scores(self, values: Float[Tensor, "images channels"]) -> Scores:
        """Return the logits of pooled values: of a head, what its prototypes say; of a probe, means."""
        if isinstance(self.module, Head):
            return self.module.scores(values)
        scores: Tensor = self.module(values[:, None])
        return scores

    @torch.no_grad()
    def _values(self, features: Features) -> Pooled:
        """Return the pooled values of all images, which are computed anew where the rotation has moved."""
        turn = self.module.rotation.free._version if isinstance(self.module, Head) else 0
        kept = self._kept.get(id(features))
        if kept is None or kept[0] != turn:
            self.module.eval()
            parts = []
            for maps in features.maps.split(self.recipe.batch_size):
                given = maps.to(self._device).float()
                parts.append(self.module.values(given) if isinstance(self.module, Head) else given.mean(dim=1))
            kept = self._kept[id(features)] = turn, features, torch.cat(parts)
        return kept[2]

    def _loss(self, scores: Scores, labels: Int[Tensor, " images"]) -> Tensor:
        if isinstance(self.module, Head) and self.module.options.outputs == "sigmoid":
            wanted = F.one_hot(labels, scores.shape[1]).to(scores)
            return F.binary_cross_entropy_with_logits(scores, wanted, reduction="none").sum(dim=1).mean()
        return F.cross_entropy(scores, labels, label_smoothing=self.recipe.label_smoothing)

    def _has_ended(self, pruned_at: int) -> bool:
        epoch = len(self.history)
        return epoch > pruned_at and self._best is not None and epoch - 1 - self._best[0] >= self.recipe.patience


@torch.no_grad()
def prune(head: Head, train: Features, per_class: int) -> None:
    """Leave each class the prototypes that add most to the logits of its own training images.

    What is left out is zero from then on. SIDE prunes to a few prototypes a class [1]_; by which rule is not published.

    Parameters
    ----------
    head : changed in place
    train : training images
    per_class : prototypes a class keeps

    References
    ----------
    .. [1] V. Dubovik et al., "SIDE: Sparse Information Disentanglement for Explainable Artificial Intelligence",
       arXiv 2507.19321, 2025.
    """
    head.eval()
    weights = head.weights()
    added = torch.zeros_like(weights)
    for start in range(0, len(train), 64):
        part = slice(start, start + 64)
        labels = train.labels[part].to(weights.device)
        values = head.decision(train.maps[part].to(weights.device).float()).values
        added.index_add_(0, labels, values * weights[labels])
    best = added.topk(min(per_class, added.shape[1]), dim=1).indices
    head.kept.zero_().scatter_(1, best, 1.0)


def started(head: Head, scale: float, seed: int) -> None:
    """Set a head's start: the identity, small positive weights, and sigmoids at one class in as many as there are.

    Parameters
    ----------
    head : changed in place
    scale : root mean square of the training features
    seed : of the weights
    """
    weights = torch.rand(head.raw.shape, generator=torch.Generator().manual_seed(seed)) * START + 1e-4
    with torch.no_grad():
        head.scale.fill_(scale)
        if head.options.outputs == "sigmoid":
            head.bias.fill_(-math.log(max(1, len(head.bias) - 1)))
        head.raw.copy_(weights if head.options.positivity == "relu" else torch.expm1(weights).log())
