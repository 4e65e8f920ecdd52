"""Which masks make better summaries: accepted summaries and their part purity, presets of sparse masks side by side.

Command: ``PYTHONPATH=. python tests/benchmarks/masks_purity.py FOLDER --keep KEPT [--worlds …] [--presets …] [--images N]``.
FOLDER is that of ``masks.py``, with ``cub/CUB_200_2011``. Worlds: PartBirds' six classes with decisive parts and a
network of theirs (``--network``), which is trained where KEPT has none; and three classes of CUB with the network of 965 birds.
A class that is in KEPT's store is not computed again.

Purity is the mean over the accepted summaries of the share of their regions that contain the part which most of them
contain (``xvcore.ops.parts``); beside it that of random regions of the same sizes in the same images. Parts found are the
decisive ones (CUB: the annotated ones) that are some summary's with a purity of half and more. Intervals are bootstraps
of 95 %: of the images of a class, the same for all presets, with the clusters as they are; and of the classes for the
number of summaries.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from real_networks import BIRD_OUTPUTS, BIRDS

from xvcore.data import open_dataset
from xvcore.ops.parts import LEAST_SHARE, PartShares, contains
from xvcore.parameters import replaced
from xvcore.runs.parts import parts_in_input
from xvcore.runs.pipeline import complete_run, is_complete
from xvcore.runs.run import Run, RunSpec, open_run
from xvcore.runs.train import TRAINING_SET, train
from xvcore.visual_summaries.settings import VisualSummaries

PRESETS = ("published", "default", "robust", "tenth")
WORLDS = ("partbirds", "cub")
N_DRAWS = 2000


def opened(world: str, preset: str, arguments: argparse.Namespace) -> tuple[Run[VisualSummaries], list[str]]:
    """Return the run of a preset, and its classes."""
    changes = {} if preset == "default" else {"mask.preset": preset}
    settings = replaced(VisualSummaries(max_images=arguments.images), changes)
    store = str(arguments.keep / "store")
    if world == "partbirds":
        weights = arguments.keep / f"{arguments.network}.pt"
        if not weights.exists():
            train(arguments.network, TRAINING_SET, weights)
        dataset = open_dataset("partbirds")
        classes = [each.class_id for each in dataset.classes if dataset.decisive_parts(each.class_id)]
        return open_run(RunSpec("partbirds", f"{arguments.network}@{weights}", store, settings)), classes
    cub = f"cub:{arguments.folder}/cub/CUB_200_2011"
    listed = [each.class_id for each in open_dataset(cub).classes]
    outputs = {each: output for each in listed for start, output in BIRD_OUTPUTS.items() if each.startswith(start)}
    class_map = tuple((each, str(output)) for each, output in outputs.items())
    return open_run(
        RunSpec(cub, BIRDS.format(arguments.folder / "weights"), store, settings, class_map=class_map)
    ), list(outputs)


def crisp_masks(run: Run[VisualSummaries], class_id: str) -> pd.DataFrame:
    masks = run.store.read("masks", run.run_id, class_id)
    return masks[masks["kind"] == "sharp"].dropna(subset="image_id")


def containing(run: Run[VisualSummaries], class_id: str) -> pd.DataFrame:
    """Return a row for each region that an accepted summary shows: cluster, image, and which parts it contains."""
    clusters = run.store.read("clusters", run.run_id, class_id)
    regions = run.store.read("regions", run.run_id, class_id)
    parts = parts_in_input(run, class_id)
    parts = parts[parts["visible"].astype(bool)]
    accepted = set(clusters.loc[clusters["accepted"].astype(bool), "cluster_id"])
    shown = regions[regions["cluster_id"].isin(accepted) & regions["kept"].astype(bool)]
    names = np.unique(parts["part"].to_numpy(str))
    rows = []
    for cluster_id, image_id, *box in shown[["cluster_id", "image_id", "x", "y", "w", "h"]].itertuples(index=False):
        of_image = parts[parts["image_id"] == image_id]
        if len(of_image):
            places = of_image[["x", "y", "w", "h"]].to_numpy(float)
            has = contains(np.array([box], float), places, overlap=PartShares().overlap)[0]
            found = set(of_image["part"].to_numpy(str)[has])
            rows.append({"cluster_id": cluster_id, "image_id": image_id, **{name: name in found for name in names}})
    return pd.DataFrame(rows)


def purities(regions: pd.DataFrame, weights: pd.Series) -> np.ndarray:
    """Return the purity of each summary whose images are drawn, each so many times."""
    if not len(regions):
        return np.zeros(0)
    drawn = weights.reindex(regions["image_id"]).fillna(0).to_numpy()
    has = regions.drop(columns=["cluster_id", "image_id"]).to_numpy(float)
    found = []
    for cluster_id in regions["cluster_id"].unique():
        rows = (regions["cluster_id"] == cluster_id).to_numpy()
        if drawn[rows].sum():
            found.append((drawn[rows] @ has[rows] / drawn[rows].sum()).max())
    return np.array(found)


def drawn_images(class_id: str, images: list[str]) -> list[pd.Series]:
    """Return how often each image of a class is drawn, in each bootstrap: alike for all presets."""
    generator = np.random.default_rng(sum(class_id.encode()))
    counts = generator.multinomial(len(images), np.full(len(images), 1 / len(images)), size=N_DRAWS)
    return [pd.Series(each, index=images) for each in counts]


def ends(values: np.ndarray) -> str:
    low, high = np.quantile(values[np.isfinite(values)], (0.025, 0.975))
    return f"{low:+.3f} … {high:+.3f}"


def table(world: str, arguments: argparse.Namespace) -> None:
    """Complete the runs of all presets and print a row of the table for each."""
    of_preset = {preset: opened(world, preset, arguments) for preset in arguments.presets}
    classes = next(iter(of_preset.values()))[1][: arguments.classes]
    for class_id in classes:
        for run, _ in of_preset.values():
            complete_run(run, [class_id])
            if not is_complete(run, class_id):
                raise SystemExit(f"{run.run_id}, {class_id}: failed")
        print(f"{world}, {class_id}: done", flush=True)
    n_accepted, drawn = {}, {}
    for preset, (run, _) in of_preset.items():
        records = [run.store.read("class_runs", run.run_id, each).iloc[0] for each in classes]
        shares = [run.store.read("summary_parts", run.run_id, each) for each in classes]
        masks_of = {each: crisp_masks(run, each) for each in classes}
        masks = pd.concat(list(masks_of.values()))
        regions = {each: containing(run, each) for each in classes}
        n_accepted[preset] = np.array([record["n_summaries"] for record in records])
        every = pd.concat(shares)
        drawn[preset] = np.full(N_DRAWS, np.nan)
        of_class = {each: drawn_images(each, sorted(masks_of[each]["image_id"])) for each in classes}
        for at in range(N_DRAWS):
            found = np.concatenate([purities(regions[each], of_class[each][at]) for each in classes])
            drawn[preset][at] = found.mean() if len(found) else np.nan
        found_parts = pd.concat([each.assign(class_id=name) for each, name in zip(shares, classes, strict=True)])
        found_parts = found_parts[found_parts["share"] >= LEAST_SHARE].dropna(subset="part")
        if world == "partbirds":
            decisive = {each: set(open_dataset("partbirds").decisive_parts(each)) for each in classes}
            is_wanted = [row["part"] in decisive[row["class_id"]] for _, row in found_parts.iterrows()]
            found_parts = found_parts[is_wanted]
        n_parts = len(found_parts[["class_id", "part"]].drop_duplicates())
        first = next(iter(drawn))
        paired, change = "", ""
        if preset != first:
            draws = np.random.default_rng(0).integers(len(classes), size=(N_DRAWS, len(classes)))
            differences = (n_accepted[preset] - n_accepted[first])[draws].mean(axis=1)
            change = f" ({ends(differences)})"
            paired = f" ({ends(drawn[preset] - drawn[first])})"
        drops = masks["reached"].dropna().astype(bool)
        print(
            f"| {world}, {preset}, {len(classes)} classes | {int(drops.sum())} of {len(masks)} | "
            f"{masks['area_frac'].median():.3f} | {n_accepted[preset].sum()}: {n_accepted[preset].mean():.2f} a class{change} | "
            f"{sum(record['n_parts'] for record in records)} | {every['share'].mean():.3f}{paired} | "
            f"{every['random_purity'].mean():.3f} | {n_parts} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=WORLDS)
    parser.add_argument("--network", default="partbirds_narrow", choices=["partbirds_narrow", "partbirds_wide"])
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), choices=PRESETS)
    parser.add_argument("--images", type=int, default=12, help="of each class")
    parser.add_argument("--classes", type=int, default=None, help="the first so many")
    parser.add_argument("--keep", type=Path, required=True, help="folder of weights and store")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| | masks that reached their drop | area (median) | accepted summaries (difference from the first row) | "
        "distinct parts | purity (difference) | purity of random regions | parts found |"
    )
    for world in arguments.worlds:
        table(world, arguments)


if __name__ == "__main__":
    main()
