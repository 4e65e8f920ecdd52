"""Stores whose files are damaged, and what is done with them."""

import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from fuzz import Trial, mutated
from results import CLASSES, OF_TIME, request

from flows.families import summarise
from xvcore.analyses.analysis import analyses
from xvcore.query import answer, table
from xvcore.query.cells import as_text
from xvcore.runs import pipeline
from xvcore.runs.run import RunSpec, open_run
from xvcore.runs.stage import needed
from xvcore.store import SCHEMAS, Store

SLOW = ("resume",)


def _spec(store: Path, method: str) -> RunSpec:
    (found,) = summarise.COMMAND.request(**request(store, steps=4)).specs()
    settings = analyses["accuracy"].settings() if method == "accuracy" else found.settings
    return RunSpec(found.dataset, found.model, str(store), settings, found.class_map, batch_size=4)


def written(folder: Path) -> tuple[Path, Path]:
    """Return a store of two complete runs, and a copy of it of which nothing is published; made once a folder."""
    published, bare = folder / "published", folder / "bare"
    if not bare.exists():
        shutil.rmtree(published, ignore_errors=True)
        for method in ("summaries", "accuracy"):
            assert pipeline.complete_run(open_run(_spec(published, method)), CLASSES) == "complete"
        copy = Path(shutil.copytree(published, folder / "copy"))
        shutil.rmtree(copy / "tables")
        store = Store(copy)
        for row in store.runs().to_dict("records"):
            store.write_run(
                {str(name): None if _is_null(value) else value for name, value in row.items()} | {"published": False}
            )
        copy.rename(bare)
    return published, bare


def _is_null(value: Any) -> bool:
    return not isinstance(value, list) and not hasattr(value, "__len__") and bool(pd.isna(value))


def contents(store: Store) -> dict[str, pd.DataFrame]:
    return {name: table(store, name) for name in SCHEMAS}


def files(folder: Path) -> Callable[[random.Random], Trial]:
    """Draw damages of a store's files, and what is done with the store afterwards."""
    logging.disable(logging.CRITICAL)
    stores = dict(zip(("published", "bare"), written(folder), strict=True))
    whole = {name: contents(Store(path)) for name, path in stores.items()}
    data = {name: {each: each.read_bytes() for each in _files(path)} for name, path in stores.items()}
    run_ids = sorted(Store(stores["published"]).runs()["run_id"])
    accuracy = open_run(_spec(stores["published"], "accuracy")).run_id

    def drawn(chance: random.Random) -> Trial:
        which = chance.choice(sorted(stores))
        found = data[which]
        path = chance.choice(sorted(found))
        relative = path.relative_to(stores[which])
        kind = chance.random()
        other = chance.choice(sorted(found))
        if kind < 0.7:
            what, broken = mutated(chance, found[path])
        elif kind < 0.8:
            what, broken = f"as {other.relative_to(stores[which])}", found[other]
        elif kind < 0.9:
            what, broken = chance.choice(
                (("empty", b""), ("text", b"no such file"), ("zeros", bytes(len(found[path]))))
            )
        else:
            what, broken = "gone", None
        doing = chance.choice(("read", "read", "read", "parts", "status", "publish", "sql", *SLOW))
        copy = folder / "trial"
        damaged = copy / relative

        def prepare() -> Store:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(stores[which], copy)
            if broken is None:
                damaged.unlink()
            else:
                damaged.write_bytes(broken)
            return Store(copy)

        def same(rows: pd.DataFrame, name: str) -> None:
            """Compare with what was written; records, and the states of runs, may say what is damaged."""
            if name == "class_runs" and any("damaged" in str(error) for error in rows["error"]):
                return
            if name == "runs":
                said = rows["error"].notna()
                assert all(str(damaged.name) in error for error in rows["error"][said])
                assert set(rows["run_id"]) == set(whole[which][name]["run_id"]) or broken is None
                rows = rows[~said]
                others = whole[which][name][whole[which][name]["run_id"].isin(rows["run_id"])]
                pd.testing.assert_frame_equal(
                    rows.reset_index(drop=True),
                    others.reset_index(drop=True),
                    check_dtype=False,
                    obj="runs, in silence",
                )
                return
            if broken is not None:
                pd.testing.assert_frame_equal(rows, whole[which][name], obj=f"{name}, in silence")

        def do() -> str:
            store = prepare()
            if doing == "read":
                for name in SCHEMAS:
                    same(table(store, name), name)
            elif doing == "parts":
                for name in (each for each in SCHEMAS if each != "runs"):
                    for owner in store.owners_of(name):
                        for shard in store.classes_of(name, owner):
                            assert len(store.read(name, owner, shard)) == store.n_rows(name, owner, shard)
            elif doing == "status":
                assert len(store.status()) == len(store.runs())
            elif doing == "publish":
                methods = dict(zip(store.runs()["run_id"], store.runs()["method"], strict=True))
                for run_id in run_ids:
                    store.publish(run_id, needed(methods[run_id]))
                again = Store(copy)
                for name in SCHEMAS:
                    if name not in ("runs", "class_runs"):
                        same(table(again, name), name)
            elif doing == "sql":
                name = relative.parts[1] if len(relative.parts) > 1 else "runs"
                rows = as_text(answer(store, f'select * from "{name}"'))
                if broken is not None and len(rows) != len(whole[which][name]):
                    return "sql: other rows"
            elif doing == "resume":
                run = open_run(_spec(copy, "accuracy"))
                assert run.run_id == accuracy
                assert pipeline.complete_run(run, CLASSES) == "complete"
                _same_results(Store(copy), whole["published"], accuracy)
            return f"{doing}: as written, or made anew"

        names = (str(relative), relative.stem, relative.parts[1] if len(relative.parts) > 1 else "")
        return Trial(f"{doing}, {which}, {relative}: {what}", do, names=tuple(filter(None, names)))

    return drawn


def _files(store: Path) -> list[Path]:
    return [path for path in store.rglob("*") if path.is_file()]


def _same_results(store: Store, whole: dict[str, pd.DataFrame], run_id: str) -> None:
    for name in ("manifest", "predictions", "class_runs"):
        rows, other = table(store, name, run_id=run_id), whole[name]
        other = other[other["run_id"] == run_id].reset_index(drop=True)
        drop = [each for each in OF_TIME if each in rows]
        pd.testing.assert_frame_equal(rows.drop(columns=drop), other.drop(columns=drop), obj=f"{name} after resuming")
