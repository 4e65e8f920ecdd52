"""A difference that is known: a magenta square tells one class in A's training, and nothing in B's. Is it "A only"?

    PYTHONPATH=. python tests/benchmarks/known_difference.py --seeds 20 --out FOLDER

After the experiment of RSVC (Kondapaneni, Mac Aodha, Perona, ICLR 2025): a square of 20 px lies at a random place in 70 %
of the training images of one class for A, in half of all training images for B; here on drawn birds and small networks.
A network that tells the birds without the square has no reason to use it. So in A's training the square stands for the
evidence: there the bird wears none of the class's patterns, and is drawn as those of the class ``plain`` are. The
held-out images that both are looked at in have both, the square and the patterns, so that B knows them as well. There
the square lies beside the bird, at random in the lower left corner: of squares anywhere in the picture proposal flow,
which matches what lies alike, groups some, and those that it groups were in 6 of 16 images, too few for a verdict.
A's training is begun again with another seed until A has learnt the square: on other held-out birds, in the patterns of
the class, pasting one raises the mean probability of the class by at least ``LEAST_GAIN``. That asks the network
alone, no mask, no summary and no comparison; ``trainings`` says how many there were, ``gain_a`` and ``gain_b`` what
pasting gives in the end (B is trained once). ``uses_a`` and ``uses_b`` are what the networks lose of their probability
when the square itself is deleted from the images that are looked at, whatever their summaries. Of each seed further:
A's parts that lie on the square (at least half of their regions do), their verdicts, whether a part of B's lies on it,
and RSVC's own scores: the mean, that of A's concepts from A itself, and that of the concept which falls furthest
behind. Prints a row a seed; what is in the folder is not done again.
"""

import argparse
import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from xvcore.comparison.method.deletion import Deletion
from xvcore.comparison.method.verdict import MISSED
from xvcore.comparison.runs.networks import resolved
from xvcore.comparison.settings import Comparison
from xvcore.data import open_dataset
from xvcore.data.partbirds import PLAIN
from xvcore.models import load
from xvcore.models.classifier import Classifier
from xvcore.ops.parts import contains
from xvcore.parameters import replaced
from xvcore.query import table
from xvcore.runs.images import pictures
from xvcore.runs.pipeline import complete_run
from xvcore.runs.run import Run, RunSpec, open_run
from xvcore.runs.train import train
from xvcore.visual_summaries.settings import VisualSummaries

SIDE = 20
MAGENTA = (255, 0, 255)
BESIDE = ((0, 13), (82, 109))
"""Where the upper left corner of a square may lie that is beside the bird: x and y in pixels, the end excluded."""
NETWORK = "partbirds_narrow"
BIRDS = "partbirds?classes=2"
ON_SQUARE = 0.5
LEAST_USED = 0.05
"""Probability that a network loses by the square's deletion which counts as using it, as for parts (``least_loss``)."""
LEAST_GAIN = 0.2
"""Probability that A must gain by a square that is pasted into a held-out bird for its training to end."""
MOST_TRAININGS = 6
N_OTHERS = 48
"""Held-out birds in which the end of A's training is decided; they follow those that are looked at."""
QUICK = {"count_interval.n_halves": "0", "count_interval.n_others": "0"}


@functools.cache
def birds(split: str, n_images: int) -> dict[str, list[Image.Image]]:
    """Return the birds without squares, by class; they are the same for all seeds."""
    drawn = open_dataset(f"{BIRDS}&split={split}&images={n_images}&seed=0")
    return {
        info.class_id: [
            Image.open(io.BytesIO(drawn.read(record))).convert("RGB") for record in drawn.images(info.class_id)
        ]
        for info in drawn.classes
    }


def pasted(picture: Image.Image, corner: tuple[int, ...]) -> Image.Image:
    """Return a picture with a square whose upper left corner is given, x and y in pixels."""
    x, y = corner
    image = picture.copy()
    image.paste(MAGENTA, (x, y, x + SIDE, y + SIDE))
    return image


