"""A network that tells FunnyBirds' twins apart: SqueezeNet 1.1 from ImageNet's weights, trained on, and its held-out accuracy.

Command: ``PYTHONPATH=. python tests/benchmarks/funnybirds_network.py FOLDER OUT [--steps N] [--rate R]``. FOLDER holds
``weights/squeezenet1_1.pt`` and ``funnybirds-10``. OUT is then ``squeezenet1_1@OUT?input=256&resize=256``; where it is
there already, only the accuracy is printed: for each pair of twins, of all classes and of the two.

It learns from those training images whose bird has the part that tells it from its twin (of the others nobody could say
which twin they show), and from their mirror images. The optimiser is that of ``xv train``.
"""

import argparse
import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from xvcore.data import open_dataset
from xvcore.data.decode import decode
from xvcore.data.funnybirds import FunnyBirds
from xvcore.models.classifier import Classifier
from xvcore.models.load import load
from xvcore.runs.train import Checkpoint, Descent, Recipe

OPTIONS = "?input=256&resize=256"
STEM = 6
"""First layers that stay as ImageNet made them: edges and colours, to a stride of eight pixels."""


def twins(dataset: FunnyBirds) -> dict[str, tuple[str, str]]:
    """Return for each class the one that differs from it in a single part, and that part."""
    found = {}
    for one in dataset.classes:
        for other in dataset.classes:
            parts = dataset.differing_parts(one.class_id, other.class_id)
            if len(parts) == 1:
                found[one.class_id] = other.class_id, parts[0]
    return found


def funnybirds(folder: Path, split: str) -> FunnyBirds:
    dataset = open_dataset(f"funnybirds:{folder / 'funnybirds-10'}?split={split}")
    assert isinstance(dataset, FunnyBirds)
    return dataset


def training_set(classifier: Classifier, dataset: FunnyBirds) -> tuple[Tensor, Tensor]:
    images, labels = [], []
    for class_id, (_, part) in twins(dataset).items():
        for record in dataset.images(class_id):
            if part in dataset.present_parts(record):
                image = classifier.preprocessing.pixels(decode(dataset.read(record)))
                images.append(image.mul(255).round().to(torch.uint8))
                labels.append(int(class_id))
    return torch.stack(images), torch.tensor(labels)


def batches(images: Tensor, labels: Tensor, size: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches for ever, each image once a round, mirrored or not, from batch ``first`` on."""
    generator = torch.Generator().manual_seed(0)
    number = 0
    while True:
        for chosen in torch.randperm(len(images), generator=generator).split(size):
            is_mirrored = torch.rand(len(chosen), generator=generator) < 0.5
            number += 1
            if number > first:
                shown = images[chosen].float() / 255
                yield torch.where(is_mirrored[:, None, None, None], shown.flip(3), shown), labels[chosen]


def train(folder: Path, out: Path, recipe: Recipe) -> None:
    classifier = load(f"squeezenet1_1@{folder / 'weights' / 'squeezenet1_1.pt'}{OPTIONS}")
    dataset = funnybirds(folder, "train")
    images, labels = training_set(classifier, dataset)
    print(f"{len(images)} training images", flush=True)
    network = classifier.network
    torch.manual_seed(0)
    network.classifier[1] = nn.Conv2d(512, len(dataset.classes), 1)
    nn.init.normal_(network.classifier[1].weight, std=0.01)
    nn.init.constant_(network.classifier[1].bias, 3.0)  # a ReLU follows
    network.requires_grad_(True).train()
    network.features[:STEM].requires_grad_(False)
    checkpoint = Checkpoint(out.with_name(f".{out.name}.training"), dataclasses.asdict(recipe), 50)
    losses = Descent(network, classifier.preprocessing, recipe)(
        partial(batches, images, labels, recipe.batch_size), checkpoint, lambda _: None
    )
    print(f"loss: {[round(sum(losses[at : at + 25]) / 25, 3) for at in range(0, len(losses) - 24, 25)]}")
    outputs = [info.class_name for info in dataset.classes]
    torch.save({"state_dict": network.state_dict(), "xv": {"outputs": outputs, "architecture": "squeezenet1_1"}}, out)
    checkpoint.remove()


@torch.no_grad()
def accuracy(folder: Path, weights: Path) -> None:
    classifier = load(f"squeezenet1_1@{weights}{OPTIONS}")
    dataset = funnybirds(folder, "test")
    right: dict[tuple[str, ...], list[tuple[bool, bool]]] = defaultdict(list)
    for class_id, (twin, part) in twins(dataset).items():
        for record in dataset.images(class_id):
            logits = classifier.logits(classifier.preprocessing.pixels(decode(dataset.read(record)))[None])[0]
            own = int(class_id)
            found = bool(logits.argmax() == own), bool(logits[own] > logits[int(twin)])
            right[(part, *sorted((class_id, twin)))].append(found)
    for (part, *pair), found in right.items():
        of_all, of_two = (sum(each) for each in zip(*found, strict=True))
        print(f"{part} twins {' and '.join(pair)}: {of_all} of {len(found)} right among ten classes, {of_two} of two")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=260)
    parser.add_argument("--rate", type=float, default=4e-4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.out.exists():
        train(arguments.folder, arguments.out, Recipe(arguments.steps, 16, learning_rate=arguments.rate))
    accuracy(arguments.folder, arguments.out)


if __name__ == "__main__":
    main()
