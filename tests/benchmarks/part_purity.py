"""Do prototypes keep to one part of PartBirds? Judged by where they lie, and by which part they cannot do without.

    python tests/benchmarks/part_purity.py --keep FOLDER [--heads default few …]

The network (``partbirds_wide``, trained where its weights are not in ``--keep``) tells the birds of the split ``train``
to heads, and is looked at on those of ``val``. Of each channel and side the five strongest patches, one an image:

- *cell*: the share of them whose cell lies on the part that most of them lie on, as ``part_purity`` has it;
- *redrawn*: the share that loses half of its value or more when that part is redrawn without its pattern.

Rows: all plain channels, the strongest ones, those that a head shows (the ten largest contributions of a decision) and
those that are active (a fifth of a logit). ``entangled`` turns the plain channels at random first: what a head must undo.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xvcore.data import open_dataset
from xvcore.data.bird import PARTS
from xvcore.data.partbirds import PartBirds
from xvcore.models import load
from xvcore.ops.parts import contains
from xvcore.parameters import replaced
from xvcore.prototypes.method.feature_map import FeatureMap, feature_map
from xvcore.prototypes.method.fit import Features, Fit, Recipe, started
from xvcore.prototypes.method.head import Head, HeadOptions
from xvcore.runs.train import TRAINING_SET, train

NETWORK = "partbirds_wide"
N_PATCHES, N_SHOWN, ACTIVE, LOST = 5, 10, 0.2, 0.5
FEW = {"outputs": "sigmoid"}
FEW_RECIPE = {
    "epochs": "60", "patience": "60", "learning_rate": "0.02", "rotation_rate": "0.01", "rotation_every": "2",
    "rotation_batch": "128", "per_class": "5", "sparsity": "0.02",
}  # fmt: skip
HEADS: dict[str, tuple[dict[str, str], dict[str, str], bool]] = {
    "default": ({}, {}, False),
    "few": (FEW, FEW_RECIPE, False),
    "few, no rotation": (FEW, {**FEW_RECIPE, "rotation_rate": "0"}, False),
    "few, entangled": (FEW, FEW_RECIPE, True),
}
Data = dict[str, Any]


def features(keep: Path) -> Data:
    """Return maps and labels of both splits, and of ``val`` which cells hold which part, and maps without each part."""
    file, weights = keep / "part-purity.pt", keep / f"{NETWORK}-seed0.pt"
    if not file.exists():
        if not weights.exists():
            train(NETWORK, TRAINING_SET, weights, seed=0)
        classifier = load(f"{NETWORK}@{weights}")
        layer = feature_map(classifier)
        found: Data = {"layer": layer}
        for split, number in (("train", 150), ("val", 40)):
            birds = open_dataset(f"partbirds?split={split}&images={number}")
            assert isinstance(birds, PartBirds)
            records = [record for info in birds.classes for record in birds.images(info.class_id)]

            def maps(shown: list[Any], birds: PartBirds = birds) -> tuple[Tensor, Tensor]:
                images = torch.stack([torch.from_numpy(birds.picture(each).copy()) for each in shown])
                with torch.inference_mode():
                    values, logits = layer.maps(
                        classifier.network, classifier.logits, images.permute(0, 3, 1, 2).float() / 255
                    )
                return values.flatten(2).mT.half(), logits.argmax(dim=1)

            parts = [maps(records[start : start + 50]) for start in range(0, len(records), 50)]
            found[split] = torch.cat([each[0] for each in parts])
            found[f"{split}_labels"] = torch.arange(len(birds.classes)).repeat_interleave(number)
            found[f"{split}_right"] = float(
                (torch.cat([each[1] for each in parts]) == found[f"{split}_labels"]).mean(dtype=torch.float)
            )
            if split == "val":
                found["held"] = torch.from_numpy(_held(birds, layer))
                found["without"] = torch.stack(
                    [maps([birds.without(each, [part]) for part in PARTS])[0] for each in records]
                )
        torch.save(found, file)
    loaded: Data = torch.load(file, weights_only=False)
    return loaded


def _held(birds: PartBirds, layer: FeatureMap) -> np.ndarray:
    """Return images × cells × parts."""
    cells = layer.boxes(birds.px, birds.px).flatten(0, 1).double().numpy()
    boxes = [each for info in birds.classes for each in birds.parts(info.class_id)]  # by image, in the order of PARTS
    places = np.array([[each.x, each.y, each.w, each.h] for each in boxes], float).reshape(-1, len(PARTS), 4)
    return np.stack([contains(cells, of_image, overlap=0.5) for of_image in places])


def fitted(data: Data, options: dict[str, str], changes: dict[str, str], turn: Tensor) -> Head:
    maps = torch.cat([(part.float() @ turn.T).half() for part in data["train"].split(64)])
    every = Features(maps, data["train_labels"])
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(7))
    held_out, rest = every.of(order[: len(order) // 7]), every.of(order[len(order) // 7 :])
    head = Head(maps.shape[2], int(every.labels.max()) + 1, replaced(HeadOptions(), options))
    started(head, rest.root_mean_square, 0)
    Fit(head, replaced(Recipe(), changes), 0)(rest, held_out)
    return head.eval()


@torch.no_grad()
def purities(data: Data, turn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return both purities and the strongest value of each channel and side."""
    turned = data["val"].float() @ turn.T
    found = []
    for sign in (1, -1):
        values, places = (sign * turned).max(dim=1)
        best, images = values.topk(N_PATCHES, dim=0)
        at = places.gather(0, images)
        on_part = data["held"][images, at].float().mean(dim=0).amax(dim=1)
        channels = torch.arange(turned.shape[2]).expand_as(at)
        pixels = data["without"][images, :, at].float()  # patches, channels, parts, features
        left = sign * torch.einsum("kcpf,cf->kcp", pixels, turn[channels[0]])
        lost = (1 - left / best.clamp_min(1e-9)[..., None]) >= LOST
        found.append((on_part, lost.float().mean(dim=0).amax(dim=1), best[0]))
    cell, redrawn, strength = (torch.stack(each, dim=1) for each in zip(*found, strict=True))
    return cell, redrawn, strength