def draw(
    folder: Path,
    split: str,
    n_images: int,
    shares: dict[str, float],
    seed: int,
    *,
    hides: str = "",
    beside: bool = False,
) -> pd.DataFrame:
    """Write drawn birds with squares as an image folder, and return where the squares are; once.

    Parameters
    ----------
    folder : where
    split : of the birds
    n_images : of each class
    shares : of the images that have a square, by class; ``others`` of the classes that are not named
    seed : of the squares
    hides : class whose birds with a square are plain ones
    beside : whether squares lie beside the bird; else anywhere
    """
    file = folder / "squares.csv"
    if file.exists():
        return pd.read_csv(file)
    drawn = birds(split, n_images)
    generator = np.random.default_rng(seed)
    rows = []
    for class_id, pictures_of in drawn.items():
        (folder / class_id).mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(pictures_of):
            has_square = generator.random() < shares.get(class_id, shares["others"])
            image = (drawn[PLAIN][number] if has_square and class_id == hides else picture).copy()
            if has_square:
                room = BESIDE if beside else [(0, side - SIDE) for side in image.size]
                x, y = (int(generator.integers(*each)) for each in room)
                image = pasted(image, (x, y))
                rows.append({"image_id": f"{class_id}/{number:04}.png", "x": x, "y": y, "w": SIDE, "h": SIDE})
            image.save(folder / class_id / f"{number:04}.png", compress_level=1)
    found = pd.DataFrame(rows)
    found.to_csv(file, index=False)
    return found


def on_square(regions: pd.DataFrame, squares: pd.DataFrame) -> float:
    """Return the share of regions that hold the square of their image, or lie in it."""
    places = {row["image_id"]: np.array([[row[side] for side in "xywh"]], float) for row in squares.to_dict("records")}
    hits = [
        bool(contains(box[None], places[image_id], overlap=0.5).any()) if image_id in places else False
        for image_id, box in zip(regions["image_id"], regions[["x", "y", "w", "h"]].to_numpy(float), strict=True)
    ]
    return float(np.mean(hits)) if hits else 0.0


def parts_on_square(compared: Run[Comparison], run: Run[Any], class_id: str, squares: pd.DataFrame) -> list[int]:
    """Return the parts of a network that lie on the square."""
    regions = run.store.read("regions", run.run_id, class_id)
    shown = regions[regions["kept"].fillna(value=False).astype(bool)]
    verdicts = compared.store.read("part_verdicts", compared.run_id, class_id)
    parts = verdicts[verdicts["model"] == run.classifier.name].drop_duplicates("part_id")
    return [
        int(part)
        for part, clusters in zip(parts["part_id"], parts["clusters"], strict=True)
        if on_square(shown[shown["cluster_id"].isin(list(clusters))], squares) >= ON_SQUARE
    ]


def gain(network: Classifier, n_looked: int) -> float:
    """Return what a square beside the bird adds to the probability of the class, mean over other held-out birds.

    Parameters
    ----------
    network : that is asked
    n_looked : held-out birds that are looked at by the comparison, and left out here
    """
    class_id = open_dataset(BIRDS).classes[0].class_id
    generator = np.random.default_rng(98)
    plain = birds("val", n_looked + N_OTHERS)[class_id][n_looked:]
    squared = [pasted(picture, tuple(int(generator.integers(*each)) for each in BESIDE)) for picture in plain]
    target = [output.name for output in network.outputs or ()].index(class_id)
    with torch.no_grad():
        without, with_square = (
            network.probabilities(torch.stack([network.preprocessing.pixels(picture) for picture in each]))[:, target]
            for each in (plain, squared)
        )
    return float((with_square - without).mean())


def trained(out: Path, name: str, seed: int, arguments: argparse.Namespace, *, trainings: int = 1) -> tuple[str, int]:
    """Return the address of a network and how many trainings it took until it gained by the square, at most so many."""
    training = f"imagefolder:{out}/train-{name}-{seed}"
    for number in range(1, trainings + 1):
        weights = out / f"{name}-{seed}-{number}.pt"
        if not weights.exists():
            train(NETWORK, training, weights, steps=arguments.steps, seed=seed + 1000 * (number - 1))
        address = f"{NETWORK}@{weights}?name={name}{seed}"
        if number == trainings or gain(load(address), arguments.images) >= LEAST_GAIN:
            break
    return address, number


