"""Stage *train*: a small network from a dataset with labels, written as a weights file that names its outputs."""

import io
import itertools
import logging
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from torch import Tensor, nn

from xvcore.data import Dataset, ImageRecord, open_dataset
from xvcore.data.decode import decode
from xvcore.errors import XvError
from xvcore.models import Preprocessing, find
from xvcore.models.weights import draw
from xvcore.parameters import check, parameter
from xvcore.stages.run import Progress

logger = logging.getLogger(__name__)

TRAINING_SET = "partbirds?split=train&images=400"
"""What the PartBirds networks are trained on; the split ``val`` is left for looking at them."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a small network is trained: AdamW with one cycle of the learning rate, no augmentation."""

    steps: int = parameter(400, "Batches that the weights are moved by", ge=1)
    batch_size: int = parameter(32, "Images of a batch", ge=1)
    learning_rate: float = parameter(3e-3, "Highest learning rate, reached after 20 % of the steps", ge=0)
    weight_decay: float = parameter(1e-2, "Weight decay of AdamW", ge=0)

    def __post_init__(self) -> None:
        check(self)


def train(  # noqa: PLR0913 -- what may be chosen of a training
    architecture: str,
    dataset: str,
    out: Path,
    *,
    steps: int = 400,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Train a network on all classes of a dataset, write its weights, and return where they are.

    All images are held in memory at the network's input size. The file appears whole or not at all; the same seed
    gives the same file on the same machine with the same number of threads.

    Parameters
    ----------
    architecture : name of an architecture
    dataset : ``KIND[:PATH][?key=value]``, e.g. :data:`TRAINING_SET`
    out : weights file; read by ``load("NAME@FILE")``, its outputs are named after the classes
    steps : batches that the weights are moved by
    seed : of the initial weights and of the order of images
    device : ``"auto"``, ``"cpu"``, ``"cuda"``, …
    progress : called with the number of steps done and their total

    Raises
    ------
    XvError
        Whatever cannot be found, an image that cannot be read, or a loss that is no longer finite.
    """
    recipe, opened, plan = Recipe(steps=steps), open_dataset(dataset), find(architecture)
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    images, labels = _everything(opened, plan.preprocessing)
    network = draw(plan.build, len(opened.classes), seed).to(place).train()
    losses = _descend(network, plan.preprocessing, recipe, _batches(images, labels, recipe.batch_size, seed), progress)
    logger.info("%s: mean loss of the last 20 steps %.4f", architecture, sum(losses[-20:]) / len(losses[-20:]))
    _write(
        out,
        {
            "state_dict": {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()},
            "xv": {
                "outputs": [info.class_name for info in opened.classes],
                "architecture": architecture,
                "dataset": opened.name,
                "split": opened.split,
                "steps": steps,
                "seed": seed,
            },
        },
    )
    return out


def _everything(
    dataset: Dataset, preprocessing: Preprocessing
) -> tuple[UInt8[Tensor, "images 3 height width"], Int[Tensor, " images"]]:
    """Return all pictures at the network's input size, as bytes, and the index of each one's class."""

    def pixels(record: ImageRecord) -> Tensor:
        image = preprocessing.pixels(decode(dataset.read(record)))
        return image.mul(255).round().to(torch.uint8)

    records = [(record, info.class_idx) for info in dataset.classes for record in dataset.images(info.class_id)]
    if not records:
        raise XvError(f"dataset {dataset.name} has no images to train on")
    with ThreadPoolExecutor(2, thread_name_prefix="decode") as pool:
        images = torch.stack(list(pool.map(pixels, [record for record, _ in records])))
    return images, torch.tensor([index for _, index in records])


def _batches(
    images: UInt8[Tensor, "images 3 height width"], labels: Int[Tensor, " images"], size: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches for ever, every image once a round, in a new order each round."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        for chosen in torch.randperm(len(images), generator=generator).split(size):
            yield images[chosen].float() / 255, labels[chosen]


def _descend(
    network: nn.Module,
    preprocessing: Preprocessing,
    recipe: Recipe,
    batches: Iterator[tuple[Tensor, Tensor]],
    progress: Progress | None,
) -> list[float]:
    """Train the network in place and return the loss of each step."""
    device = next(network.parameters()).device
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    peak = max(1, recipe.steps // 5)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / peak, max(0.0, (recipe.steps - step) / (recipe.steps - peak + 1)))
    )
    losses: list[float] = []
    for images, labels in itertools.islice(batches, recipe.steps):
        inputs = preprocessing.normalise(images.to(device)).contiguous(memory_format=torch.channels_last)
        loss = F.cross_entropy(network(inputs), labels.to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if not torch.isfinite(loss):
            raise XvError(f"the loss is {losses[-1]} after {len(losses)} steps: a lower learning rate may help")
        if progress:
            progress(len(losses), recipe.steps)
    return losses


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
