"""How good and how fast heads of prototypes are: accuracy beside probe and network, epochs, caching, part purity.

    python tests/benchmarks/disentangle.py DATASET MODEL [MODEL …] [--trainings 3] [--set recipe.epochs=12] [--parts]
    python tests/benchmarks/disentangle.py --rotations 512,1280

Of each network: accuracies on images that no training saw; with ``--times`` an epoch of the head on cached features, the
mean over one that moves the rotation and those of the classifier alone, against one that decodes the images and runs
the network, and the stage *cache* against a bare pass.
With ``--parts``, the prototypes over the dataset too, and what was measured of them. One thread unless OMP_NUM_THREADS
says otherwise; times are CPU seconds.
"""

import argparse
import logging
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

from xvcore.parameters import replaced
from xvcore.prototypes.method.fit import Features, Fit, started
from xvcore.prototypes.method.head import Head
from xvcore.prototypes.method.rotation import rotation_of
from xvcore.prototypes.settings import Disentangle, Prototypes
from xvcore.prototypes.stages import cache
from xvcore.runs.images import batches, passed_images
from xvcore.runs.pipeline import complete_run
from xvcore.runs.run import Run, RunSpec, open_run

logger = logging.getLogger("disentangle")
N_TIMED = 128


def rotations(sizes: list[int]) -> None:
    """Print time and error of both maps, forward and backward, in float32."""
    for size in sizes:
        for mapping in ("cayley", "exponential"):
            free = (torch.randn(size, size, generator=torch.Generator().manual_seed(0)) * 0.01).requires_grad_()
            rotation_of(free, mapping).sum().backward()
            began = time.perf_counter()
            rotation = rotation_of(free, mapping)
            rotation.sum().backward()
            took = time.perf_counter() - began
            error = (rotation @ rotation.mT - torch.eye(size)).abs().max().item()
            print(f"{mapping:12} {size:5} channels: {took:.3f} s, |UUᵀ - I| ≤ {error:.1e}")


def times(run: Run[Disentangle]) -> None:
    """Print what an epoch costs on cached features and through the network, and what caching costs beside a pass."""
    wanted = [(info.class_id, passed_images(run, info.class_id)) for info in run.dataset.classes]
    images, labels = [], []
    for label, (class_id, names) in enumerate(wanted):
        for batch in batches(run, class_id, names[: max(2, N_TIMED // len(wanted))]):
            images.append(batch.images)
            labels += [label] * len(batch.images)
    seen, found = torch.cat(images), cache.map_of(run)

    def passed() -> torch.Tensor:
        with torch.inference_mode():
            parts = [
                found.maps(run.classifier.network, run.classifier.logits, part)[0].flatten(2).mT.half()
                for part in seen.split(run.spec.batch_size)
            ]
        return torch.cat(parts).clone()

    def bare() -> None:
        with torch.inference_mode():
            for part in seen.split(run.spec.batch_size):
                run.classifier.logits(part)

    bare()
    features = Features(passed(), torch.tensor(labels))
    head = Head(found.n_channels, len(wanted))
    started(head, features.root_mean_square, 0)
    fit, every = Fit(head, run.settings.recipe, 0), run.settings.recipe.rotation_every

    def turn() -> None:
        """Run the epochs of one round: one that moves the rotation, and those of the classifier alone."""
        for number in range(every):
            fit._epoch(features, number)

    turn()

    def decode() -> None:
        for class_id, names in wanted:
            for _ in batches(run, class_id, names[: max(2, N_TIMED // len(wanted))]):
                pass

    works = (turn, lambda: fit._epoch(features, 0), bare, passed, decode)
    round_s, turned_s, bare_s, passed_s, decoded_s = (min(_seconds(work) for _ in range(3)) for work in works)
    cached_s = round_s / every
    held, through = cached_s + passed_s, cached_s + passed_s + decoded_s
    print(
        f"{run.classifier.name}: an epoch of {len(features)} images: cached {cached_s:.2f} s (one that "
        f"moves the rotation {turned_s:.2f} s), through the network "
        f"{through:.2f} s ({through / cached_s:.1f}x; with decoded images in memory {held / cached_s:.1f}x); pass "
        f"{bare_s:.2f} s, with its map taken, in "
        f"float16 {passed_s:.2f} s ({passed_s / bare_s:.2f}x)"
    )


def caching(run: Run[Disentangle]) -> None:
    """Print the time of the stage *cache* for a class beside that of the same images decoded and passed."""
    class_id = run.dataset.classes[0].class_id
    names = passed_images(run, class_id)

    def pass_all() -> None:
        with torch.inference_mode():
            for batch in batches(run, class_id, names):
                run.classifier.logits(batch.images)

    def cache_all() -> None:
        run.store.remove("features", cache.cache_id(run), class_id)
        assert cache.cache(run, class_id) == len(names)

    cache_all()
    pairs = [(_seconds(pass_all), _seconds(cache_all)) for _ in range(7)]
    bare, whole = (min(each) for each in zip(*pairs, strict=True))
    print(f"{run.classifier.name}: {len(names)} images: pass {bare:.2f} s, cached {whole:.2f} s ({whole / bare:.2f}x)")


def _seconds(work) -> float:
    """Return CPU seconds, of all threads."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?")
    parser.add_argument("models", nargs="*")
    parser.add_argument("--trainings", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--store")
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--images", help="dataset whose prototypes are looked at; the same unless given")
    parser.add_argument("--rotations", default="")
    given = parser.parse_args()
    rotations([int(each) for each in given.rotations.split(",") if each])
    changes = {"n_trainings": given.trainings, **dict(each.split("=", 1) for each in given.changes)}
    settings = replaced(Disentangle(), changes)
    store = given.store or tempfile.mkdtemp()
    for model in given.models:
        began = time.perf_counter()
        run = open_run(RunSpec(given.dataset, model, store, settings))
        complete_run(run)
        rows = pd.concat(
            [run.store.read("heads", run.run_id, each) for each in run.store.classes_of("heads", run.run_id)]
        )
        columns = [
            "model",
            "training",
            "kind",
            "accuracy_train",
            "accuracy_held_out",
            "accuracy_tested",
            "n_active",
            "best_epoch",
        ]
        print(rows[columns].to_string(index=False))
        print(rows.groupby("kind")["accuracy_tested"].agg(["mean", "std"]).round(4).to_string())
        print(f"{time.perf_counter() - began:.0f} s", flush=True)
        if given.times:
            times(run)
            caching(run)
        if given.parts:
            file = Path(store) / rows.loc[rows["kind"] == "head", "file"].iloc[0]
            shown = open_run(RunSpec(given.images or given.dataset, f"infodisent@{file}", store, Prototypes()))
            complete_run(shown)
            measures = [
                shown.store.read("prototype_measures", shown.run_id, each)
                for each in shown.store.classes_of("prototype_measures", shown.run_id)
            ]
            print(pd.concat(measures)[["measure", "value", "control", "n"]].to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
