"""The regions of a class that are clustered, with their images and similarity, as the earlier stages left them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xvcore.runs.images import pictures
from xvcore.runs.run import Run
from xvcore.store.encode import rle_decode
from xvcore.visual_summaries.method.coherence import ClassImages
from xvcore.visual_summaries.method.proposal_flow import ClassMatches, Proposals
from xvcore.visual_summaries.settings import VisualSummaries
from xvcore.visual_summaries.stages.masked import masked_images
from xvcore.visual_summaries.stages.match import described
from xvcore.visual_summaries.stages.propose import cached_boxes


@dataclass(frozen=True)
class Loaded:
    """The kept regions of a class with their images, numbered anew from 0."""

    regions: pd.DataFrame
    images: ClassImages
    matches: ClassMatches


def load(run: Run[VisualSummaries], class_id: str) -> Loaded | None:
    """Return what the earlier stages left, or None where no region was kept."""
    candidates = run.store.read("candidates", run.run_id, class_id)
    if candidates.empty or not candidates["kept"].any():
        return None
    regions = candidates[candidates["kept"].astype(bool)].reset_index(drop=True)
    masks = masked_images(run, class_id)
    masks = masks[masks["image_id"].isin(set(regions["image_id"]))].reset_index(drop=True)
    image_ids = list(masks["image_id"])
    if run.settings.coherence.alignment == "flow":
        proposals = described(run, class_id, image_ids)
    else:  # no image is matched again, and descriptors would take most of the stage's time
        boxes = cached_boxes(run, class_id)
        proposals = {each: Proposals(boxes[each], torch.zeros(len(boxes[each]), 0)) for each in image_ids}
    images = ClassImages(
        images=pictures(run, class_id, image_ids),
        salient=torch.from_numpy(np.stack([rle_decode(cell) for cell in masks["rle"]])),
        proposals=[proposals[image_id] for image_id in image_ids],
    )
    number = {image_id: index for index, image_id in enumerate(image_ids)}
    matches = ClassMatches(
        image=torch.tensor([number[image_id] for image_id in regions["image_id"]]),
        box=torch.tensor(regions["proposal_rank"].to_numpy(np.int64)),
        scores=_scores(run, class_id, regions),
        redundancy=torch.tensor(regions["redundancy"].to_numpy(np.float32)),
    )
    return Loaded(regions, images, matches)


def _scores(run: Run[VisualSummaries], class_id: str, regions: pd.DataFrame) -> Tensor:
    """Return the similarity of the kept regions as a matrix, from the table of pairs and the stored diagonal."""
    pairs = run.store.read("similarity", run.run_id, class_id)
    place = pd.Series(np.arange(len(regions)), index=regions["region_id"].to_numpy())
    scores = np.diag(regions["self_similarity"].to_numpy(np.float32))
    i, j = place[pairs["region_i"]].to_numpy(), place[pairs["region_j"]].to_numpy()
    scores[i, j] = scores[j, i] = pairs["score"].to_numpy(np.float32)
    return torch.from_numpy(scores)
