"""The demo: PartBirds from drawing to report, measured against the truth that the dataset knows."""

import time
from collections.abc import Callable
from pathlib import Path

from flows import commands
from flows.family import Command
from flows.orchestration import run
from flows.progress import watch
from xvcore.data import open_dataset
from xvcore.parameters import replaced
from xvcore.report import build
from xvcore.runs.demos import Demo, demos
from xvcore.runs.originals import Originals
from xvcore.runs.pipeline import in_order
from xvcore.runs.train import TRAINING_SET, Recipe, train
from xvcore.store import Store

DATASET = "partbirds"
N_CLASSES = 3
IMAGES = "20"
"""Few classes and images, so that the demo ends in minutes on two cores."""


def run_demo(out: Path, *, seed: int, say: Callable[[str], None]) -> Path:
    """Train what is not trained yet, look at it in every way, print how findings and truth agree, return the report.

    Parameters
    ----------
    out : folder of weights, store and report
    seed : of the networks
    say : prints a line
    """
    started = time.monotonic()
    shown = _shown()
    steps = {name: number for _, demo in shown for name, number in demo.steps.items()}
    models: dict[str, str] = {}
    for name in dict.fromkeys(name for _, demo in shown for name in demo.networks):
        path = out / "weights" / f"{name}-seed{seed}.pt"
        models[name] = _trained(name, path, steps=steps.get(name, Recipe().steps), seed=seed)
    store = Store(out / "store")
    for command, demo in shown:
        request = command.request
        settings = replaced(request.settings_type(), {"max_images": IMAGES, **demo.changes})
        run(
            command.flow,
            request.filled(
                settings,
                dataset=DATASET,
                classes=_classes(),
                store=str(out / "store"),
                models=[models[name] for name in demo.networks],
            ),
        )
    index = build(store, out / "report", picture_of=Originals())
    for _, demo in shown:
        for line in demo.verdict(store):
            say(line)
    say(f"{time.monotonic() - started:.0f} seconds; store: {out / 'store'}")
    say(f"open the report: {index}")
    return index


def _shown() -> list[tuple[Command, Demo]]:
    """Return the families that have a command and a demo, in their order."""
    by_method = {each.request.settings_type.method: each for each in commands.every().values()}
    return [(by_method[method], demos[method]) for method in in_order(demos) if method in by_method]


def _trained(name: str, path: Path, *, steps: int, seed: int) -> str:
    """Return the network's address, trained now unless its weights are there."""
    if not path.exists():
        with watch(f"train {name}") as progress:
            train(name, TRAINING_SET, path, steps=steps, seed=seed, progress=progress)
    return f"{name}@{path}"


def _classes() -> list[str]:
    return [info.class_id for info in open_dataset(DATASET).classes[:N_CLASSES]]