def show(name: str, found: tuple[Tensor, Tensor, Tensor], chosen: Tensor) -> None:
    cell, redrawn, strength = (each[chosen] for each in found)
    is_there = strength > 0
    print(
        f"{name:34} {len(chosen):3} channels: cell {cell[is_there].mean():.3f}, redrawn {redrawn[is_there].mean():.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--heads", nargs="*", choices=HEADS, default=list(HEADS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = features(given.keep)
    n_channels = data["val"].shape[2]
    drawn = torch.randn(n_channels, n_channels, generator=torch.Generator().manual_seed(0))
    turns = {False: torch.eye(n_channels), True: torch.linalg.qr(drawn)[0]}
    print(f"the network itself: {data['val_right']:.3f} right")
    for is_entangled, turn in turns.items():
        found = purities(data, turn)
        strongest = found[2].amax(dim=1).argsort(descending=True)
        for number in (n_channels, 70, 30):
            show("entangled channels" if is_entangled else "plain channels", found, strongest[:number])
    for name in given.heads:
        options, changes, is_entangled = HEADS[name]
        turn = turns[is_entangled]
        head = fitted(data, options, changes, turn)
        with torch.no_grad():
            decision = head.decision(data["val"].float() @ turn.T)
        logits, targets = decision.logits.max(dim=1)
        added = decision.contributions(targets).abs()
        shown = added.topk(N_SHOWN, dim=1).indices.unique()
        active = (added >= ACTIVE * logits.abs()[:, None]).any(dim=0).nonzero()[:, 0]
        print(f"{name}: {float((targets == data['val_labels']).float().mean()):.3f} right")
        with torch.no_grad():
            found = purities(data, head.rotation.matrix() @ turn)
        show("  shown", found, shown)
        show("  active", found, active)


if __name__ == "__main__":
    main()
