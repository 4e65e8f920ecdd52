"""Stage *train*: a small network from a dataset with labels, written as a weights file that names its outputs."""

import io
import itertools
import logging
import math
import os
import tempfile
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from torch import Tensor, nn

from xvcore.data import Dataset, ImageRecord, open_dataset
from xvcore.data.decode import decode
from xvcore.errors import XvError, in_one_line
from xvcore.models import Preprocessing, find
from xvcore.models.weights import DAMAGED, check_records, draw
from xvcore.parameters import as_dict, check, parameter
from xvcore.runs.run import Progress

logger = logging.getLogger(__name__)

TRAINING_SET = "partbirds?split=train&images=400"
"""What the PartBirds networks are trained on; the split ``val`` is left for looking at them."""
HELD_BYTES = 4 * 2**30
"""Images are held in memory up to this size."""
AHEAD = 2
"""Batches that are decoded while the network works."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a small network is trained: AdamW with one cycle of the learning rate, no augmentation."""

    steps: int = parameter(400, "Batches that the weights are moved by", ge=1)
    batch_size: int = parameter(32, "Images of a batch", ge=1)
    learning_rate: float = parameter(3e-3, "Highest learning rate, reached after 20 % of the steps", ge=0)
    weight_decay: float = parameter(1e-2, "Weight decay of AdamW", ge=0)
    amp: bool = parameter(
        default=False, description="Mixed precision: bfloat16 where autocast takes it for safe, float32 elsewhere"
    )

    def __post_init__(self) -> None:
        check(self)


