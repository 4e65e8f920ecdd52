"""A run that a store has, opened again from what it says of itself: network, dataset and every parameter."""

import json
from collections.abc import Mapping
from typing import Any

from xvcore.errors import StoreError
from xvcore.parameters import replaced
from xvcore.runs.run import Run, RunSpec, open_run
from xvcore.runs.stage import pipelines
from xvcore.store import Store
from xvcore.study.runs.params import flat_params


def reopened(store: Store, run: Mapping[str, Any], *, device: str = "auto") -> Run[Any]:
    """Return a run with its network and dataset.

    Raises
    ------
    StoreError
        What is opened now is another run: the weights, the dataset or the method have changed since.
    XvError
        The network or the dataset cannot be found any more.
    """
    env = json.loads(run["env"])
    known = pipelines[str(run["method"])].settings()
    settings = replaced(known, flat_params(run["params"]))
    class_map = tuple((str(name), str(output)) for name, output in env.get("class_map", {}).items())
    spec = RunSpec(env["dataset_spec"], env["model_spec"], store.url, settings, class_map, device)
    opened = open_run(spec)
    if opened.run_id != run["run_id"]:
        raise StoreError(
            f"run {run['run_id']} is {opened.run_id} when it is opened again with {env['model_spec']} on "
            f"{env['dataset_spec']}: weights, images or method have changed since; compute it again"
        )
    return opened
