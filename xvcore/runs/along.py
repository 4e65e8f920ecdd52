"""One pass of the network for two stages: what comes behind *predict* looks at the passes that *predict* makes."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from xvcore.data import Batch
from xvcore.errors import XvError
from xvcore.models import laid_out
from xvcore.runs.images import batches, could_read, passed_images
from xvcore.runs.run import Progress, Run
from xvcore.runs.stage import Looker, pipelines
from xvcore.types import Scores

logger = logging.getLogger(__name__)
AnyLooker = TypeVar("AnyLooker", bound=Looker)


class Along:
    """The stage behind *predict* at work on its passes, where that stage can be; else plain passes.

    What the stage refuses is no matter of *predict*: it begins anew when its turn comes, and says so then.

    Parameters
    ----------
    run : whose pipeline tells what comes next
    class_id : of the class at work
    """

    def __init__(self, run: Run[Any], class_id: str) -> None:
        run.memo.pop(Along, None)
        self._run = run
        self.class_id = class_id
        self.image_ids: list[str] = []
        self.looker: Looker | None = None
        stages = pipelines[run.settings.method].stages
        begin = stages[1].looker if len(stages) > 1 else None
        if begin is not None:
            try:
                self.looker = begin(run, class_id)
            except XvError as error:
                self._leave(error)

    @property
    def is_last(self) -> bool:
        """Whether nothing behind reads the pictures again."""
        return self.looker is not None and len(pipelines[self._run.settings.method].stages) == 2

    def scores(self, batch: Batch) -> Scores:
        """Return the network's scores of a batch of at least one image."""
        if self.looker is not None:
            try:
                return self.looker.look(batch)
            except XvError as error:
                self._leave(error)
        with torch.inference_mode():
            return self._run.classifier.logits(laid_out(self._run.classifier, batch.images))

    def take(self, batch: Batch, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Hand over the images of the batch last looked at that count, given rows of ``predictions`` by image id."""
        if self.looker is None:
            return
        found = [rows[image_id] for image_id in batch.image_ids]
        kept = [place for place, row in enumerate(found) if not row.get("error") and not row.get("skipped")]
        try:
            self.looker.take(kept, [found[place]["pred_idx"] for place in kept])
        except XvError as error:
            self._leave(error)
        self.image_ids += [batch.image_ids[place] for place in kept]

    def keep(self) -> None:
        """Keep what was seen for the stage, see :func:`looked`; ``predictions`` is written."""
        if self.looker is not None:
            self._run.memo[Along] = self

    def _leave(self, error: XvError) -> None:
        logger.debug("%s: the stage behind predict makes passes of its own: %s", self.class_id, error)
        self.looker = None


def looked(
    run: Run[Any], class_id: str, begin: Callable[[Run[Any], str], AnyLooker], progress: Progress | None
) -> tuple[AnyLooker, int]:
    """Return what a stage saw of the images of a class that count, and their number.

    It looked on when *predict* was at work, in this process and on these images; else the passes are made here.

    Raises
    ------
    ImageError
        One that counts can no longer be read.
    """
    image_ids = passed_images(run, class_id)
    along: Along | None = run.memo.pop(Along, None)
    if along is not None and (along.class_id, along.image_ids) == (class_id, image_ids):
        seen: Any = along.looker
        if progress:
            progress(len(image_ids), len(image_ids))
        return seen, len(image_ids)
    looker = begin(run, class_id)
    predicted = run.store.read("predictions", run.run_id, class_id, columns=["image_id", "pred_idx"])
    outputs = dict(zip(predicted["image_id"], predicted["pred_idx"], strict=True))
    counted, n_done = set(image_ids), 0
    for batch in batches(run, class_id) if image_ids else ():  # of all images, as predict has them: sums round alike
        for image_id, message in batch.failures:
            if image_id in counted:
                raise could_read(run, image_id, message)
        kept = [place for place, image_id in enumerate(batch.image_ids) if image_id in counted]
        if kept:
            looker.look(batch)
            looker.take(kept, [int(outputs[batch.image_ids[place]]) for place in kept])
        n_done += len(kept)
        if progress:
            progress(n_done, len(image_ids))
    return looker, n_done