def train(  # noqa: PLR0913 -- what may be chosen of a training
    architecture: str,
    dataset: str,
    out: Path,
    *,
    steps: int = 400,
    seed: int = 0,
    amp: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
    checkpoint_every: int = 100,
    keep: Collection[int] = (),
    held_bytes: int = HELD_BYTES,
) -> Path:
    """Train a network on all classes of a dataset, write its weights, and return where they are.

    The images are held in memory at the network's input size as far as ``held_bytes`` allow, else decoded anew in each
    round while the network works on the batch before: the numbers are the same. The file appears whole or not at all;
    the same seed gives the same file on the same machine with the same number of threads, also where the training was
    interrupted and started again: it goes on from its last checkpoint, a hidden file beside ``out`` that is removed in
    the end.

    Parameters
    ----------
    architecture : name of an architecture
    dataset : ``KIND[:PATH][?key=value]``, e.g. :data:`TRAINING_SET`
    out : weights file; read by ``load("NAME@FILE")``, its outputs are named after the classes
    steps : batches that the weights are moved by
    seed : of the initial weights and of the order of images
    amp : mixed precision (bfloat16, which needs no scaling of the loss); the weights stay in float32
    device : ``"auto"``, ``"cpu"``, ``"cuda"``, …
    progress : called with the number of steps done and their total
    checkpoint_every : steps between two checkpoints; 0 keeps none
    keep : steps after which the weights are kept for good, as ``<name>-step<number>`` beside ``out``, so that one can
        see how a training went; they do not move the numbers
    held_bytes : largest size of the images, as bytes, that are held in memory

    Raises
    ------
    XvError
        Whatever cannot be found, an image that cannot be read, or a loss that is no longer finite.
    """
    recipe, opened, plan = Recipe(steps=steps, amp=amp), open_dataset(dataset), find(architecture)
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    pictures = Pictures(opened, plan.preprocessing, held_bytes)
    network = draw(plan.build, len(opened.classes), seed).to(place).train()
    identity = {
        "architecture": architecture,
        "dataset": opened.name,
        "split": opened.split,
        "seed": seed,
        "device": place.type,
        **as_dict(recipe),
    }
    checkpoint = Checkpoint(out.with_name(f".{out.name}.training"), identity, checkpoint_every)

    def write(path: Path, n_steps: int) -> None:
        state = {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
        _write(
            path,
            {
                "state_dict": state,
                "xv": {
                    "outputs": [info.class_name for info in opened.classes],
                    "architecture": architecture,
                    "dataset": opened.name,
                    "split": opened.split,
                    "steps": n_steps,
                    "seed": seed,
                },
            },
        )

    def after_step(done: int) -> None:
        if done in keep:
            write(out.with_name(f"{out.stem}-step{done}{out.suffix}"), done)
        if progress:
            progress(done, steps)

    descent = Descent(network, plan.preprocessing, recipe)
    with pictures:
        losses = descent(partial(pictures.batches, recipe.batch_size, seed), checkpoint, after_step)
    logger.info("%s: mean loss of the last 20 steps %.4f", architecture, sum(losses[-20:]) / len(losses[-20:]))
    write(out, steps)
    checkpoint.remove()
    return out


class Pictures:
    """The images of a dataset with the index of each one's class; threads decode what is not held in memory."""

    def __init__(self, dataset: Dataset, preprocessing: Preprocessing, held_bytes: int) -> None:
        self._dataset, self._preprocessing = dataset, preprocessing
        found = [(record, info.class_idx) for info in dataset.classes for record in dataset.images(info.class_id)]
        if not found:
            raise XvError(f"dataset {dataset.name} has no images to train on")
        self._records = [record for record, _ in found]
        self._labels = torch.tensor([index for _, index in found])
        self._pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")
        height, width = preprocessing.input_px
        is_held = 3 * height * width * len(found) <= held_bytes
        self._held = torch.stack(list(self._pool.map(self._pixels, self._records))) if is_held else None

    def __enter__(self) -> "Pictures":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def batches(self, size: int, seed: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches for ever, every image once a round, in a new order each round, from batch ``first`` on."""
        generator = torch.Generator().manual_seed(seed)
        rounds = (torch.randperm(len(self._records), generator=generator).split(size) for _ in itertools.count())
        waiting: deque[tuple[Tensor, Callable[[], Tensor]]] = deque()
        for chosen in itertools.islice(itertools.chain.from_iterable(rounds), first, None):
            waiting.append((chosen, self._begun(chosen)))
            if len(waiting) > AHEAD:
                indices, images = waiting.popleft()
                yield images().float() / 255, self._labels[indices]

    def _begun(self, chosen: Int[Tensor, " batch"]) -> Callable[[], UInt8[Tensor, "batch 3 height width"]]:
        """Return what gives the images once they are wanted; decoding begins now."""
        held = self._held
        if held is not None:
            return lambda: held[chosen]
        futures = [self._pool.submit(self._pixels, self._records[index]) for index in chosen.tolist()]
        return lambda: torch.stack([future.result() for future in futures])

    def _pixels(self, record: ImageRecord) -> UInt8[Tensor, "3 height width"]:
        image = self._preprocessing.pixels(decode(self._dataset.read(record)))
        return image.mul(255).round().to(torch.uint8)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A training that goes on where it was interrupted.

    Parameters
    ----------
    path : of the file
    identity : all that decides the training; a file of another one is left aside
    every : steps between two writes; 0 never writes
    """

    path: Path
    identity: dict[str, Any]
    every: int

    def read(self) -> dict[str, Any] | None:
        """Return what was written last, or None where there is nothing that fits."""
        if not self.every or not self.path.exists():
            return None
        content = unfinished(self.path.read_bytes(), str(self.path))
        return content if content is not None and content.get("identity") == self.identity else None

    def write(self, step: int, content: dict[str, Any]) -> None:
        """Write the state after a step, if it is time."""
        if self.every and step % self.every == 0:
            _write(self.path, {"identity": self.identity, **content})

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


class Descent:
    """AdamW with one cycle of the learning rate, moving the weights of a network in place."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, recipe: Recipe) -> None:
        self._network, self._preprocessing, self._recipe = network, preprocessing, recipe
        self._device = next(network.parameters()).device
        self._optimiser = torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        peak = max(1, recipe.steps // 5)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser,
            lambda step: min((step + 1) / peak, max(0.0, (recipe.steps - step) / (recipe.steps - peak + 1))),
        )

    def __call__(
        self,
        batches_from: Callable[[int], Iterator[tuple[Tensor, Tensor]]],
        checkpoint: Checkpoint,
        after_step: Callable[[int], None],
    ) -> list[float]:
        """Train the network and return the loss of each step.

        Parameters
        ----------
        batches_from : number of a batch to that batch and all that follow
        checkpoint : where to go on from, and where to keep what was reached
        after_step : called with the number of steps done
        """
        losses = self._restored(checkpoint)
        for images, labels in itertools.islice(batches_from(len(losses)), self._recipe.steps - len(losses)):
            losses.append(self._step(images, labels))
            if not math.isfinite(losses[-1]):
                raise XvError(f"the loss is {losses[-1]} after {len(losses)} steps: a lower learning rate may help")
            after_step(len(losses))  # before the checkpoint: what it leaves is there when the training goes on from it
            checkpoint.write(len(losses), self._state(losses))
        return losses

    def _step(self, images: Tensor, labels: Tensor) -> float:
        inputs = self._preprocessing.normalise(images.to(self._device)).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._recipe.amp):
            scores = self._network(inputs)
        loss = F.cross_entropy(scores.float(), labels.to(self._device))
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        self._schedule.step()
        return loss.item()

    def _state(self, losses: list[float]) -> dict[str, Any]:
        return {
            "losses": losses,
            "network": self._network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def _restored(self, checkpoint: Checkpoint) -> list[float]:
        """Return the losses of the steps done before, whose state is taken over."""
        state = checkpoint.read()
        if state is None:
            return []
        self._network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        logger.info("going on after step %d of %d", len(state["losses"]), self._recipe.steps)
        return list(state["losses"])


def unfinished(data: bytes, name: str, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """Return what an interrupted training left, or None where that is damaged: it begins anew, and the log says so.

    Parameters
    ----------
    data : of the file
    name : of the file, for the log
    device : where the tensors go
    """
    file = io.BytesIO(data)
    try:
        content = torch.load(file, map_location=device, weights_only=True)
        check_records(file)
    except DAMAGED as error:
        logger.warning("%s is damaged (%s): the training begins anew", name, in_one_line(error))
        return None
    return content if isinstance(content, dict) else None


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write a weights file whole or not at all; its bytes do not depend on its name."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(buffer.getbuffer())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
