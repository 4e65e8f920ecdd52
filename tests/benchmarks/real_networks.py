"""Six networks that know ImageNet on six of its classes, and a network of birds on three of CUB's: a full comparison.

    PYTHONPATH=. python tests/benchmarks/real_networks.py FOLDER --keep KEPT

FOLDER holds ``weights``, ``imagenet-mini`` and ``cub`` as they are described to the tests (``XV_TEST_DATA``). Class by
class, all networks of a class before the next, so that what is there after any time can be compared; what is in KEPT is
not computed again. Prints how the mean count goes with accuracy, the networks, the classes, the verdicts, and how much of
CUB's parts and boxes the masks cover, against the same masks at random places.
"""

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from xvcore.comparison.runs.networks import resolved
from xvcore.comparison.settings import Comparison
from xvcore.parameters import replaced
from xvcore.query import table
from xvcore.runs.pipeline import complete_run, is_complete
from xvcore.runs.run import Run, RunSpec, open_run
from xvcore.visual_summaries.settings import VisualSummaries

IMAGENET = {
    "squeezenet1_1": "squeezenet1_1@{}/squeezenet1_1.pt",
    "mobilenet_v2": "mobilenet_v2@{}/mobilenet_v2.pt?preprocessing=IMAGENET1K_V1&input=225&resize=256",
    "lite0": "timm/tf_efficientnet_lite0@{}/tf_efficientnet_lite0.pt",
    "squeezenet1_0": "squeezenet1_0@{}/squeezenet1_0.pt",
    "lite1": "timm/tf_efficientnet_lite1@{}/tf_efficientnet_lite1.pt",
    "lite2": "timm/tf_efficientnet_lite2@{}/tf_efficientnet_lite2.pt",
}
BIRDS = "mobilenet_v2@{}/mobilenet_v2_inat_birds965.pt?preprocessing=IMAGENET1K_V1&name=birds965"
BIRD_OUTPUTS = {"009": 232, "012": 247, "014": 414}
"""Outputs of the network of birds for CUB's classes by the beginning of their folders."""


def addresses(folder: Path) -> list[str]:
    """Return the addresses of the networks that know ImageNet."""
    return [address.format(folder / "weights") for address in IMAGENET.values()]


def summarised(runs: Sequence[Run[VisualSummaries]], class_ids: Sequence[str]) -> list[str]:
    """Complete the visual summaries of all networks, class by class, and return the classes."""
    for class_id in class_ids:
        for run in runs:
            start = time.process_time()
            complete_run(run, [class_id])
            if not is_complete(run, class_id):  # the run's status tells of all its classes, these are asked one by one
                raise SystemExit(f"{run.run_id}, {class_id}: failed")
            print(f"{class_id} {run.classifier.name}: {time.process_time() - start:.0f} s", flush=True)
    return list(class_ids)


def compared(spec: RunSpec[VisualSummaries], models: Sequence[str], class_ids: Sequence[str]) -> Run[Comparison]:
    """Return the complete comparison of networks whose visual summaries are there."""
    first, *others = sorted(models)
    asked = dataclasses.replace(spec, model=first, settings=Comparison(others=tuple(others)))
    run = open_run(resolved(asked))  # type: ignore[arg-type]
    complete_run(run, class_ids)
    if not all(is_complete(run, each) for each in class_ids):
        raise SystemExit(f"{run.run_id} failed")
    return run  # type: ignore[return-value]


def told(run: Run[Comparison], title: str) -> None:
    """Print what a comparison found."""
    networks = table(run.store, "comparison_networks", run_id=run.run_id)
    classes = table(run.store, "comparison_classes", run_id=run.run_id)
    verdicts = table(run.store, "part_verdicts", run_id=run.run_id)
    print(f"\n{title}\n{networks.drop(columns='run_id').round(3).to_string(index=False)}")
    shown = ["class_id", "model", "n_looked", "accuracy", "n_summaries", "n_parts", "parts_low", "parts_high"]
    shown += ["mask_area", "mask_drop", *(name for name in classes if "coverage" in name or name.startswith("object"))]
    print(classes[shown].dropna(axis=1, how="all").round(3).to_string(index=False))
    covered = table(run.store, "part_coverage", run_id=run.run_id)
    if len(covered):
        columns = [
            "class_id",
            "model",
            "part",
            "n_images",
            "covered",
            "by_chance",
            "difference",
            "low",
            "high",
            "p_value",
        ]
        print(covered[columns].round(3).to_string(index=False))
    if len(verdicts):
        print(verdicts.groupby(["model", "other"])["verdict"].value_counts().unstack(fill_value=0).to_string())


def main() -> None:
    """Summarise, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--classes", type=int, default=6, help="of ImageNet, the first so many")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters, as of xv summarise")
    parser.add_argument("--keep", type=Path, required=True, help="folder of the store")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    changes = dict(each.split("=", 1) for each in arguments.set)
    settings = replaced(VisualSummaries(max_images=arguments.images), changes)
    store = str(arguments.keep / "store")

    cub, birds = f"cub:{arguments.folder}/cub/CUB_200_2011", BIRDS.format(arguments.folder / "weights")
    spec = RunSpec(cub, birds, store, settings, batch_size=arguments.images)
    listed = [info.class_id for info in open_run(dataclasses.replace(spec, class_map=())).dataset.classes]
    outputs = {each: output for each in listed for start, output in BIRD_OUTPUTS.items() if each.startswith(start)}
    spec = dataclasses.replace(spec, class_map=tuple((each, str(output)) for each, output in outputs.items()))
    class_ids = summarised([open_run(spec)], list(outputs))
    told(compared(spec, [birds], class_ids), "CUB, the network of birds")

    models = addresses(arguments.folder)
    imagenet = f"imagenet:{arguments.folder}/imagenet-mini?split=all"
    spec = RunSpec(imagenet, models[0], store, settings, batch_size=arguments.images)
    runs = [open_run(dataclasses.replace(spec, model=model)) for model in models]
    class_ids = summarised(runs, [info.class_id for info in runs[0].dataset.classes[: arguments.classes]])
    told(compared(spec, models, class_ids), "ImageNet, six networks")


if __name__ == "__main__":
    main()