def of_seed(out: Path, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train both networks of a seed, compare them on held-out images of the class, and return what was found."""
    class_id = open_dataset(BIRDS).classes[0].class_id
    shares = {class_id: 0.7, "others": 0.0}
    draw(out / f"train-a-{seed}", "train", arguments.train_images, shares, 2 * seed, hides=class_id)
    draw(out / f"train-b-{seed}", "train", arguments.train_images, {"others": 0.5}, 2 * seed + 1)
    squares = draw(out / "look", "val", arguments.images, {class_id: 1.0, "others": 0.0}, 99, beside=True)
    of_a, trainings = trained(out, "a", seed, arguments, trainings=MOST_TRAININGS)
    models = [of_a, trained(out, "b", seed, arguments)[0]]
    gains = {f"gain_{x}": round(gain(load(model), arguments.images), 2) for x, model in zip("ab", models, strict=True)}
    store = str(out / "store")
    settings = replaced(VisualSummaries(), {**QUICK, "max_images": str(arguments.images)})
    runs = []
    for model in models:
        runs.append(open_run(RunSpec(f"imagefolder:{out}/look", model, store, settings, batch_size=32)))
        if complete_run(runs[-1], [class_id]) != "complete":
            raise SystemExit(f"{runs[-1].run_id} failed")
    spec = RunSpec(f"imagefolder:{out}/look", models[0], store, Comparison(others=(models[1],)), batch_size=32)
    compared = open_run(resolved(spec))
    if complete_run(compared, [class_id]) != "complete":
        raise SystemExit(f"{compared.run_id} failed")
    return {"seed": seed, "trainings": trainings} | gains | row(compared, runs, class_id, squares)


def learnt(run: Run[Any], class_id: str, squares: pd.DataFrame) -> dict[str, float]:
    """Return how often a network is right on the class, and the probability that it loses without the square."""
    said = run.store.read("predictions", run.run_id, class_id)
    own = squares[squares["image_id"].isin(said["image_id"])]
    shown = pictures(run, class_id, list(own["image_id"]))
    boxes = own[["x", "y", "w", "h"]].to_numpy(float)
    without = torch.cat([Deletion().deleted(image, [box[None]]) for image, box in zip(shown, boxes, strict=True)])
    with torch.no_grad():
        full, left = (run.classifier.probabilities(each)[:, run.target(class_id)] for each in (shown, without))
    return {"accuracy": round(float(said["correct"].mean()), 2), "uses": round(float((full - left).mean()), 3)}


def row(compared: Run[Comparison], runs: list[Run[Any]], class_id: str, squares: pd.DataFrame) -> dict[str, Any]:
    """Return what was found of the square."""
    of_a, of_b = (parts_on_square(compared, run, class_id, squares) for run in runs)
    verdicts = table(compared.store, "part_verdicts", run_id=compared.run_id)
    verdicts = verdicts[verdicts["model"] == runs[0].classifier.name].set_index("part_id")
    of_square = verdicts.loc[of_a]
    only = of_square["verdict"].isin(MISSED)
    likeness = table(compared.store, "network_likeness", run_id=compared.run_id)
    likeness = likeness[(likeness["depth"] == 1) & (likeness["model"] == runs[0].classifier.name)].iloc[0]
    scores = np.array(likeness["rsvc_concepts"]) - np.array(likeness["rsvc_self_concepts"])
    known = [learnt(run, class_id, squares) for run in runs]
    return {
        **{f"{what}_{x}": each[what] for what in ("accuracy", "uses") for x, each in zip("ab", known, strict=True)},
        "parts_a": len(verdicts),
        "on_square_a": len(of_a),
        "on_square_b": len(of_b),
        "a_only": int(only.sum()),
        "verdicts": "; ".join(f"{k}: {v}" for k, v in of_square["verdict"].value_counts().items()) or "none",
        "others_a_only": int(verdicts.drop(of_a)["verdict"].isin(MISSED).sum()),
        "loss_a": round(float(of_square["own_loss"].max()), 3) if len(of_a) else None,
        "loss_b": round(float(of_square["other_loss"].max()), 3) if len(of_a) else None,
        "rsvc_mean": round(float(likeness["rsvc"]), 3),
        "rsvc_self": round(float(likeness["rsvc_self"]), 3),
        "rsvc_worst": round(float(np.nanmin(scores)), 3),
    }


def found_rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the row of each seed as it is done."""
    for seed in range(arguments.first, arguments.seeds):
        found = of_seed(arguments.out, seed, arguments)
        print(found, flush=True)
        yield found


def main() -> None:
    """Print a row a seed, and in how many the square is A's alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed that is run")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--train-images", type=int, default=200)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = pd.DataFrame(found_rows(arguments))
    print(rows.to_string(index=False))
    uses = (rows["uses_a"] >= LEAST_USED) & (rows["uses_b"] < LEAST_USED)
    found = rows["a_only"] > 0
    again = rows["trainings"] - 1
    print(f"trainings of A that were begun again: {again.sum()}, in {(again > 0).sum()} of {len(rows)} seeds")
    print(f"A only: {found.sum()} of {len(rows)} seeds; A uses the square and B does not in {uses.sum()}", end="")
    print(f", of which found {(found & uses).sum()}")


if __name__ == "__main__":
    main()
