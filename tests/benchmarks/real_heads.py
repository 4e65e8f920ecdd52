"""Heads of prototypes on real networks and photographs: accuracy beside the linear probe, prototypes that a decision needs.

    python tests/benchmarks/real_heads.py FOLDER --keep KEPT [--sets caltech cub] [--networks …] [--seeds 0 1 2]

FOLDER holds ``weights``, ``caltech101-12`` and ``cub``. Of each network the last map of each photograph is computed once
(kept in ``--keep``); on it a probe and two heads are trained for every seed, which also splits the photographs: 60 %
to train on, 10 % to stop by, 30 % to judge by. The plain head has the default recipe, that like SIDE sigmoids, sparse
weights and five prototypes a class. One row a head: share of the judged photographs that is right, mean number of
contributions, strongest first, that come within a fifth of the logit, and of contributions that are a fifth of it.
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from xvcore.parameters import replaced
from xvcore.prototypes.method.fit import Features, Fit, Probe, Recipe, started
from xvcore.prototypes.method.head import Head, HeadOptions
from xvcore.prototypes.method.measures import sparsity
from xvcore.prototypes.settings import Disentangle
from xvcore.prototypes.stages.train_heads import ACTIVE, data_of, split
from xvcore.runs.pipeline import complete_class
from xvcore.runs.run import RunSpec, announce, open_run

SETS = {"caltech": "imagefolder:{}/caltech101-12", "cub": "cub:{}/cub/CUB_200_2011"}
NETWORKS = {
    "squeezenet1_1": "squeezenet1_1@{}/weights/squeezenet1_1.pt",
    "mobilenet_v2": "mobilenet_v2@{}/weights/mobilenet_v2.pt?input=225",
    "lite0": "timm/tf_efficientnet_lite0@{}/weights/tf_efficientnet_lite0.pt",
}
SIDE = {"outputs": "sigmoid"}
SIDE_RECIPE = {"learning_rate": "0.02", "per_class": "5", "sparsity": "0.01", "epochs": "60", "patience": "60"}
HEADS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "plain": ({}, {}),
    "like SIDE": (SIDE, SIDE_RECIPE),
    "like SIDE, no rotation": (SIDE, {**SIDE_RECIPE, "rotation_rate": "0"}),
}


def cached(folder: Path, keep: Path, of_set: str, network: str) -> dict[str, Any]:
    """Return maps, labels and image ids of a data set under a network, from the folder where they are kept."""
    file = keep / f"{of_set}-{network}.pt"
    if not file.exists():
        address, dataset = (each.format(folder) for each in (NETWORKS[network], SETS[of_set]))
        run = open_run(RunSpec(dataset, address, str(keep / "store"), Disentangle(), batch_size=16))
        classes = [info.class_id for info in run.dataset.classes]
        announce(run, classes)
        for class_id in classes:
            complete_class(run, class_id)
        data = data_of(run)
        torch.save({"maps": data.features.maps, "labels": data.features.labels, "ids": data.image_ids}, file)
    found: dict[str, Any] = torch.load(file, weights_only=False)
    return found


def trained(data: dict[str, Any], seed: int, kind: str) -> dict[str, float]:
    """Return what a probe or a head reaches on the photographs that it is judged by."""
    features, settings = Features(data["maps"], data["labels"]), Disentangle()
    parts = split(data["ids"], features.labels, seed, settings.held_out, settings.tested)
    train, held_out, tested = (features.of(each) for each in parts)
    scale, n_classes = train.root_mean_square, int(features.labels.max()) + 1
    if kind == "probe":
        probe = Probe(features.maps.shape[2], n_classes)
        probe.scale.fill_(scale)
        fit = Fit(probe, Recipe(), seed)
        fit(train, held_out)
        return {"right": fit.measured(tested)[1]}
    options, changes = HEADS[kind]
    head = Head(features.maps.shape[2], n_classes, replaced(HeadOptions(), options))
    started(head, scale, seed)
    fit = Fit(head, replaced(Recipe(), changes), seed)
    fit(train, held_out)
    needed, share, above = [], [], []
    with torch.no_grad():
        for maps in tested.maps.split(64):
            decision = head.decision(maps.float())
            logits, targets = decision.logits.max(dim=1)
            counted = sparsity(decision.contributions(targets), logits - decision.bias[targets], ACTIVE)
            needed.append(counted.needed)
            share.append(counted.above_share)
            above.append(counted.above)
    counts = {"needed": needed, "a_fifth": share, "above_0.2": above}
    means = {name: float(torch.cat(each).float().mean()) for name, each in counts.items()}
    return {"right": fit.measured(tested)[1], "held_out": fit.measured(held_out)[1], **means}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--heads", nargs="+", choices=["probe", *HEADS], default=["probe", *HEADS])
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for of_set in given.sets:
        for network in given.networks:
            data = cached(given.folder, given.keep, of_set, network)
            for kind in given.heads:
                for seed in given.seeds:
                    place = {"set": of_set, "network": network, "head": kind, "seed": seed}
                    rows.append({**place, **trained(data, seed, kind)})
                    print(rows[-1], flush=True)
    frame = pd.DataFrame(rows).drop(columns="seed")
    print(frame.groupby(["set", "network", "head"], sort=False).agg(["mean", "std"]).round(3).to_string())


if __name__ == "__main__":
    main()
