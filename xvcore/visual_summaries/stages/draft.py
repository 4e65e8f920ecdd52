"""The optimisation of a batch of masks while it is at work: kept now and then, so that a kill costs little of it."""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from xvcore.errors import StoreError
from xvcore.ops.descent import State
from xvcore.runs.run import Run
from xvcore.visual_summaries.settings import VisualSummaries

TABLE = "masks_begun"
LEAST_SECONDS = 5.0
"""Work that is not worth keeping."""
MOST_TIME = 0.02
"""Share of the time that keeping may take."""
LAYOUT = 1
"""Of the tensors; those of another one are of another version of the library."""


@dataclass
class Draft:
    """Where the masks of a batch are, kept whenever so many steps were done as one image alone has in all.

    More seldom where keeping takes long beside the steps, or these are over in seconds.

    Parameters
    ----------
    run, class_id, image_ids : the batch
    states : of each descent that has begun, by name
    """

    run: Run[VisualSummaries]
    class_id: str
    image_ids: Sequence[str]
    states: dict[str, State] = field(default_factory=dict)
    _n_steps: int = 0
    _kept_at: float = field(default_factory=time.monotonic)
    _cost: float = 0.0

    @classmethod
    def of(cls, run: Run[VisualSummaries], class_id: str, image_ids: Sequence[str]) -> "Draft":
        """Return the draft of a batch, with what an earlier attempt at the same images left."""
        for row in rows_so_far(run, class_id, TABLE):
            content = torch.load(io.BytesIO(row["state"]), map_location="cpu", weights_only=True)
            if row["image_ids"] == list(image_ids) and content["layout"] == LAYOUT:
                return cls(run, class_id, image_ids, content["states"])
        return cls(run, class_id, image_ids)

    def __call__(self, name: str) -> "_Place":
        """Return the bookmark of a descent."""
        return _Place(self, name)

    def heed(self, name: str, state: Callable[[], State], *, is_end: bool) -> None:
        """Take the state of a descent where it is time to keep it, or the descent is at its end."""
        if is_end:
            self.states[name] = state()
            return
        self._n_steps += 1
        mask = self.run.settings.mask
        of_one = (mask.smooth_steps + mask.crisp_steps) / len(self.image_ids)
        least = max(LEAST_SECONDS, self._cost / MOST_TIME)
        if self._n_steps > of_one and time.monotonic() - self._kept_at > least:
            self._keep({**self.states, name: state()})

    def _keep(self, states: dict[str, State]) -> None:
        started = time.monotonic()
        on_cpu = {name: {key: each.cpu() for key, each in state.items()} for name, state in states.items()}
        buffer = io.BytesIO()
        torch.save({"layout": LAYOUT, "states": on_cpu}, buffer)
        row = {**self.run.keys(self.class_id), "image_ids": list(self.image_ids), "state": buffer.getvalue()}
        self.run.store.write(TABLE, self.run.run_id, self.class_id, [row])
        self._n_steps, self._kept_at = 0, time.monotonic()
        self._cost = self._kept_at - started


@dataclass(frozen=True)
class _Place:
    """The bookmark of a descent in a draft."""

    draft: Draft
    name: str

    def left_at(self) -> State | None:
        return self.draft.states.get(self.name)

    def pass_by(self, state: Callable[[], State], *, is_end: bool) -> None:
        self.draft.heed(self.name, state, is_end=is_end)


def rows_so_far(run: Run[VisualSummaries], class_id: str, table: str) -> list[dict[str, Any]]:
    """Return what is kept of a class while it is worked on; none where there is none, or no more."""
    where = table, run.run_id, class_id
    if not run.store.has(*where):
        return []
    try:
        rows: list[dict[str, Any]] = run.store.read_arrow(*where).to_pylist()
    except StoreError:
        if run.store.has(*where):
            raise
        return []  # another process has just completed the masks, and removed these
    return rows
